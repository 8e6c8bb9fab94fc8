"""What trouble is made for: a real Freehold with two providers inside, callers who never stop, and what must be so afterwards."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from conftest import NO_ENGINE, Freehold, clean_env, free_port
from flow.test_workers import ask, audit, workers_of
from freehold.testing.standin import Behaviour, Standin
from servers import Postgres

BUDGET = Decimal(2)
BODY = {"model": "w", "max_tokens": 8, "messages": [{"role": "user", "content": "x"}]}


class Site(Freehold):
    """One Freehold, its providers, and its disk of its own where that can be had."""

    def __init__(
        self,
        folder: Path,
        workers: int,
        seed: int,
        *,
        engine: bool = False,
        database: Postgres | None = None,
        is_long: bool = False,
    ) -> None:
        super().__init__(folder, clean_env())
        self.workers, self.seed, self.inside, self.spare = workers, seed, Standin(), Standin()
        self.has_engine, self.database, self.is_long = engine, database, is_long
        if database is not None:
            self.env |= {"FREEHOLD_POSTGRES": database.fresh().value, "FREEHOLD_NODES_SECRET": "0123456789abcdef" * 4}
        self.inside.__enter__()
        self.spare.__enter__()
        self.faults = folder / "faults.json"
        self.faults.write_text("{}")
        self.has_disk = mount(folder / ".freehold")
        prices = "prices = { m = { input = 1.0, output = 2.0 } }"
        limits = "timeouts = { connect = 1.0, first_byte = 4.0, silence = 4.0, total = 60.0 }"
        (folder / "freehold.toml").write_text(
            ("" if engine else NO_ENGINE)
            + "[server]\ndrain = 5.0\nwatch = false\n"
            + f'[providers.rack]\nbase_url = "{self.inside.base_url}"\nzone = "inside"\nretries = 0\n{prices}\n{limits}\n'
            + f'[providers.spare]\nbase_url = "{self.spare.base_url}"\nzone = "inside"\nretries = 0\n{prices}\n{limits}\n'
            + f'[providers.nowhere]\nbase_url = "http://nowhere.invalid/v1"\nzone = "inside"\naddresses = ["10.0.0.0/8"]\nretries = 0\n{prices}\n{limits}\n'
            + f'[workloads.w]\nclass = "restricted"\ntargets = ["rack/m", "spare/m"]\nbudget = "{BUDGET} USD/total"\n'
            + '[workloads.lost]\nclass = "restricted"\ntargets = ["nowhere/m", "spare/m"]\n'
            + (
                '[nodes]\npostgres = "env:FREEHOLD_POSTGRES"\nsecret = "env:FREEHOLD_NODES_SECRET"\n'
                if database is not None
                else ""
            )
        )
        self.secret = self.key("--workload", "w")
        self.other = self.key("--class", "restricted")
        self.usual_fds = self.usual_kb = self.kept_kb = 0

    def begin(self) -> None:
        """Start, as a service manager would. Its answers, its memory and its descriptors when it is warm are what it comes back to."""
        command = [sys.executable, str(Path(__file__).parent / "faulty.py"), str(self.faults), "up", "--no-hello"]
        more = ["--workers", str(self.workers)] if self.workers > 1 else []
        with (self.folder / "out.txt").open("ab") as out:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port), "--admin-port", str(self.admin_port), *more],
                cwd=self.folder, env=self.env, stdout=out, stderr=out,
            )  # fmt: skip
        self.wait()
        wait(lambda: len(workers_of(self)) >= (self.workers if self.workers > 1 else 0))
        wait(self.is_well, 30, "it serves")
        for _ in range(20):
            self.is_well()
        self.usual_fds, self.usual_kb = self.weigh()
        self.kept_kb = 0

    def fault(self, **faults: float) -> None:
        part = self.faults.with_suffix(".part")
        part.write_text(json.dumps(faults))
        part.rename(self.faults)

    def is_well(self) -> bool:
        return bool(ask(self, self.secret, body=BODY)[0] == 200)

    def tree(self) -> list[int]:
        assert self.process is not None
        return [self.process.pid, *workers_of(self)]

    def weigh(self) -> tuple[int, int]:
        """(Descriptors, resident kB) of all its processes."""
        fds = kb = 0
        for pid in self.tree():
            try:
                fds += len(os.listdir(f"/proc/{pid}/fd"))
                kb += sum(
                    int(line.split()[1])
                    for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                    if line.startswith("RssAnon")
                )
            except OSError:  # it has just ended
                continue
        return fds, kb

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        for provider in (self.inside, self.spare):
            provider.__exit__(None, None, None)
        if self.has_disk:
            subprocess.run(["umount", "-l", self.state], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def mount(place: Path) -> bool:
    """A small disk of its own, where whoever runs this may mount one."""
    place.mkdir(mode=0o700)
    if os.geteuid() != 0:
        return False
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256m,mode=0700", "freehold-chaos", place], capture_output=True, check=False
    )
    return done.returncode == 0


class Callers:
    """Ask without end, a third of them for streams. What each was told is kept by the id of its call."""

    def __init__(self, site: Site, count: int = 6) -> None:
        self._site, self._stop = site, threading.Event()
        self.told: dict[str, tuple[int, bool]] = {}  # status, and whether the answer was whole
        self.seen: Counter[str] = Counter()
        self.strange = b""  # the last answer that nobody should get
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def _call(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._site.port, timeout=20)
        body = json.dumps({**BODY, "stream": number % 3 == 0})
        while not self._stop.is_set():
            try:
                connection.request(
                    "POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {self._site.secret}"}
                )
                answer = connection.getresponse()
                call = answer.getheader("x-freehold-call-id", "")
                text = answer.read()
                is_whole = b"[DONE]" in text if number % 3 == 0 and answer.status == 200 else text.endswith(b"}")
                self.seen[str(answer.status) if is_whole else "cut"] += 1
                if answer.status == 500:
                    self.strange = text
                if call:
                    self.told[call] = answer.status, is_whole
            except (OSError, http.client.HTTPException) as error:
                self.seen[type(error).__name__] += 1
                connection.close()
                time.sleep(0.01)
        connection.close()

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def wait(is_so: Any, deadline_s: float = 30.0, words: str = "") -> None:
    until = time.monotonic() + deadline_s
    while not is_so():
        assert time.monotonic() < until, words
        time.sleep(0.02)


def check(site: Site, told: dict[str, tuple[int, bool]]) -> int:
    """What must be so of a Freehold that has ended, whatever happened to it; returns how many receipts there are."""
    report = audit(site.state)
    assert report.findings == [], report.findings[:3]
    records = site.records()
    receipts = Counter(record["call"] for record in records if record["kind"] == "settled")
    sent = {record["call"] for record in records if record["kind"] == "intent"}
    assert set(receipts.values()) <= {1}, "a call has one receipt"
    assert sent <= set(receipts), "and each that was sent has one"
    by_call = {record["call"]: record for record in records if record["kind"] == "settled"}
    for call, (status, is_whole) in told.items():
        receipt = by_call.get(call)
        assert receipt is not None, f"{call} was answered with {status} and has no receipt"
        if status == 200 and is_whole:
            assert receipt["outcome"] in ("ok", "lost"), (
                call,
                receipt["outcome"],
            )  # lost: it was killed between the last byte and the receipt
    spent = sum((Decimal(one["cost_usd"] or 0) for one in by_call.values() if one["workload"] == "w"), Decimal(0))
    assert spent <= BUDGET
    usage = json.loads(site.run("usage", "--by", "workload", "--here", "--json").stdout)
    assert usage["total"]["calls"] == len(receipts)
    assert Decimal(usage["total"]["cost_usd"]) == sum(
        (Decimal(one["cost_usd"] or 0) for one in by_call.values()), Decimal(0)
    )
    assert "Traceback" not in site.output
    assert '"event": "bug"' not in site.output
    return len(receipts)


def check_weight(site: Site) -> None:
    """It holds no more than when it was warm: descriptors exactly (but for kept connections to providers), memory within 24 MB a process.

    A rush of connections adds once what Python keeps of them and uses again for the next (`kept_kb`); a second rush adds nothing.
    """
    fds = kb = 0
    until = time.monotonic() + 40  # idle connections to providers are kept for 20 s
    while time.monotonic() < until:
        fds, kb = site.weigh()
        if fds <= site.usual_fds + 12 * site.workers and kb <= site.usual_kb + site.kept_kb + 24_000 * (
            site.workers + 1
        ):
            return
        time.sleep(0.2)
    raise AssertionError(
        f"{fds} descriptors, once {site.usual_fds}; {kb} kB, once {site.usual_kb} and {site.kept_kb} kept"
    )


@contextmanager
def site_of(
    workers: int, seed: int, *, engine: bool = False, database: Postgres | None = None, is_long: bool = False
) -> Iterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="freehold-chaos-"))
    one = Site(folder, workers, seed, engine=engine, database=database, is_long=is_long)
    try:
        one.begin()
        yield one
    finally:
        one.end()


def restart(site: Site) -> None:
    """As a service manager does, when the process has died."""
    assert site.process is not None
    site.process.wait(20)
    site.begin()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


__all__ = [
    "BODY",
    "Behaviour",
    "Callers",
    "Site",
    "check",
    "check_weight",
    "free_port",
    "kill",
    "restart",
    "site_of",
    "wait",
]
