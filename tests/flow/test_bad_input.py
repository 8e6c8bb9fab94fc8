"""Bad input: each a clear answer, a bounded cost and an intact ledger."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Freehold
from ledger.audits import audit


def exchange(freehold: Freehold, head: str, body: bytes = b"", *, timeout: float = 20.0) -> tuple[int, str]:
    """Send raw bytes; returns the status and the error's code (or the body)."""
    with socket.create_connection(("127.0.0.1", freehold.port), timeout=timeout) as connection:
        try:
            connection.sendall(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it answered before it had read everything
        data = b""
        try:
            while part := connection.recv(65536):
                data += part
                if b"\r\n\r\n" in data and (
                    b"content-length: 0" in data or data.endswith((b"}", b"Invalid HTTP request received."))
                ):
                    break
        except ConnectionResetError:
            pass
    status = int(data.split(b" ", 2)[1]) if data else 0
    text = data.partition(b"\r\n\r\n")[2].decode("utf-8", "replace")
    try:
        return status, str(json.loads(text)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return status, text


def post(key: str, length: int, path: str = "/v1/chat/completions", extra: str = "") -> str:
    return f"POST {path} HTTP/1.1\nHost: x\nAuthorization: Bearer {key}\nContent-Length: {length}{extra}"


@pytest.fixture
def freehold(make_freehold: Callable[..., Freehold], two_zones: str) -> Freehold:
    return make_freehold(two_zones + "[server]\nbody_timeout = 1.0\n", CLOUD="sk-1").start()


def test_each_has_a_clear_answer(freehold: Freehold) -> None:
    key = freehold.key()
    good = json.dumps({"model": "closed", "messages": [{"role": "user", "content": "x"}]}).encode()
    deep = b'{"model": "closed", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    smuggled = b'{"model": "cloud/m", "messages": [{"role": "user", "content": "x"}], "mod\\u0065l": "closed"}'
    cases: list[tuple[str, bytes, int, str]] = [
        (post(key, 0), b"", 400, "request.empty"),
        (post(key, 4), b"null", 400, "request.shape"),
        (post(key, 10), b'{"a": "\xff"}', 400, "request.encoding"),
        (post(key, len(deep)), deep, 400, "request.depth"),
        (post(key, 100_000_000), b"", 413, "request.too_large"),
        (post(key, len(good)).replace("Bearer " + key, "Bearer fh-unknown"), good, 401, "auth.unknown_key"),
        (post(key, len(good)).replace(f"Authorization: Bearer {key}\n", ""), good, 401, "auth.missing"),
        (
            post(key, len(good))
            .replace(f"Authorization: Bearer {key}\n", "")
            .replace("completions ", f"completions?api_key={key} "),
            good,
            401,
            "auth.missing",
        ),
        (post(key, len(good)).replace("Bearer", "Basic"), good, 401, "auth.missing"),
        (post(key, len(good), extra="\nAuthorization: Bearer other"), good, 400, "request.header"),
        (post(key, len(good), "/v1/nothing"), good, 404, "request.unknown_path"),
        (post(key, len(good), "/metrics"), good, 404, "request.unknown_path"),
        (post(key, len(good), "//v1/chat/completions"), good, 404, "request.unknown_path"),
        (post(key, 0).replace("POST", "GET"), b"", 405, "request.method"),
        (post(key, len(smuggled)), smuggled, 200, ""),
    ]
    for head, body, status, code in cases:
        found = exchange(freehold, head, body)
        assert found[0] == status, (head, found)
        assert code in found[1]
    assert exchange(freehold, post(key, len(good), extra="\nX-A: b\rSet-Cookie: c"), good)[0] == 400
    freehold.stop()
    report = audit(freehold.state)
    assert report.holds, report.findings
    assert {r["outcome"] for r in freehold.settled()} == {"refused", "ok"}
    assert key not in freehold.output


def test_a_body_without_length_is_counted_as_it_comes(freehold: Freehold) -> None:
    """A chunked body past the limit is refused without being kept."""
    key = freehold.key()
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    head = f"POST /v1/chat/completions HTTP/1.1\nHost: x\nAuthorization: Bearer {key}\nTransfer-Encoding: chunked"
    assert freehold.process is not None
    before = resident(freehold.process.pid)
    assert exchange(freehold, head, chunk * 60)[0] in (413, 0)
    assert resident(freehold.process.pid) - before < 80_000_000


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("where", ["head", "body"])
def test_a_caller_that_dribbles_is_cut_off(freehold: Freehold, where: str) -> None:
    key = freehold.key()
    head = post(key, 5000).replace("\n", "\r\n").encode()
    with socket.create_connection(("127.0.0.1", freehold.port), timeout=10) as connection:
        connection.sendall(head[:10] if where == "head" else head + b"\r\n\r\n{")
        began, data = time.monotonic(), b""
        try:
            while time.monotonic() - began < 8:
                connection.sendall(b"a")
                connection.settimeout(0.2)
                try:
                    part = connection.recv(1000)
                except TimeoutError:
                    continue
                if not part:
                    break
                data += part
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert time.monotonic() - began < 6
    assert data.startswith(b"HTTP/1.1 408") or data == b""


def test_a_caller_that_leaves_before_the_end_of_its_body(freehold: Freehold) -> None:
    key = freehold.key()
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", freehold.port)) as connection:
            connection.sendall(post(key, 5000).replace("\n", "\r\n").encode() + b"\r\n\r\n{")
    good = json.dumps({"model": "closed", "messages": [{"role": "user", "content": "x"}]}).encode()
    assert exchange(freehold, post(key, len(good)), good)[0] == 200
    assert freehold.stop() == 0
    assert audit(freehold.state).holds
    assert '"bug"' not in freehold.output
