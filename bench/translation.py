"""`make bench-wire`: what a translation costs, in every direction, and what an open stream keeps in memory.

CPU microseconds, the median of many rounds, beside a yardstick measured in the same run: the standard library's json reading and writing the
same bytes once (its ratio holds on a machine of another speed). Memory: resident kilobytes for each of 1,000 streams that are open at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from run import rss_mb, start, wait_for

from freehold.kernel.routes import PLAIN
from freehold.wire import strict
from freehold.wire.call import Address
from freehold.wire.dialects import DIALECTS, SPOKEN
from wire import golden, laws
from wire.golden.pair import TEXT

STREAMS = 1000
UPSTREAM, PORT, ADMIN = 18910, 18911, 18912


def cost_us(work: Callable[[], object], rounds: int = 400) -> float:
    """CPU microseconds of one piece of work: the median of its rounds."""
    times = []
    for _ in range(rounds):
        began = time.process_time_ns()
        for _ in range(5):
            work()
        times.append((time.process_time_ns() - began) / 5000)
    return statistics.median(times)


def conversation(dialect: str) -> bytes:
    """About 2 kB: a system prompt, six turns, a tool that was called, two tools on offer."""
    words = "The parcel has not arrived and the customer would like to know where it is now. " * 2
    turns = [("user", words), ("assistant", words)] * 3 + [("user", words)]
    schema = golden.SCHEMA
    bodies: dict[str, dict[str, object]] = {
        "openai-chat": {
            "model": "m",
            "messages": [
                {"role": "system", "content": words},
                *({"role": role, "content": text} for role, text in turns),
            ],
            "tools": [
                {"type": "function", "function": {"name": name, "parameters": schema}} for name in ("look_up", "now")
            ],
            "max_completion_tokens": 500,
            "temperature": 0.2,
        },
        "openai-responses": {
            "model": "m",
            "instructions": words,
            "input": [{"role": role, "content": text} for role, text in turns],
            "tools": [{"type": "function", "name": name, "parameters": schema} for name in ("look_up", "now")],
            "max_output_tokens": 500,
        },
        "anthropic-messages": {
            "model": "m",
            "system": words,
            "max_tokens": 500,
            "messages": [{"role": role, "content": text} for role, text in turns],
            "tools": [{"name": name, "input_schema": schema} for name in ("look_up", "now")],
        },
        "gemini": {
            "systemInstruction": {"parts": [{"text": words}]},
            "contents": [
                {"role": "model" if role == "assistant" else "user", "parts": [{"text": text}]} for role, text in turns
            ],
            "tools": [
                {
                    "functionDeclarations": [
                        {"name": name, "parametersJsonSchema": schema} for name in ("look_up", "now")
                    ]
                }
            ],
            "generationConfig": {"maxOutputTokens": 500},
        },
    }
    return json.dumps(bodies[dialect]).encode()


def translate(raw: bytes, dialect: str, target: str) -> bytes:
    spoken = SPOKEN[dialect]
    call = spoken.read_call(laws.ENDPOINT[dialect], raw, Address("m"))
    return strict.encode(DIALECTS[target].write_request(spoken.read_request(call.body), "m", PLAIN, set()))


def stream_of(dialect: str) -> bytes:
    """A hundred events of a few words."""
    pair = next(pair for pair in golden.PAIRS if pair.dialect == dialect and TEXT in str(pair.whole))
    events = laws.events_of(dialect, [pair.stream])
    if dialect not in SPOKEN:
        return pair.stream
    begin = [event for event in events if type(event).__name__ == "Begin"]
    deltas = [laws.c.TextDelta(" a few words")] * 100
    writer = SPOKEN[dialect].stream_writer(laws.call_for(dialect), set())
    return writer.take([*begin, *deltas, laws.c.End(laws.c.Stop.END)]) + writer.end()


def event_cost_us(dialect: str, target: str) -> float:
    """One event: framed, read, written anew."""
    raw = stream_of(dialect)
    frames = DIALECTS[dialect].frames()
    count = len(frames.feed(raw))

    def work() -> None:
        reader, cut = DIALECTS[dialect].stream_reader(dialect), DIALECTS[dialect].frames()
        writer = SPOKEN[target].stream_writer(laws.call_for(target), set())
        for event in cut.feed(raw):
            writer.take(reader.take(event))

    return cost_us(work, 40) / count


def tables() -> None:
    raw = conversation("openai-chat")
    yardstick = cost_us(lambda: json.dumps(json.loads(raw)))
    print(f"yardstick: json.loads and json.dumps of {len(raw):,} bytes: {yardstick:.1f} µs\n")
    targets = list(DIALECTS)
    print("Reading and writing a conversation of about 2 kB, µs (times the yardstick)\n")
    print("| from \\ to | " + " | ".join(targets) + " |\n|---|" + "--:|" * len(targets))
    for dialect in SPOKEN:
        raw = conversation(dialect)
        cells = [cost_us(lambda raw=raw, d=dialect, t=target: translate(raw, d, t)) for target in targets]
        print(f"| {dialect} | " + " | ".join(f"{cell:.0f} ({cell / yardstick:.1f})" for cell in cells) + " |")
    print("\nOne event of a stream, framed, read and written anew, µs\n")
    print("| from \\ to | " + " | ".join(SPOKEN) + " |\n|---|" + "--:|" * len(SPOKEN))
    for dialect in targets:
        print(f"| {dialect} | " + " | ".join(f"{event_cost_us(dialect, target):.1f}" for target in SPOKEN) + " |")


# --- memory ----------------------------------------------------------------------------------------------------


async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends twenty events and then says nothing more, until the caller goes."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(
            next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")).split(b":")[1]
        )
        await reader.readexactly(length)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = {"id": "1", "model": "m", "choices": [{"index": 0, "delta": {"content": " a few words"}}]}
        data = b"data: " + json.dumps(chunk).encode() + b"\n\n"
        writer.write((f"{len(data):x}\r\n".encode() + data + b"\r\n") * 20)
        await reader.read(1)
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        pass
    finally:
        writer.close()


async def hold(key: str, path: str, body: bytes, pid: int) -> float:
    """Open the streams, wait until each has said something, and see what they cost."""
    server = await asyncio.start_server(upstream, "127.0.0.1", UPSTREAM, backlog=2048)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    async def one() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        writer.write(head + body)
        await reader.readuntil(b"a few words")
        return reader, writer

    warm = [await one() for _ in range(20)]
    before = rss_mb([pid])
    opened = []
    for _ in range(STREAMS // 50):
        opened += await asyncio.gather(*(one() for _ in range(50)))
    await asyncio.sleep(0.5)
    after = rss_mb([pid])
    for _, writer in [*warm, *opened]:
        writer.transport.abort()
    server.close()
    return (after - before) * 1000 / STREAMS


def memory() -> None:
    messages = [{"role": "user", "content": "x"}]
    same = json.dumps({"model": "rack/m", "messages": messages, "stream": True}).encode()
    other = json.dumps({"model": "rack/m", "max_tokens": 5, "messages": messages, "stream": True}).encode()
    print(f"\nMemory of an open stream, of {STREAMS:,} at once")
    print(f"- passed on as it came: {held('/v1/chat/completions', same):.0f} kB")
    for path in ("/v1/messages", "/v1/responses"):
        print(
            f"- translated, {path}: {held(path, other.replace(b'messages', b'input') if 'resp' in path else other):.0f} kB"
        )


def held(path: str, body: bytes) -> float:
    """Kilobytes for each open stream, in a Freehold of its own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "freehold.toml").write_text(
            f'[engine]\nenabled = false\n[providers.rack]\nbase_url = "http://127.0.0.1:{UPSTREAM}/v1"\nzone = "inside"\n'
            "timeouts = { first_byte = 60.0, silence = 60.0 }\n"
        )
        program = str(Path(sys.executable).parent / "freehold")
        made = asyncio.run(
            _run(program, "keys", "create", "--name", "bench", "--class", "restricted", "--json", cwd=folder)
        )
        process = start(
            stack, [program, "up", "--no-hello", "--port", str(PORT), "--admin-port", str(ADMIN)], cwd=folder
        )
        wait_for(PORT)
        return asyncio.run(hold(json.loads(made)["key"], path, body, process.pid))


async def _run(*command: str, cwd: Path) -> bytes:
    process = await asyncio.create_subprocess_exec(*command, cwd=cwd, stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0]


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    tables()
    memory()


if __name__ == "__main__":
    main()
