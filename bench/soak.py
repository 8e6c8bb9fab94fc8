"""Does memory stay flat? So many calls through one Freehold, a tenth of them streams, and the slope of its memory with its interval.

python bench/soak.py [CALLS]
"""

from __future__ import annotations

import http.client
import json
import math
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from scipy import stats

from conftest import NO_ENGINE, Freehold, clean_env
from freehold.testing.standin import Standin

CALLERS = 8


def main(calls: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="freehold-soak-"))
    with Standin() as provider:
        (folder / "freehold.toml").write_text(
            NO_ENGINE
            + f'[providers.rack]\nbase_url = "{provider.base_url}"\nzone = "inside"\nprices = {{ m = {{ input = 1.0, output = 2.0 }} }}\n'
            + '[workloads.w]\nclass = "restricted"\ntargets = ["rack/m"]\nbudget = "1000 USD/month"\n'
        )
        freehold = Freehold(folder, clean_env()).start()
        key, left, lock = freehold.key("--workload", "w"), [calls], threading.Lock()
        seen: list[tuple[int, float, int]] = []  # calls so far, MiB, descriptors

        def call(number: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=30)
            for at in range(10**9):
                with lock:
                    if left[0] <= 0:
                        break
                    left[0] -= 1
                body = {
                    "model": "w",
                    "stream": at % 10 == 0,
                    "messages": [{"role": "user", "content": f"{number} {at} " + "x" * (at % 4_000)}],
                }
                connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Authorization": f"Bearer {key}"})
                answer = connection.getresponse()
                assert answer.status == 200, answer.read()
                answer.read()
            connection.close()

        threads = [threading.Thread(target=call, args=(number,)) for number in range(CALLERS)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        assert freehold.process is not None
        place = Path(f"/proc/{freehold.process.pid}")
        while any(thread.is_alive() for thread in threads):
            provider.requests.clear()
            kb = next(
                int(line.split()[1])
                for line in (place / "status").read_text().splitlines()
                if line.startswith("RssAnon")
            )
            seen.append((calls - left[0], kb / 1024, len(list((place / "fd").iterdir()))))
            time.sleep(1)
        spent_s = time.monotonic() - began
        receipts = freehold.usage("workload")["total"]["calls"]
        freehold.stop()
    tell(calls, receipts, spent_s, [one for one in seen if one[0] > calls / 4])


def tell(calls: int, receipts: int, spent_s: float, seen: list[tuple[int, float, int]]) -> None:
    """After a quarter, when everything has been used once. Neighbouring samples depend on each other, so they are taken together by tenths."""
    size = max(1, len(seen) // 10)
    groups = [seen[at : at + size] for at in range(0, len(seen) - size + 1, size)]
    xs, ys = (
        [statistics.fmean(one[0] for one in group) for group in groups],
        [statistics.fmean(one[1] for one in group) for group in groups],
    )
    fit = stats.linregress(xs, ys)
    wide = float(stats.t.ppf(0.975, len(xs) - 2)) * fit.stderr
    per = 100_000
    print(
        f"{calls:,} calls in {spent_s:,.0f} s, {receipts:,} receipts; memory {seen[0][1]:.1f} MiB after a quarter, {seen[-1][1]:.1f} MiB at the end; descriptors {seen[0][2]} and {seen[-1][2]}"
    )
    print(
        f"slope: {fit.slope * per:+.2f} MiB per 100,000 calls (95 %: {(fit.slope - wide) * per:+.2f} to {(fit.slope + wide) * per:+.2f})"
    )
    assert receipts == calls
    assert math.isfinite(wide)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
