"""The bench's load: 32 connections that each make one call after the other. Prints one JSON object."""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import sys
import time

import uvloop

CONNECTIONS = 32
CHUNK_BORDER = re.compile(rb"\r\n[0-9a-f]+\r\n")


class Client(asyncio.Protocol):
    """One connection; knows just enough HTTP to see where an answer ends."""

    def __init__(
        self,
        request: bytes,
        is_stream: bool,
        budget: list[int],
        times: list[float],
        errors: list[bytes],
        done: asyncio.Future[None],
    ) -> None:
        self.request, self.is_stream, self.budget, self.times, self.errors, self.done = (
            request,
            is_stream,
            budget,
            times,
            errors,
            done,
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.next()

    def next(self) -> None:
        if self.budget[0] <= 0:
            self.transport.close()
            return
        self.budget[0] -= 1
        self.buffer = bytearray()
        self.began = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.is_over():
            if not self.buffer.startswith(b"HTTP/1.1 200") or (self.is_stream and not self.has_done()):
                self.errors.append(bytes(self.buffer[:300]))
            self.times.append(time.perf_counter() - self.began)
            self.next()

    def is_over(self) -> bool:
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self.buffer[:end]).lower()
        at = head.find(b"content-length:")
        if at >= 0:
            return len(self.buffer) >= end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])
        return self.buffer.endswith(b"\r\n0\r\n\r\n")

    def has_done(self) -> bool:
        """Whether the stream came to its end; a proxy may put the border of two chunks in the middle of the mark."""
        return b"[DONE]" in self.buffer or b"[DONE]" in CHUNK_BORDER.sub(b"", self.buffer)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def main(port: int, key: str, model: str, kind: str, calls: int) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "y" * 900}], "max_tokens": 256}
    if kind == "stream":
        body["stream"] = True
    data = json.dumps(body, separators=(",", ":")).encode()
    request = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        + data
    )
    loop, budget, times, errors = asyncio.get_running_loop(), [calls], [], []
    waits, began = [], time.perf_counter()
    for _ in range(min(CONNECTIONS, calls)):
        done = loop.create_future()
        waits.append(done)
        await loop.create_connection(
            lambda done=done: Client(request, kind == "stream", budget, times, errors, done), "127.0.0.1", port
        )
    await asyncio.gather(*waits)
    seconds = time.perf_counter() - began
    times.sort()
    errors_found = len(errors) + calls - len(times)
    print(
        json.dumps(
            {
                "per_second": calls / seconds,
                "p50_ms": statistics.median(times) * 1000,
                "p99_ms": times[int(len(times) * 0.99)] * 1000,
                "errors": errors_found,
                "first_error": errors[0].decode("latin-1") if errors else "",
            }
        )
    )


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])))
