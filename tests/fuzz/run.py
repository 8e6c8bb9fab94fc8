"""Feed every target with what coverage finds: `python -m fuzz.run [SECONDS] [NAME …]` (what `make fuzz` runs). What reached something new is kept.

Each target gets a process of its own, because libFuzzer never comes back. The corpus of each is a file of lines in hexadecimal, which the suite feeds
once more (`tests/wire/test_corpus.py`); it begins with the golden requests and answers.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
MOST, LONGEST = 120, 700  # inputs of a target that are kept, and bytes of each
sys.path.insert(0, str(HERE.parent))


def kept(name: str) -> Path:
    return CORPUS / f"{name.replace(' ', '-')}.txt"


def seeds(name: str) -> list[bytes]:
    """Where a target begins: what it is made for."""
    from wire import golden

    kind, _, dialect = name.partition(" ")
    found = [b"", b"{}", b"[" * 200]
    if kind in ("request", "body"):
        found += [json.dumps(one).encode() for of, one in golden.REQUESTS.items() if of == dialect or kind == "body"]
    found += [
        json.dumps(pair.whole).encode()
        for pair in golden.PAIRS
        if kind in ("answer", "failure") and pair.dialect in (dialect, dialect or pair.dialect)
    ]
    found += [b"\x40" + pair.stream for pair in golden.PAIRS if kind == "stream" and pair.dialect == dialect]
    found += [pair.stream for pair in golden.PAIRS if kind in ("sse", "eventstream")]
    if kind in ("headers", "edge"):
        found += [
            b"authorization: Bearer x\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"x-ratelimit-remaining-tokens: 5\nx-ratelimit-reset-tokens: 1m2.5s",
        ]
        found += [
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        ]
    return found


def one(name: str, seconds: int, folder: Path) -> None:
    """Feed one target for so long; never comes back."""
    import atheris

    with atheris.instrument_imports(include=["freehold"]):
        from fuzz.targets import TARGETS, edge
    if name == "edge":
        from conftest import NO_ENGINE, Freehold, clean_env

        place = Path(tempfile.mkdtemp(prefix="freehold-fuzz-"))
        (place / "freehold.toml").write_text(NO_ENGINE)
        freehold = Freehold(place, clean_env()).start()
        assert freehold.process is not None
        (folder / "pid").write_text(
            str(freehold.process.pid)
        )  # libFuzzer never comes back: whoever started this ends it
        target = edge(freehold.port)
    else:
        target = TARGETS[name]
    options = [
        "-max_len=4096",
        "-timeout=20",
        "-rss_limit_mb=2048",
        "-verbosity=0",
        "-print_final_stats=1",
        f"-artifact_prefix={folder}/crash-",
    ]
    atheris.Setup([sys.argv[0], *options, f"-max_total_time={seconds}", str(folder / "in")], target)
    atheris.Fuzz()


def play(name: str, seconds: int) -> bool:
    """Feed one target, and keep what reached something new, the shortest of it."""
    folder, began = Path(tempfile.mkdtemp(prefix="freehold-fuzz-")), time.monotonic()
    known = [bytes.fromhex(line) for line in kept(name).read_text().split()] if kept(name).is_file() else []
    (folder / "in").mkdir()
    for number, data in enumerate([*seeds(name), *known]):
        (folder / "in" / f"seed-{number}").write_bytes(data[:4096])
    command = [sys.executable, "-m", "fuzz.run", "--one", str(seconds), str(folder), name]
    result = subprocess.run(command, cwd=HERE.parent, check=False, capture_output=True, text=True)
    if (folder / "pid").is_file():
        os.kill(int((folder / "pid").read_text()), signal.SIGTERM)
    runs = next(
        (line.split()[1] for line in result.stderr.splitlines() if line.startswith("stat::number_of_executed_units:")),
        "?",
    )
    crashes = [path.read_bytes() for path in folder.glob("crash-*")]
    found = sorted({path.read_bytes() for path in (folder / "in").iterdir()}, key=lambda data: (len(data), data))
    lines = [data.hex() for data in (*crashes, *found) if data and len(data) <= LONGEST][: MOST + len(crashes)]
    if lines:
        kept(name).write_text("\n".join(sorted(lines)) + "\n")
    is_well = not crashes and result.returncode == 0
    print(
        f"{name}: {'well' if is_well else 'FAILED'}, {runs} runs, {len(lines)} inputs kept, {time.monotonic() - began:.0f} s",
        flush=True,
    )
    if not is_well:
        print(result.stderr[-3_000:])
    shutil.rmtree(folder)
    return is_well


def main(seconds: int, names: list[str]) -> None:
    from fuzz.targets import TARGETS

    failed = [name for name in names or [*TARGETS, "edge"] if not play(name, seconds)]
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[4], int(sys.argv[2]), Path(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 60, sys.argv[2:])
