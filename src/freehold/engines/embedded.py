"""Supervise the embedded engine: start it, wait until it is ready, restart it with backoff, stop it cleanly, leave no orphan.

Rules: Freehold stays up whatever the engine does; a model file that cannot be loaded is a reason in words, not a crash; the
engine's own output is thrown away, because it may quote prompts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from freehold.kernel.schema import Engine
from freehold.kernel.units import Secret

LOAD_DEADLINE_S = 120.0
STOP_DEADLINE_S = 3.0
BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 30.0)
_MAGIC = b"GGUF"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the engine listens, decided before it starts so that configuration can be resolved. The key keeps other local users out."""

    port: int
    key: Secret

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


def choose_place() -> Place:
    """Pick a free loopback port and a fresh key."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        return Place(probe.getsockname()[1], Secret(secrets.token_urlsafe(24), "made at start"))


def fault_of(model: Path) -> str | None:
    """Say what is wrong with a model file as far as a look at its head tells, or None."""
    try:
        with model.open("rb") as file:
            head = file.read(24)
    except OSError as error:
        return f"{str(model)!r} cannot be read ({os.strerror(error.errno or 0)})"
    if head[:4] != _MAGIC:
        return f"{str(model)!r} is not a GGUF file"
    return f"{str(model)!r} is cut short" if len(head) < 24 else None


@dataclass(slots=True)
class Embedded:
    """One supervised child. `note` is told of every change, in words without content."""

    settings: Engine
    model: Path
    place: Place
    note: Callable[[str], None] = lambda _words: None
    failure: str | None = None
    restarts: int = 0
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _decided: asyncio.Event = field(default_factory=asyncio.Event)  # ready, or known to have failed, for the first time
    _task: asyncio.Task[None] | None = None
    _child: Process | None = None

    @property
    def is_ready(self) -> bool:
        return self._ready.is_set()

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None and self._child.returncode is None else None

    def start(self) -> None:
        """Begin to supervise; returns at once."""
        self._task = asyncio.ensure_future(self._supervise())

    async def wait(self, deadline_s: float) -> bool:
        """Wait until the engine is ready or has failed to load; returns whether it is ready."""
        assert self._task is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self._decided.wait()
        return self.is_ready

    async def stop(self) -> None:
        """End the child and the supervision."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._end_child()

    async def _supervise(self) -> None:
        failures = 0
        while True:
            began = asyncio.get_running_loop().time()
            self.failure = fault_of(self.model)
            if self.failure is None:
                was_ready = await self._live()
                if was_ready and asyncio.get_running_loop().time() - began > 60:
                    failures = 0
            if self.failure is not None:
                self._decided.set()
                self.note(self.failure)
            self.restarts += 1
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
            failures += 1

    async def _live(self) -> bool:
        """One life of the child; returns whether it ever was ready."""
        self._child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "freehold.engines.serve", stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=_environment()
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        try:
            self._child.stdin.write(json.dumps(self._orders()).encode() + b"\n")
            await self._child.stdin.drain()
            async with asyncio.timeout(LOAD_DEADLINE_S):
                line = await self._child.stdout.readline()
        except (TimeoutError, ConnectionError):
            line = b""
        if not line.startswith(b"ready"):
            await self._end_child()
            self.failure = f"the engine could not load {str(self.model)!r} (exit status {self._child.returncode}): the file may be cut short, corrupt, or of an unknown architecture"
            return False
        self._ready.set()
        self._decided.set()
        status = await self._child.wait()
        self._ready.clear()
        self.failure = (
            f"the engine ended with status {status} and is being restarted"  # `stop` cancels before it gets here
        )
        return True

    async def _end_child(self) -> None:
        self._ready.clear()
        if self._child is None or self._child.returncode is not None:
            return
        assert self._child.stdin is not None
        self._child.stdin.close()  # it ends at the end of its input
        try:
            async with asyncio.timeout(STOP_DEADLINE_S):
                await self._child.wait()
        except TimeoutError:
            self._child.kill()
            await self._child.wait()

    def _orders(self) -> dict[str, object]:
        threads = self.settings.threads or max(1, min(8, (os.cpu_count() or 2) - 1))
        return {
            "parent": os.getpid(),
            "model": str(self.model),
            "name": self.settings.name,
            "port": self.place.port,
            "key": self.place.key.value,
            "context": self.settings.context,
            "parallel": self.settings.parallel,
            "threads": threads,
        }


def _environment() -> dict[str, str]:
    """The child needs no keys: it gets only what programs need to start."""
    kept = (
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "LD_LIBRARY_PATH",
        "PYTHONPATH",
        "VIRTUAL_ENV",
        "TMPDIR",
        "CUDA_VISIBLE_DEVICES",
    )
    return {name: os.environ[name] for name in kept if name in os.environ}
