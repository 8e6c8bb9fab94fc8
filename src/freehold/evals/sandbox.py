"""Run a user's command on a model's answer: in an empty folder, under limits, without a network where the system allows that, and gone when its time is over.

Rules: the child gets none of this process's environment; it and all that it started end with it; what it prints beyond 64 kB is not read. It is a fence
against accidents and clumsy code. Whoever runs answers that are out to do harm runs this in a machine of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

_MOST_OUTPUT = 64 * 1024
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000  # clone(2)
_FILES_MB, _PROCESSES = 64, 2_048


class Limits(NamedTuple):
    """What a command may use."""

    timeout_s: float = 10.0
    memory_mb: int = 512


class Ended(NamedTuple):
    """How it ended. status: the exit status, -1 if its time was over."""

    status: int
    output: str


def run(command: Sequence[str], told: bytes, limits: Limits) -> Ended:
    """Run it with `told` on its standard input. Never raises for what the command does."""
    with tempfile.TemporaryDirectory(prefix="freehold-") as folder:
        fence = [sys.executable, "-m", "freehold.evals.sandbox", str(limits.timeout_s), str(limits.memory_mb), *command]
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": folder,
            "TMPDIR": folder,
            "LANG": "C.UTF-8",
        }
        environment |= {"PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
        with tempfile.TemporaryFile() as output, subprocess.Popen(  # noqa: S603 - the user's own command, from the task
            fence, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.DEVNULL, cwd=folder, env=environment, start_new_session=True
        ) as child:  # fmt: skip
            try:
                child.communicate(told, timeout=limits.timeout_s)
                status = child.returncode
            except subprocess.TimeoutExpired:
                status = -1
            finally:
                _end(child)
            output.seek(0)
            return Ended(status, output.read(_MOST_OUTPUT).decode("utf-8", "replace"))


def _end(child: subprocess.Popen[bytes]) -> None:
    """End it and whatever it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _confine(timeout_s: float, memory_mb: int) -> None:
    """Called in the child: limits, and a network of its own with nothing in it."""
    seconds = max(1, int(timeout_s) + 1)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb * 1024 * 1024,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILES_MB * 1024 * 1024,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError):  # it is lower already
        resource.setrlimit(resource.RLIMIT_NPROC, (_PROCESSES, _PROCESSES))
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "unshare") and libc.unshare(_NEW_NET) != 0:
        libc.unshare(_NEW_USER | _NEW_NET)  # without rights; where even that is forbidden, there is no fence for it


def main() -> None:
    timeout_s, memory_mb, *command = sys.argv[1:]
    os.environ.pop("PYTHONPATH", None)
    _confine(float(timeout_s), int(memory_mb))
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError:
        sys.exit(127)


if __name__ == "__main__":
    main()
