"""Run inside a network namespace of its own: two stand-ins at two addresses, a real Freehold, and a recorder of every packet.

Started by test_namespace.py; prints what it saw as JSON. Nothing but this machine's loopback exists in here.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from conftest import NO_ENGINE, Freehold, clean_env
from freehold.testing.standin import Behaviour, Standin
from perimeter.canaries import CANARIES, PLACES, SPELLINGS, request

INSIDE, OUTSIDE = "127.0.0.5", "127.0.0.99"
CLONE_NEWNET, CLONE_NEWUSER = 0x40000000, 0x10000000


def enter() -> None:
    """A namespace without any network but its own loopback, which is brought up. Exit code 77 where that is not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNET):
        if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET):
            sys.exit(77)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        flags = struct.pack("16sh", b"lo", 0x1 | 0x40)  # up and running
        fcntl.ioctl(control, 0x8914, flags)


class Recorder:
    """Every packet of the namespace: to which addresses, and all that was carried there."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self._socket.bind(("lo", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        self.packets: Counter[str] = Counter()
        self.carried: dict[str, bytearray] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            frame = self._socket.recv(65_535)[14:]
            if not frame or frame[0] >> 4 != 4:
                self.packets["not IPv4"] += 1
                continue
            head = (frame[0] & 15) * 4
            to = socket.inet_ntoa(frame[16:20])
            self.packets[to] += 1
            if frame[9] == 6:
                self.carried.setdefault(to, bytearray()).extend(frame[head + (frame[head + 12] >> 4) * 4 :])
            else:
                self.packets[f"protocol {frame[9]}"] += 1


def main() -> None:
    enter()
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder, Standin(host=INSIDE) as inside, Standin(host=OUTSIDE) as outside:
        text = (
            NO_ENGINE
            + f'[providers.rack]\nbase_url = "{inside.base_url}"\nzone = "inside"\nretries = 0\n[providers.cloud]\nbase_url = "{outside.base_url}"\nretries = 0\n'
        )
        text += '[workloads.open]\nclass = "public"\ntargets = ["rack/m", "cloud/m"]\n[workloads.masked]\nclass = "public"\ntargets = ["cloud/m"]\ntransform = "pseudonymise"\n'
        Path(folder, "freehold.toml").write_text(text)
        freehold = Freehold(Path(folder), clean_env()).start()
        statuses = {"restricted": drive(freehold, freehold.key("--class", "restricted"), "open", inside)}
        after_restricted = dict(recorder.packets)
        statuses["public"] = drive(freehold, freehold.key("--class", "public"), "cloud/m", inside)
        statuses["masked"] = drive(freehold, freehold.key("--class", "public"), "masked", inside)
        freehold.stop()
        time.sleep(0.5)
    sent = bytes(recorder.carried.get(OUTSIDE, b""))
    forms = {
        f"{canary}, {name}": spell(value) for canary, value in CANARIES.items() for name, spell in SPELLINGS.items()
    }
    leaked = [name for name, form in forms.items() if form.encode() in sent or json.dumps(form)[1:-1].encode() in sent]
    seen = {
        "statuses": statuses,
        "to_outside_for_restricted": after_restricted.get(OUTSIDE, 0),
        "addresses": sorted(recorder.packets),
        "leaked": leaked,
        "bytes_outside": len(sent),
    }
    sys.stdout.write(json.dumps(seen) + "\n")


def drive(freehold: Freehold, key: str, model: str, inside: Standin) -> dict[int, int]:
    """Every canary in every place and spelling, with the inside target failing now and then."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=20)
    statuses: Counter[int] = Counter()
    for at, (canary, place, spelling) in enumerate((c, p, s) for c in CANARIES for p in PLACES for s in SPELLINGS):
        if at % 3 == 0 and model == "open":
            inside.behave(Behaviour(status=(500, 429, 401)[at % 9 // 3]))
        connection.request(
            "POST",
            "/v1/chat/completions",
            json.dumps({"model": model, **request(canary, place, spelling)}),
            {"Authorization": f"Bearer {key}"},
        )
        answer = connection.getresponse()
        answer.read()
        statuses[answer.status] += 1
    connection.close()
    return dict(statuses)


if __name__ == "__main__":
    main()
