"""One contract for every transport: the fake, the direct one over plain and TLS, and the one behind a proxy. All against a real server but the fake."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from conftest import snapshot_of
from freehold.kernel.classes import Class
from freehold.kernel.errors import PolicyRefusal, UpstreamError
from freehold.kernel.snapshot import Provider, Target
from freehold.perimeter.ruling import Declared, Grant, Moment, grant, rule
from freehold.testing.standin import Behaviour, Standin
from freehold.testing.transport import FakeTransport, Scripted
from freehold.upstream import direct
from freehold.upstream.transport import HttpTransport, Request, Transport, proxy_for, resolve

BODY = b'{"model": "m", "messages": [{"role": "user", "content": "x"}]}'
STREAM = b'{"model": "m", "stream": true, "messages": [{"role": "user", "content": "x"}]}'
TIMEOUTS = "timeouts = { connect = 1.0, first_byte = 0.3, silence = 0.3, total = 3.0 }\n"


def permit(provider: Provider, body: bytes | None = None, *, class_: Class | None = None) -> Grant:
    ruling = rule(Declared(key=class_), snapshot_of(""))
    return grant(
        ruling,
        provider,
        Target(provider.name, "m"),
        call=("call_1", 1),
        body=body,
        at=Moment(time.time(), time.monotonic()),
    )


class Proxy:
    """A real CONNECT/forward proxy on loopback, in a thread; counts what passed."""

    def __enter__(self) -> Proxy:
        self.passed = 0
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        self.writers: list[asyncio.StreamWriter] = []
        self.thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self.thread.start()
        ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self.loop).result(5)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.close()

    async def _close(self) -> None:
        self.server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.sleep(0.05)

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self.loop)
        self.server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self.server.sockets[0].getsockname()[1]
        ready.set()
        self.loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.passed += 1
        method, where, _ = head.split(b" ", 2)
        place = where if method == b"CONNECT" else where.split(b"/")[2]
        host, _, port = place.decode().partition(":")
        there, back = await asyncio.open_connection(host, int(port))
        self.writers += [writer, back]
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            back.write(head)
        await asyncio.gather(self._pipe(reader, back), self._pipe(there, writer))

    async def _pipe(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        sink.close()


@dataclass
class Way:
    """A transport, the provider it reaches, and the server behind it."""

    provider: Provider
    server: Standin
    ca_bundle: str | None = None
    proxy: Proxy | None = None

    def transport(self) -> HttpTransport:
        return HttpTransport(ca_bundle=self.ca_bundle)


@pytest.fixture(params=["plain", "tls", "proxied", "proxied tls"])
def way(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "ALL_PROXY",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    kind: str = request.param
    authority = trustme.CA()
    context = None
    if "tls" in kind:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    with Standin(tls=context) as server, Proxy() as proxy:
        zone = "outside" if "proxied" in kind else "inside"
        provider = snapshot_of(
            f'[providers.p]\nbase_url = "{server.base_url}"\nzone = "{zone}"\nkey = "env:K"\n{TIMEOUTS}', K="sk-1"
        ).providers["p"]
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        yield Way(provider, server, str(bundle), proxy if "proxied" in kind else None)
        assert (proxy.passed > 0) is ("proxied" in kind), "inside traffic never passes a proxy"


def outside_permit(provider: Provider, body: bytes | None = None) -> Grant:
    return permit(provider, body, class_=Class.PUBLIC)


async def test_whole_and_in_parts(way: Way) -> None:
    transport = way.transport()
    answer = await transport.send(outside_permit(way.provider, BODY), Request("POST", "chat/completions", BODY))
    assert answer.status == 200
    assert b"Hello from" in await answer.whole()
    answer.finish()
    stream = await transport.send(outside_permit(way.provider, STREAM), Request("POST", "chat/completions", STREAM))
    text = b"".join([part async for part in stream.chunks()])
    assert text.endswith(b"data: [DONE]\n\n")
    stream.finish()
    again = await transport.send(
        outside_permit(way.provider, BODY), Request("POST", "chat/completions", BODY, {"OpenAI-Beta": "a\r\nEvil: b"})
    )
    again.close()
    assert way.server.connections == 1, "one connection serves them all"
    sent = way.server.requests[-1].headers
    assert sent["authorization"] == "Bearer sk-1"
    assert "evil" not in sent
    await transport.close()


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        pytest.param(Behaviour(hang=True), "upstream.timeout", id="hangs"),
        pytest.param(Behaviour(silent_after=2), "upstream.timeout", id="falls silent"),
        pytest.param(Behaviour(cut_after=2), "upstream.cut", id="breaks off"),
    ],
)
async def test_failures_have_one_name(way: Way, behaviour: Behaviour, code: str) -> None:
    transport = way.transport()
    way.server.behave(behaviour)
    with pytest.raises(UpstreamError) as caught:
        answer = await transport.send(outside_permit(way.provider, STREAM), Request("POST", "chat/completions", STREAM))
        try:
            await answer.whole()
        finally:
            answer.close()
    assert caught.value.code == code
    assert (
        await (
            await transport.send(outside_permit(way.provider, BODY), Request("POST", "chat/completions", BODY))
        ).whole()
    ).startswith(b"{")
    await transport.close()


async def test_a_redirect_is_an_answer_not_a_path(way: Way) -> None:
    transport = way.transport()
    way.server.behave(Behaviour(status=307, location="http://127.0.0.1:1/"))
    answer = await transport.send(outside_permit(way.provider, BODY), Request("POST", "chat/completions", BODY))
    assert answer.status == 307
    answer.close()
    await transport.close()


async def test_no_bytes_without_a_grant(way: Way) -> None:
    transport = way.transport()
    for wrong in (None, "grant", object()):
        with pytest.raises(PolicyRefusal):
            await transport.send(wrong, Request("GET", "models", None))  # type: ignore[arg-type]  # the point of the test
    assert way.server.connections == 0
    await (await transport.send(outside_permit(way.provider), Request("GET", "models", None))).whole()
    await transport.close()


async def test_a_certificate_of_a_stranger_is_refused(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with Standin(tls=context) as server:
        provider = snapshot_of(f'[providers.p]\nbase_url = "{server.base_url}"\nzone = "inside"\n').providers["p"]
        transport = HttpTransport()
        with pytest.raises(UpstreamError) as caught:
            await transport.send(permit(provider), Request("GET", "models", None))
        assert caught.value.code == "upstream.tls"
        assert server.requests == []
        await transport.close()


async def test_a_name_must_resolve_to_its_addresses() -> None:
    """`localhost` is a host name with an answer: 127.0.0.1 is not within 10.0.0.0/8."""
    text = '[providers.p]\nbase_url = "http://{}:9/v1"\nzone = "inside"\naddresses = ["{}"]\n'
    with pytest.raises(UpstreamError) as caught:
        await resolve(snapshot_of(text.format("localhost", "10.0.0.0/8")).providers["p"], 9)
    assert caught.value.code == "upstream.address_forbidden"
    assert "127.0.0.1" in await resolve(
        snapshot_of(text.format("localhost", "127.0.0.0/8").replace('"]', '", "::1/128"]')).providers["p"], 9
    )


def test_no_proxy_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = snapshot_of('[providers.p]\nbase_url = "https://api.example/v1"\n').providers["p"]
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert proxy_for(provider) == "http://127.0.0.1:3128"
    monkeypatch.setenv("no_proxy", ".example")
    assert proxy_for(provider) is None


async def test_the_fake_keeps_the_contract() -> None:
    provider = snapshot_of('[providers.p]\nbase_url = "http://10.0.0.1/v1"\nzone = "inside"\n').providers["p"]
    fake: Transport = FakeTransport(
        Scripted(parts=(b"a", b"b")),
        Scripted(parts=(b"a",), failure=UpstreamError("cut", code="upstream.cut")),
        UpstreamError("no", code="upstream.unreachable"),
    )
    assert await (await fake.send(permit(provider), Request("GET", "models", None))).whole() == b"ab"
    with pytest.raises(UpstreamError, match="cut"):
        await (await fake.send(permit(provider), Request("GET", "models", None))).whole()
    for _ in range(2):
        with pytest.raises(UpstreamError):
            await fake.send(permit(provider), Request("GET", "models", None))
    with pytest.raises(PolicyRefusal):
        await fake.send(None, Request("GET", "models", None))  # type: ignore[arg-type]  # the point of the test


async def test_connections_that_nobody_needs_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a rush most of them lie idle, and the latest is always taken first: the others may not stay for ever."""
    monkeypatch.setattr(direct, "IDLE_S", 0.3)
    with Standin() as there:
        provider = snapshot_of(f'[providers.a]\nbase_url = "{there.base_url}"\nzone = "inside"\n').providers["a"]
        transport = HttpTransport()

        async def call() -> None:
            answer = await transport.send(permit(provider, BODY), Request("POST", "chat/completions", BODY))
            await answer.whole()
            answer.finish()

        await asyncio.gather(*(call() for _ in range(30)))
        pool = transport._pools["a"]
        assert isinstance(pool, direct.Pool)
        assert len(pool._idle) == 30
        for _ in range(10):  # one at a time goes on
            await call()
            await asyncio.sleep(0.1)
        assert len(pool._idle) == 1
        await asyncio.sleep(0.5)
        assert len(pool._idle) == 0
        assert not any(one.is_open for one in pool._all)
        await transport.close()
