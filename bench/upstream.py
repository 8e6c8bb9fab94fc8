"""The bench's upstream: one process that answers every POST with a fixed 1 kB answer, or 64 events, as cheaply as it can."""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop

TEXT = "x" * 700
UNARY = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1,
        "model": "bench",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 200, "completion_tokens": 180, "total_tokens": 380},
    }
).encode()


def _event(choices: list[object], **more: object) -> bytes:
    head = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "bench",
        "choices": choices,
        **more,
    }
    return b"data: " + json.dumps(head).encode() + b"\n\n"


EVENTS = [_event([{"index": 0, "delta": {"content": " word"}, "finish_reason": None}]) for _ in range(62)]
EVENTS += [
    _event([{"index": 0, "delta": {}, "finish_reason": "stop"}]),
    _event([], usage={"prompt_tokens": 200, "completion_tokens": 62, "total_tokens": 262}),
]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(UNARY)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Upstream(asyncio.Protocol):
    """Reads just enough HTTP to find the end of a request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
            if b'"stream":true' in body or b'"stream": true' in body:
                self.streaming = asyncio.ensure_future(self.stream())
            else:
                self.transport.write(HEAD + UNARY)

    async def stream(self) -> None:
        """Each event is a write of its own, as from a model that has just thought of it."""
        self.transport.write(STREAM_HEAD)
        for event in EVENTS:
            self.transport.write(_chunk(event))
            await asyncio.sleep(0)
        self.transport.write(_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
