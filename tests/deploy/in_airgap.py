"""Run inside a network namespace of its own: install from a bundle, serve, call; a recorder sees every packet that anything tries to send anywhere.

Started by test_bundle.py with the bundle and a folder; prints what it saw as JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from flow.in_namespace import Recorder, enter

ELSEWHERE = "192.0.2.1"  # TEST-NET-1: nobody's


def lead_everywhere() -> None:
    """A way to everywhere that ends at the recorder: without any, an attempt to leave would fail before it was seen."""
    device = ctypes.create_string_buffer(b"lo")
    inet = struct.pack("H14x", socket.AF_INET)
    route = struct.pack("Q16s16s16sHh4xQQhxxxxxxQQQHxxxxxx", 0, inet, bytes(16), inet, 1, 0, 0, 0, 0, ctypes.addressof(device), 0, 0, 0)  # fmt: skip
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x890B, route)


def call(port: int, key: str) -> str:
    body = {"model": "builtin/hearth", "messages": [{"role": "user", "content": "My parcel is late"}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        text: str = json.loads(answer.read())["choices"][0]["message"]["content"]
        return text


def main(bundle: Path, folder: Path) -> None:
    enter()
    lead_everywhere()
    recorder = Recorder()
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHON": sys.executable, "LANG": "C.UTF-8"}
    installed = subprocess.run(
        [bundle / "install.sh", folder / "freehold"], env=env, capture_output=True, text=True, check=False
    )
    assert installed.returncode == 0, installed.stderr
    program, home = folder / "freehold/bin/freehold", folder / "home"
    home.mkdir()
    run = [program, "up", "--port", "4000", "--admin-port", "4001"]
    with (folder / "out.txt").open("wb") as out:
        served = subprocess.Popen(run, cwd=home, env=env, stdout=out, stderr=out)
        try:
            until = time.monotonic() + 60
            while "Serving on" not in (said := (folder / "out.txt").read_text()):
                assert time.monotonic() < until, said
                assert served.poll() is None, said
                time.sleep(0.1)
            key = json.loads(
                subprocess.check_output([program, "keys", "create", "--name", "k", "--json"], cwd=home, env=env)
            )["key"]
            answer = call(4000, key)
            doctor = subprocess.run([program, "doctor"], cwd=home, env=env, capture_output=True, text=True, check=False)
            check = subprocess.run([program, "check"], cwd=home, env=env, capture_output=True, text=True, check=False)
        finally:
            served.terminate()
            served.wait(30)
    time.sleep(0.5)
    before = sorted(recorder.packets)
    with contextlib.suppress(OSError), socket.create_connection((ELSEWHERE, 443), timeout=0.5):
        pass
    time.sleep(0.3)
    seen = {
        "version": installed.stdout.strip(),
        "said": said,
        "answer": answer,
        "doctor": [doctor.returncode, doctor.stdout + doctor.stderr],
        "check": check.returncode,
        "addresses": before,
        "after_an_attempt": sorted(set(recorder.packets) - set(before)),
    }
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
