"""Run a user's command on a model's answer: in an empty folder, under limits, and gone with all that it started when its time is over.

Rules: the child gets none of this process's environment; where the system allows it, it has no network and sees no other process; what it prints beyond the
last 64 kB is not read. Files that this user may read and write, it may too: it is a fence against accidents and clumsy code. Whoever runs answers that are out
to do harm runs this in a machine of its own.
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
from pathlib import Path
from typing import NamedTuple

_MOST_OUTPUT = 64 * 1024
# clone(2), mount(2), prctl(2)
_NEW_FILES, _NEW_USER, _NEW_PROCESSES, _NEW_NET = 0x00020000, 0x10000000, 0x20000000, 0x40000000
_PRIVATE_BELOW, _SUBREAPER = (1 << 18) | (1 << 14), 36
_FILES_MB, _PROCESSES = 64, 2_048


class Limits(NamedTuple):
    """What a command may use."""

    timeout_s: float = 10.0
    memory_mb: int = 512


class Ended(NamedTuple):
    """How it ended. status: the exit status, -1 if its time was over, or it was ended."""

    status: int
    output: str


def run(command: Sequence[str], told: bytes, limits: Limits) -> Ended:
    """Run it with `told` on its standard input. Never raises for what the command does."""
    with tempfile.TemporaryDirectory(prefix="freehold-", ignore_cleanup_errors=True) as folder:
        fence = [sys.executable, "-I", __file__, str(limits.timeout_s), str(limits.memory_mb), *command]
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": folder,
            "TMPDIR": folder,
            "LANG": "C.UTF-8",
        }
        with tempfile.TemporaryFile() as output, subprocess.Popen(  # noqa: S603 - the user's own command, from the task
            fence, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.DEVNULL, cwd=folder, env=environment, start_new_session=True
        ) as child:  # fmt: skip
            try:
                child.communicate(told, timeout=limits.timeout_s)
                status = child.returncode if child.returncode >= 0 else -1
            except subprocess.TimeoutExpired:
                status = -1
                child.terminate()  # the fence ends everything behind it
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(1.0)
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGKILL)
            output.seek(max(0, output.seek(0, os.SEEK_END) - _MOST_OUTPUT))
            return Ended(status, output.read(_MOST_OUTPUT).decode("utf-8", "replace"))


# --- in the child ---------------------------------------------------------------------------------------------------


def main() -> None:
    """The fence: a process that runs the command in namespaces of its own, and ends whatever it leaves behind."""
    timeout_s, memory_mb, *command = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_SUBREAPER, 1, 0, 0, 0)
    apart = _NEW_FILES | _NEW_PROCESSES | _NEW_NET
    if hasattr(libc, "unshare") and libc.unshare(apart) != 0:
        libc.unshare(_NEW_USER | apart)  # without rights; where even that is forbidden, there is no such fence
    inner = os.fork()
    if inner == 0:
        _confine(libc, float(timeout_s), int(memory_mb))
        try:
            os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
        except OSError:
            os._exit(127)
    signal.signal(signal.SIGTERM, lambda _number, _frame: os.kill(inner, signal.SIGKILL))
    _, waited = os.waitpid(inner, 0)
    _end_all()
    code = os.waitstatus_to_exitcode(waited)
    os._exit(code if code >= 0 else 125)


def _confine(libc: ctypes.CDLL, timeout_s: float, memory_mb: int) -> None:
    """Limits, and a list of processes that holds its own alone."""
    libc.mount(b"none", b"/", None, ctypes.c_ulong(_PRIVATE_BELOW), None)
    libc.mount(b"proc", b"/proc", b"proc", ctypes.c_ulong(0), None)
    seconds = max(1, int(timeout_s) + 1)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb * 1024 * 1024,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILES_MB * 1024 * 1024,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError):  # it is lower already
        resource.setrlimit(resource.RLIMIT_NPROC, (_PROCESSES, _PROCESSES))


def _end_all() -> None:
    """End what outlived the command: orphans are ours, because nobody else takes them in."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    for _ in range(_PROCESSES):
        try:
            left = children.read_text(encoding="ascii").split()
        except OSError:
            return
        if not left:
            return
        for pid in map(int, left):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
