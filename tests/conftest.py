"""Shared pieces of the suite: a real Freehold in a process of its own, real stand-in providers, and where outside material lies."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import hypothesis  # loaded before any test has filled the stack: its late import trips a bug of CPython 3.11
import pytest

from freehold.kernel.config import Surroundings, read
from freehold.kernel.snapshot import Snapshot
from freehold.testing.standin import Standin
from freehold.upstream.rows import ROWS
from servers import Postgres

hypothesis.settings.register_profile("untimed", deadline=None)  # how fast a machine is is no property of the code
hypothesis.settings.load_profile("untimed")
pytest.register_assert_rewrite("wire.laws")  # so that a broken law says what differs
ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
PROGRAM = [sys.executable, "-m", "freehold.cli.main"]
NO_ENGINE = "[engine]\nenabled = false\n"


# Below the ports that the system gives out itself, and each process of the suite has a thousand of its own.
_ports = itertools.count(12_000 + 1_000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")))


def free_port() -> int:
    """A port that nobody has, and that no other test was given."""
    for port in _ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError


def clean_env(**more: str) -> dict[str, str]:
    """The environment without anybody's keys or proxies."""
    unwanted = ("_API_KEY", "_TOKEN", "_PROXY", "_proxy")
    return {
        name: value
        for name, value in os.environ.items()
        if not name.endswith(unwanted) and not name.startswith("FREEHOLD")
    } | more


def snapshot_of(text: str = "", **env: str) -> Snapshot:
    """A snapshot from configuration text."""
    return read(text, Surroundings(env, ROWS))


@dataclass
class Freehold:
    """A real `freehold up` in its own process and directory."""

    folder: Path
    env: dict[str, str]
    port: int = field(default_factory=free_port)
    admin_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def state(self) -> Path:
        return self.folder / ".freehold"

    def run(self, *arguments: str, check: bool = True, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run another command beside it."""
        return subprocess.run(
            [*PROGRAM, *arguments],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=check,
            input=text,
            timeout=60,
        )

    def key(self, *arguments: str) -> str:
        return str(json.loads(self.run("keys", "create", "--name", "test", "--json", *arguments).stdout)["key"])

    def start(self, *arguments: str, wait: bool = True) -> Freehold:
        command = [
            *PROGRAM,
            "up",
            "--no-hello",
            "--port",
            str(self.port),
            "--admin-port",
            str(self.admin_port),
            *arguments,
        ]
        with (self.folder / "out.txt").open("ab") as out:
            self.process = subprocess.Popen(command, cwd=self.folder, env=self.env, stdout=out, stderr=out)
        if wait:
            self.wait()
        return self

    def wait(self, deadline_s: float = 30.0) -> None:
        until = time.monotonic() + deadline_s
        while time.monotonic() < until:
            assert self.process is not None
            assert self.process.poll() is None, self.output
            try:
                with urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5):
                    return
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"not ready: {self.output}")

    @property
    def output(self) -> str:
        return (self.folder / "out.txt").read_text()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def records(self) -> list[dict[str, Any]]:
        return [
            json.loads(line)
            for path in sorted((self.state / "log").glob("*.jsonl"))
            for line in path.read_bytes().split(b"\n")
            if line
        ]

    def settled(self, count: int = 0) -> list[dict[str, Any]]:
        """The receipts, once there are so many and every attempt has its end: the last may reach the file a moment after its answer."""
        until = time.monotonic() + 5
        while True:
            records = self.records()
            found = [record for record in records if record["kind"] == "settled"]
            is_open = {one["call"] for one in records if one["kind"] == "intent"} - {one["call"] for one in found}
            if (len(found) >= count and not is_open) or time.monotonic() > until:
                return found
            time.sleep(0.01)

    def usage(self, by: str = "outcome") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("usage", "--by", by, "--json").stdout)
        return found


@contextmanager
def running(folder: Path, config: str, **env: str) -> Iterator[Freehold]:
    """A Freehold for a whole module: started with this configuration, stopped at the end."""
    (folder / "freehold.toml").write_text(config)
    one = Freehold(folder, clean_env(**env)).start()
    try:
        yield one
    finally:
        one.stop()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test in a loop of its own: three lines instead of a plugin."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture
def make_freehold(tmp_path: Path) -> Iterator[Callable[..., Freehold]]:
    """Write a configuration and get a Freehold for it, not yet started; all are ended afterwards."""
    made: list[Freehold] = []

    def make(config: str | None = NO_ENGINE, **env: str) -> Freehold:
        folder = tmp_path / f"freehold{len(made)}"
        folder.mkdir()
        if config is not None:
            (folder / "freehold.toml").write_text(config)
        made.append(Freehold(folder, clean_env(**env)))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.kill()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A real server, for this process of the suite."""
    server = Postgres(tmp_path_factory.mktemp("postgres"), free_port())
    yield server
    server.stop()


@pytest.fixture
def inside() -> Iterator[Standin]:
    with Standin() as provider:
        yield provider


@pytest.fixture
def outside() -> Iterator[Standin]:
    with Standin() as provider:
        yield provider


@pytest.fixture
def two_zones(inside: Standin, outside: Standin) -> str:
    """Configuration with one inside and one outside stand-in, and the workload `open` that lists both."""
    return (
        NO_ENGINE
        + f'[providers.rack]\nbase_url = "{inside.base_url}"\nzone = "inside"\nretries = 0\nprices = {{ m = {{ input = 0.0, output = 0.0 }} }}\n'
        + "timeouts = { connect = 2.0, first_byte = 0.5, silence = 0.5, total = 5.0 }\n"
        + f'[providers.cloud]\nbase_url = "{outside.base_url}"\nkey = "env:CLOUD"\nretries = 0\nprices = {{ m = {{ input = 1.0, output = 2.0 }} }}\n'
        + '[workloads.open]\nclass = "public"\ntargets = ["rack/m", "cloud/m"]\n'
        + '[workloads.closed]\nclass = "restricted"\ntargets = ["rack/m"]\n'
    )


@pytest.fixture
def raw_post() -> Callable[..., tuple[int, bytes]]:
    """Post bytes as they are; returns status and body."""

    def post(freehold: Freehold, path: str, body: bytes, key: str) -> tuple[int, bytes]:
        request = Request(
            f"http://127.0.0.1:{freehold.port}{path}", data=body, headers={"Authorization": f"Bearer {key}"}
        )
        try:
            with urlopen(request, timeout=20) as answer:
                return answer.status, answer.read()
        except HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read()

    return post
