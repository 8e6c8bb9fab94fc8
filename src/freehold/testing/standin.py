"""A stand-in provider: speaks every dialect over real HTTP (see speech.py), and misbehaves on command.

    python -m freehold.testing.standin --port 9000
    with Standin() as provider: …  # provider.base_url, provider.requests, provider.behave(Cut(3))

Rules: it counts every connection and keeps every request, so that a test can show that nothing arrived.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import re
import ssl
import struct
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from freehold.testing.batching import Batching
from freehold.testing.keeping import Keeping
from freehold.testing.speech import PROMPT_TOKENS, SPEECHES, Said, chat_events, speech_of


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How to answer. The default answers well.

    status: an error status to refuse with; retry_after: seconds for its header; hang: never answer; delay_s: wait first;
    cut_after: break the connection off after this many events; silent_after: say nothing more after this many;
    rubbish: send bytes that are no answer; without_done: end a stream without `[DONE]`; body: answer with exactly this;
    echo: say what in the request matches this expression, three characters at a time;
    headers: more headers of a whole answer; raw_stream: stream exactly these pieces; raw_repeat: and then one piece so many times.
    """

    status: int = 200
    retry_after: str | None = None
    hang: bool = False
    delay_s: float = 0.0
    cut_after: int | None = None
    silent_after: int | None = None
    rubbish: bool = False
    without_done: bool = False
    body: bytes | None = None
    raw_stream: tuple[bytes, ...] | None = None
    raw_repeat: tuple[bytes, int] | None = None
    location: str | None = None
    echo_key: bool = False
    words: tuple[str, ...] = ("Hello", " from", " the", " stand-in", ".")
    event_delay_s: float = 0.0
    echo: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Received:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Standin:
    """Run the stand-in in a thread of its own. `behave` queues behaviours, one for each coming request; then `usual` holds."""

    port: int = 0
    host: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    usual: Behaviour = Behaviour()
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    bytes_received: int = 0
    disconnects: int = 0
    at_once: int = 0
    most_at_once: int = 0
    batching: Batching = field(default_factory=Batching)
    _queue: deque[Behaviour] = field(default_factory=deque)
    _keeping: Keeping = field(default_factory=Keeping)

    def __enter__(self) -> Standin:
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        return f"http{'s' if self.tls else ''}://{self.host}:{self.port}/v1"

    def behave(self, *behaviours: Behaviour) -> None:
        self._queue.extend(behaviours)

    def stop(self) -> None:
        """Close the port and every connection: from now on connections are refused."""
        if self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(5)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
        if not self._loop.is_closed():
            self._loop.close()

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, self.host, self.port, ssl=self.tls)
        )
        self.port = self._server.sockets[0].getsockname()[1]
        started.set()
        self._loop.run_forever()

    async def _close(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.02)  # sockets are closed in the loop's next turns

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while (request := await self._read(reader)) is not None:
                self.requests.append(request)
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                try:
                    await self._answer(request, reader, writer)
                finally:
                    self.at_once -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            self.disconnects += 1
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Received | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            self.bytes_received += len(error.partial)
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.bytes_received += len(head) + len(body)
        return Received(method, path, headers, body)

    async def _answer(self, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_call = request.method == "POST" or "/responses/" in request.path
        behaviour = self._queue.popleft() if self._queue and is_call else self.usual
        await asyncio.sleep(behaviour.delay_s)
        if behaviour.hang:
            await reader.read(1)  # until the caller gives up
            raise ConnectionResetError
        if behaviour.status != 200:
            headers = [("Retry-After", behaviour.retry_after)] if behaviour.retry_after else []
            headers += [*behaviour.headers]
            headers += [("Location", behaviour.location)] if behaviour.location else []
            words = f"refused by the stand-in{', key ' + request.headers.get('authorization', '') if behaviour.echo_key else ''}"
            body = (
                behaviour.body
                if behaviour.body is not None
                else json.dumps({"error": {"message": words, "type": "standin", "code": "standin"}}).encode()
            )
            await _send(writer, behaviour.status, "application/json", body, headers)
        elif behaviour.rubbish:
            await _send(writer, 200, "application/json", b"\xff\xfe not an answer")
        elif behaviour.body is not None:
            await _send(writer, 200, "application/json", behaviour.body, behaviour.headers)
        elif (batched := await self._batched(request)) is not None:
            status, told = batched
            raw = told if isinstance(told, bytes) else json.dumps(told).encode()
            await _send(writer, status, "application/json", raw)
        elif (kept := self._keeping.answer(request.method, request.path.partition("?")[0])) is not None:
            if kept[0] == 200 and "stream=true" in request.path:
                await self._stream(request, behaviour, reader, writer)
            else:
                await _send(writer, kept[0], "application/json", json.dumps(kept[1]).encode())
        elif request.method == "GET":
            await _send(
                writer,
                200,
                "application/json",
                json.dumps(
                    {"object": "list", "data": [{"id": "stand-in", "object": "model", "owned_by": "standin"}]}
                ).encode(),
            )
        elif behaviour.raw_stream is not None:
            await self._raw_stream(behaviour, writer)
        elif is_stream(request):
            await self._stream(request, behaviour, reader, writer)
        else:
            await self._unary(request, behaviour, writer)

    async def _batched(self, request: Received) -> Any:
        await asyncio.sleep(self.batching.pause(request.method, request.path))

        def answer(path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
            one = Received("POST", path, request.headers, json.dumps(body).encode())
            return 200, unary_answer(one, self.usual, self._keeping)

        return self.batching.answer(request.method, request.path, request.headers, request.body, answer)

    async def _raw_stream(self, behaviour: Behaviour, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece, times = behaviour.raw_repeat or (b"", 0)
        for data in (*(behaviour.raw_stream or ()), *itertools.repeat(piece, times)):
            writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _unary(self, request: Received, behaviour: Behaviour, writer: asyncio.StreamWriter) -> None:
        body = json.dumps(unary_answer(request, behaviour, self._keeping)).encode()
        if behaviour.cut_after is not None:
            writer.write(
                f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body[: behaviour.cut_after]
            )
            await writer.drain()
            raise ConnectionResetError
        await _send(writer, 200, "application/json", body, behaviour.headers)

    async def _stream(
        self, request: Received, behaviour: Behaviour, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        speech = speech_of(request.path)
        kind = speech.content_type if speech is not None else "text/event-stream"
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for at, event in enumerate(stream_events(request, behaviour, self._keeping)):
            if behaviour.cut_after == at:
                await writer.drain()
                writer.transport.abort()
                raise ConnectionResetError
            if behaviour.silent_after == at:
                await writer.drain()
                await reader.read(1)
                raise ConnectionResetError
            writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
            if behaviour.event_delay_s:
                await writer.drain()
                await asyncio.sleep(behaviour.event_delay_s)
                if reader.at_eof():
                    raise ConnectionResetError
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def is_stream(request: Received) -> bool:
    """Whether the request wants a stream, in its dialect."""
    speech = speech_of(request.path)
    return speech.streams(request.path, request.json) if speech is not None else bool(request.json.get("stream"))


def words_of(request: Received, behaviour: Behaviour) -> tuple[str, ...]:
    """What to say."""
    if not behaviour.echo:
        return behaviour.words
    text = "You wrote: " + " and ".join(re.findall(behaviour.echo, request.body.decode()))
    return tuple(text[at : at + 3] for at in range(0, len(text), 3))


def unary_answer(request: Received, behaviour: Behaviour, keeping: Keeping) -> dict[str, Any]:
    """The body of a good unary answer."""
    asked, words = request.json, words_of(request, behaviour)
    if behaviour.echo_key:
        words = (*words, " " + request.headers.get("authorization", ""))
    speech = speech_of(request.path)
    if speech is not None:
        said = keeping.make(speech.hear(request.path.partition("?")[0], asked, words))
        whole = speech.whole(said)
        return keeping.keep(asked, said, whole) if speech.keeps else whole
    if request.path.endswith("/count_tokens"):
        return {"input_tokens": PROMPT_TOKENS}
    if request.path.endswith(":countTokens"):
        return {"totalTokens": PROMPT_TOKENS}
    count = len(words)
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": count, "total_tokens": PROMPT_TOKENS + count}
    head = {"id": "standin-1", "created": 1, "model": asked["model"], "usage": usage, "x_unknown_field": {"kept": True}}
    if request.path.endswith("/embeddings"):
        vector: Any = [0.1, 0.2, 0.3]
        if asked.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack("<3f", *vector)).decode()
        return {**head, "object": "list", "data": [{"object": "embedding", "index": 0, "embedding": vector}]}
    if request.path.endswith("/rerank"):
        ranked = [{"index": at, "relevance_score": 1 / (at + 1)} for at in range(len(asked["documents"]))]
        return {"id": "standin-1", "model": asked["model"], "results": ranked, "usage": {"total_tokens": PROMPT_TOKENS}}
    if request.path.endswith("/moderations"):
        return {
            "id": "standin-1",
            "model": asked["model"],
            "results": [{"flagged": False, "categories": {}, "category_scores": {}}],
        }
    choice = {"index": 0, "text": "".join(words), "finish_reason": "stop", "logprobs": None}
    return {**head, "object": "text_completion", "choices": [choice]}


def stream_events(request: Received, behaviour: Behaviour, keeping: Keeping) -> Iterable[bytes]:
    """The events of a good stream, framed."""
    path = request.path.partition("?")[0]
    if (told := keeping.said(path)) is not None:
        after = re.search(r"starting_after=(\d+)", request.path)
        return itertools.islice(SPEECHES[0].events(told), int(after[1]) + 1 if after else 0, None)
    asked, speech = request.json, speech_of(path)
    if speech is not None and not path.endswith("/chat/completions"):
        said = keeping.make(speech.hear(path, asked, words_of(request, behaviour)))
        if speech.keeps:
            keeping.keep(asked, said, speech.whole(said))
        return speech.events(said)
    tells = bool((asked.get("stream_options") or {}).get("include_usage"))
    if speech is None:
        said = Said(asked["model"], (), words_of(request, behaviour), ())
        return chat_events(said, tells_usage=tells, is_legacy=True, done=not behaviour.without_done)
    return chat_events(
        speech.hear(path, asked, words_of(request, behaviour)), tells_usage=tells, done=not behaviour.without_done
    )


_REASONS = {
    200: "OK",
    301: "Moved Permanently",
    307: "Temporary Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


async def _send(
    writer: asyncio.StreamWriter, status: int, kind: str, body: bytes, headers: Iterable[tuple[str, str]] = ()
) -> None:
    head = [
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
    await writer.drain()


def main() -> None:
    """Run the stand-in until it is interrupted."""
    parser = argparse.ArgumentParser(description="A stand-in provider that speaks every dialect.")
    parser.add_argument("--port", type=int, default=9000)
    options = parser.parse_args()
    with Standin(port=options.port) as provider:
        print(f"stand-in provider at {provider.base_url}", flush=True)  # noqa: T201 - a program for a terminal
        provider._thread.join()


if __name__ == "__main__":
    main()
