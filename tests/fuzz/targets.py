"""What the fuzzer feeds: each decoder, and the HTTP edge over a socket. A target takes any bytes and lets nothing pass but the errors that its readers expect."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

from freehold.gateway import tracing
from freehold.gateway.admission import wanted
from freehold.identity.tokens import Signers, check
from freehold.kernel.config import Surroundings, read
from freehold.kernel.errors import CallerError, UpstreamError
from freehold.kernel.problems import ConfigError
from freehold.kernel.routes import PLAIN
from freehold.upstream.rows import ROWS
from freehold.wire import allowances, eventstream, failures, sse, strict
from freehold.wire import canonical as c
from freehold.wire.call import Address, Endpoint
from freehold.wire.dialect import MISSHAPEN, guarded
from freehold.wire.dialects import DIALECTS, SPOKEN
from freehold.wire.sse import Event

ENDPOINTS = {
    "openai-chat": Endpoint.CHAT,
    "openai-responses": Endpoint.RESPONSES,
    "anthropic-messages": Endpoint.MESSAGES,
    "gemini": Endpoint.GENERATE,
}
Target = Callable[[bytes], None]


def body(data: bytes) -> None:
    with contextlib.suppress(CallerError):
        strict.decode(data)


def request(name: str) -> Target:
    """A body of a dialect: read, passed on, and written in every other."""

    def feed(data: bytes) -> None:
        try:
            call = SPOKEN[name].read_call(ENDPOINTS[name], data, Address("m"))
            SPOKEN[name].pass_on(call, {**call.body}, PLAIN)
            talk = guarded(SPOKEN[name], call)
        except CallerError:
            return
        for target in DIALECTS.values():
            with contextlib.suppress(c.Unable, *MISSHAPEN):
                target.write_request(talk, "m", PLAIN, set())

    return feed


def answer(name: str) -> Target:
    """A provider's whole answer."""

    def feed(data: bytes) -> None:
        with contextlib.suppress(*MISSHAPEN):
            DIALECTS[name].used_of(data)
        with contextlib.suppress(*MISSHAPEN):
            DIALECTS[name].read_answer(data, name)

    return feed


def stream(name: str) -> Target:
    """A provider's stream: the first byte says where it is cut."""

    def feed(data: bytes) -> None:
        cut, data = (data[0], data[1:]) if data else (0, b"")
        frames, reader = DIALECTS[name].frames(), DIALECTS[name].stream_reader(name)
        try:
            for event in [*frames.feed(data[:cut]), *frames.feed(data[cut:]), *frames.close()]:
                reader.take(Event(event.data, event.raw, event.name))
        except (c.InvalidAnswer, sse.EventTooLong, *MISSHAPEN):
            return

    return feed


def frames(make: Callable[[], sse.Reader | eventstream.Reader]) -> Target:
    """Whole, and byte by byte: the same events; or broken both ways, where what came before in the same piece may be lost."""

    def feed(data: bytes) -> None:
        found = []
        for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
            reader = make()
            events: list[sse.Event | None] = []
            try:
                for piece in pieces:
                    events += reader.feed(piece)
                events += reader.close()
            except sse.EventTooLong:
                events = [*events, None]
            found.append(events)
        if None in found[0] or None in found[1]:
            assert found[0][-1] is None
            assert found[1][-1] is None
            return
        assert found[0] == found[1], "how bytes come makes no difference"

    return feed


def failure(data: bytes) -> None:
    for status in (400, 401, 429, 500, 529):
        failures.read(status, data)
    failures.trouble(data)


def headers(data: bytes) -> None:
    """Headers of a request, and a provider's words about its limits."""
    lines = [line.partition(b":") for line in data.split(b"\n")]
    told = [(name.strip().lower(), value.strip()) for name, _, value in lines]
    with contextlib.suppress(CallerError):
        wanted(told)
    allowances.told({name.decode("latin-1"): value.decode("latin-1") for name, value in told}, 1e9)
    for _, value in told:
        allowances.seconds(value.decode("latin-1"), 1e9)
        found = tracing.read(value.decode("latin-1"))
        assert found is None or tracing.read(found.header("")) == found


def token(data: bytes) -> None:
    with contextlib.suppress(UpstreamError):
        Signers(data)
    with contextlib.suppress(CallerError):
        check(data.decode("latin-1"), _SIGNERS, issuer="https://issuer.example.com", audience="freehold")


_SIGNERS = Signers(
    b'{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'
)


def configuration(data: bytes) -> None:
    with contextlib.suppress(ConfigError):
        read(data.decode("utf-8", "replace"), Surroundings({}, ROWS))


TARGETS: dict[str, Target] = {
    "body": body,
    **{f"request {name}": request(name) for name in ENDPOINTS},
    **{f"answer {name}": answer(name) for name in DIALECTS},
    **{f"stream {name}": stream(name) for name in DIALECTS},
    "sse": frames(sse.Reader),
    "eventstream": frames(eventstream.Reader),
    "failure": failure,
    "headers": headers,
    "token": token,
    "configuration": configuration,
}


def edge(port: int) -> Target:
    """The HTTP edge of a running Freehold: whatever is sent, it answers or hangs up, and serves the next."""

    def feed(data: bytes) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as one, contextlib.suppress(OSError):
            one.sendall(data)
            one.shutdown(socket.SHUT_WR)
            while one.recv(65_536):
                pass
        with socket.create_connection(("127.0.0.1", port), timeout=5) as one:
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert one.recv(64).startswith(b"HTTP/1.1 200"), "it serves the next"

    return feed
