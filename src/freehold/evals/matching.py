"""Search texts by a user's pattern in a process that can be ended: a pattern may take longer than the world lasts, and in this process nobody could stop it."""

from __future__ import annotations

import json
import re
import resource
import selectors
import subprocess
import sys
import threading
import weakref

_TIMEOUT_S = 5.0  # of one search


class Matcher:
    """One pattern. Any thread may use it; searches wait for each other. Its process ends with it."""

    def __init__(self, pattern: str, timeout_s: float = _TIMEOUT_S) -> None:
        self._pattern, self._timeout_s, self._lock = pattern, timeout_s, threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def search(self, text: str) -> list[str | None] | None:
        """The whole match and its groups; [] for no match, None where the search took too long. Raises OperatorError where it cannot be made at all."""
        with self._lock:
            for _ in range(2):
                try:
                    return self._asked(text)
                except TimeoutError:
                    self.close()
                    return None
                except (OSError, ValueError):  # it was ended by somebody else
                    self.close()
        raise OSError("a process that searches for a pattern does not stay")

    def _asked(self, text: str) -> list[str | None]:
        child = self._running()
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(text).encode() + b"\n")
        child.stdin.flush()
        with selectors.DefaultSelector() as ready:
            ready.register(child.stdout, selectors.EVENT_READ)
            if not ready.select(self._timeout_s):
                raise TimeoutError
        found: list[str | None] = json.loads(child.stdout.readline())
        return found

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            self._child = subprocess.Popen(  # noqa: S603 - this module
                [
                    sys.executable,
                    "-I",
                    __file__,
                    self._pattern,
                    str(self._timeout_s),
                ],  # apart from folder and environment
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            weakref.finalize(self, _end, self._child)
        return self._child

    def close(self) -> None:
        """End the process; the next search begins another."""
        if self._child is not None:
            _end(self._child)
            self._child = None


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.communicate()


def main() -> None:
    """In the child: a text a line, a match a line."""
    pattern, timeout_s = re.compile(sys.argv[1], re.DOTALL), float(sys.argv[2])
    for line in sys.stdin:
        used = resource.getrusage(resource.RUSAGE_SELF)
        least = int(used.ru_utime + used.ru_stime + timeout_s) + 2
        resource.setrlimit(
            resource.RLIMIT_CPU, (least, resource.RLIM_INFINITY)
        )  # it ends also where nobody is left to end it
        hit = pattern.search(json.loads(line))
        sys.stdout.write(json.dumps([hit[0], *hit.groups()] if hit is not None else []) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
