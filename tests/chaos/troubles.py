"""Every trouble that the chaos suite makes: what dies or lies, what callers see meanwhile, what comes of it, and how it is made.

The page "what happens when" in the documentation is this table.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from chaos.site import BODY, Behaviour, Site, kill, restart, wait
from flow.test_workers import ask, workers_of

Make = Callable[[Site, random.Random], None]


@dataclass(frozen=True)
class Trouble:
    """One row. meanwhile: what callers see; after: what comes of it; needs: `disk` or `workers`, where it cannot be made without."""

    name: str
    meanwhile: str
    after: str
    make: Make
    needs: str = ""


def _upstream(behaviour: Behaviour, seconds: float = 0.6) -> Make:
    """The first provider does this for a while."""

    def make(site: Site, _: random.Random) -> None:
        site.inside.usual = behaviour
        time.sleep(seconds)
        site.inside.usual = Behaviour()

    return make


def _closed(site: Site, _: random.Random) -> None:
    """Nobody listens where the first provider was."""
    port = site.inside.port
    site.inside.__exit__(None, None, None)
    time.sleep(0.6)
    site.inside.port = port
    site.inside.__enter__()


def _no_name(site: Site, _: random.Random) -> None:
    for _ in range(3):
        status, _answer = ask(site, site.other, body={**BODY, "model": "lost"})
        assert status == 200, "the next target serves"


def _kill_worker(site: Site, chance: random.Random) -> None:
    for pid in chance.sample(workers_of(site), chance.randint(1, site.workers)):
        kill(pid)


def _kill_parent(site: Site, _: random.Random) -> None:
    """The supervisor, or the only process."""
    children = workers_of(site)
    assert site.process is not None
    kill(site.process.pid)
    wait(lambda: not [pid for pid in children if _lives(pid)], 20, "its workers drain and end")
    restart(site)


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _stop_in_order(site: Site, _: random.Random) -> None:
    assert site.process is not None
    site.process.terminate()
    restart(site)


def _kill_engine(site: Site, _: random.Random) -> None:
    """The built-in model's own process."""
    body = {**BODY, "model": "builtin/hearth"}
    wait(lambda: ask(site, site.other, body=body)[0] == 200, 60, "the model is loaded")
    for pid in _below(site):
        if b"engines" in _command(pid):
            kill(pid)
    assert ask(site, site.secret, body=BODY)[0] == 200, "others are served meanwhile"
    wait(lambda: ask(site, site.other, body=body)[0] == 200, 60, "the model is there again")


def _below(site: Site) -> list[int]:
    found, todo = list[int](), [site.tree()[0]]
    while todo:
        pid = todo.pop()
        try:
            with open(f"/proc/{pid}/task/{pid}/children") as file:
                todo += (children := [int(one) for one in file.read().split()])
        except OSError:
            continue
        found += children
    return found


def _command(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def _kill_database(site: Site, _: random.Random) -> None:
    """It is away for a while, and is there again."""
    assert site.database is not None
    site.database.kill()
    time.sleep(1.5)
    status, _answer = ask(site, site.other, body={**BODY, "model": "spare/m"})
    assert status == 200, "what needs no budget goes on"
    site.database.start()


def _full_disk(site: Site, _: random.Random) -> None:
    filler = site.state / "filler"
    fd = os.open(filler, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(fd, bytes(1 << 16))
    os.close(fd)
    wait(lambda: ask(site, site.secret, body=BODY)[0] in (503, 0), 20, "nothing runs unrecorded")
    filler.unlink()


def _read_only_disk(site: Site, _: random.Random) -> None:
    """The bytes that are left are few, so that the log's next write meets the fault whatever was open before."""
    done = subprocess.run(["mount", "-o", "remount,ro", site.state], capture_output=True, check=False)
    if done.returncode != 0:  # a file is open for writing: the kernel refuses, and it stays writable
        return
    time.sleep(0.5)
    subprocess.run(["mount", "-o", "remount,rw", site.state], check=True)


def _slow_disk(site: Site, _: random.Random) -> None:
    site.fault(sync_s=0.3)
    time.sleep(1.0)
    site.fault()


def _clock(step_s: float) -> Make:
    def make(site: Site, _: random.Random) -> None:
        site.fault(clock_s=step_s)
        time.sleep(0.6)
        site.fault()

    return make


def _idle_connections(site: Site, _: random.Random) -> None:
    count = 10_000 if site.is_long else 2_000
    site.kept_kb = count * 5  # measured: 43 MB of 10,000; the same 43 MB after a second rush
    held = [socket.create_connection(("127.0.0.1", site.port), timeout=10) for _ in range(count)]
    try:
        wait(site.is_well, 10, "whoever has something to say is heard")
    finally:
        for one in held:
            one.close()


def _slowloris(site: Site, _: random.Random) -> None:
    """Heads that never end, and bodies that never come."""
    held = [socket.create_connection(("127.0.0.1", site.port), timeout=10) for _ in range(200)]
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
    for number, one in enumerate(held):
        one.sendall(head if number % 2 else head + f"Authorization: Bearer {site.secret}\r\n\r\n{{".encode())
    for _ in range(3):
        for one in held:
            one.sendall(b"X: " if held.index(one) % 2 else b" ")
        time.sleep(0.1)
    wait(site.is_well, 10, "whoever has something to say is heard")
    for one in held:
        one.close()


def _slow_readers(site: Site, _: random.Random) -> None:
    """They ask for much, and read nothing."""
    site.inside.usual = Behaviour(words=tuple("0123456789" * 20 for _ in range(400)))
    body = b'{"model": "w", "stream": true, "max_tokens": 8, "messages": [{"role": "user", "content": "x"}]}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {site.secret}\r\nContent-Length: {len(body)}\r\n\r\n"
    held = []
    for _ in range(40):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        one.connect(("127.0.0.1", site.port))
        one.sendall(head.encode() + body)
        held.append(one)
    time.sleep(0.8)
    site.inside.usual = Behaviour()
    wait(site.is_well, 10, "whoever reads is served")
    for one in held:
        one.close()


def _many_streams(site: Site, _: random.Random) -> None:
    count = 1_000 if site.is_long else 400
    site.inside.usual = Behaviour(event_delay_s=0.15)
    body = b'{"model": "w", "stream": true, "max_tokens": 8, "messages": [{"role": "user", "content": "x"}]}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {site.secret}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ends: list[bool] = []

    def read() -> None:
        held = []
        for _ in range(count // 8):
            one = socket.create_connection(("127.0.0.1", site.port), timeout=60)
            one.sendall(head.encode() + body)
            held.append(one)
        for one in held:
            got = b""
            while piece := one.recv(65_536):
                got += piece
            ends.append(b"[DONE]" in got or b" 429 " in got[:20] or b" 504 " in got[:20])
            one.close()

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    site.inside.usual = Behaviour()
    assert len(ends) == count // 8 * 8
    assert all(ends), f"{ends.count(False)} of {len(ends)} streams broke off"


FALLBACK = "The next target serves, where there is one; its own error in the caller's dialect, where there is none."
SAME = "The target rests and is tried again; nothing to do."
TROUBLES = (
    Trouble("a provider hangs", "A wait of up to its `timeouts`, then the next target.", SAME, _upstream(Behaviour(hang=True), 1.5)),
    Trouble("a provider's connections break off", FALLBACK + " A stream that has begun ends with an error.", SAME, _upstream(Behaviour(cut_after=1))),
    Trouble("a provider drips", "The stream goes on as slowly; past `silence` it ends with an error.", SAME, _upstream(Behaviour(event_delay_s=0.2))),
    Trouble("a provider says less than it promised", FALLBACK, SAME, _upstream(Behaviour(headers=(("content-length", "999999"),), body=b'{"x":', status=200), 0.4)),
    Trouble("a provider sends rubbish", FALLBACK, SAME, _upstream(Behaviour(rubbish=True))),
    Trouble("a provider refuses everybody (429)", "The next target serves; `retry-after` is honoured up to ten seconds.", SAME, _upstream(Behaviour(status=429, retry_after="1"))),
    Trouble("a provider fails (5xx)", FALLBACK, SAME, _upstream(Behaviour(status=503))),
    Trouble("a provider is not there", FALLBACK, SAME, _closed),
    Trouble("a provider's name cannot be resolved", "The next target serves.", SAME, _no_name),
    Trouble("a worker is killed", "Its calls break off; new ones go to the others.", "Another takes its place within a second; its calls are settled as lost, at what they held.", _kill_worker, "workers"),
    Trouble("the process, or the supervisor of the workers, is killed", "Workers drain what they have begun and end; then connections are refused.", "Whoever watches over it starts it again; what was under way is settled as lost, at what it held.", _kill_parent),
    Trouble("it is told to stop", "What was begun ends; new connections are refused; `/readyz` says `draining`.", "Every call has its receipt.", _stop_in_order),
    Trouble("the built-in model's process is killed", "Its calls break off or get `503`; others are served.", "It is started again within seconds.", _kill_engine, "engine"),
    Trouble("the database of several nodes is killed", "Calls without a budget go on; others within what their node has leased, then `503`.", "What happened meanwhile is written when it is back, once.", _kill_database, "database"),
    Trouble("the disk is full", "`503` for every call: nothing runs unrecorded.", "It goes on by itself when there is room.", _full_disk, "disk"),
    Trouble("the disk becomes read-only", "`503` for every call.", "It goes on by itself when it can write.", _read_only_disk, "disk"),
    Trouble("the disk is slow", "Calls that leave the inside wait for it, because their intent is on the disk first; calls inside do not.", "Nothing.", _slow_disk),
    Trouble("the clock steps an hour ahead", "Nothing: what is timed is timed by a clock that nobody sets.", "Agreements and budgets' periods follow the clock while it is wrong.", _clock(3_600.0)),
    Trouble("the clock steps an hour back", "Nothing.", "Receipts of that time carry it; their order is the log's.", _clock(-3_600.0)),
    Trouble("thousands of connections say nothing", "Nothing.", "Descriptors come back; the memory, some 4 kB a connection, is used again for the next.", _idle_connections),
    Trouble("callers drip their requests", "Nothing for others; they are cut off after `[server] body_timeout`.", "Descriptors come back.", _slowloris),
    Trouble("callers do not read their answers", "Nothing for others: each is held back by itself, and so is its provider.", "Memory comes back when they go; their calls are settled as cancelled.", _slow_readers),
    Trouble("a thousand streams at once", "Each goes on to its end.", "Memory and descriptors come back.", _many_streams),
)  # fmt: skip


def possible(site: Site) -> list[Trouble]:
    """Those that can be made for a site: a disk of its own needs the right to mount one."""
    has = {
        "disk": site.has_disk,
        "workers": site.workers > 1,
        "engine": site.has_engine,
        "database": site.database is not None,
    }
    return [one for one in TROUBLES if not one.needs or has[one.needs]]


def unlock(site: Site) -> None:
    """Whatever a trouble that failed has left."""
    site.fault()
    if site.has_disk:
        subprocess.run(["mount", "-o", "remount,rw", site.state], check=False, capture_output=True)
        (site.state / "filler").unlink(missing_ok=True)
    os.sync()
