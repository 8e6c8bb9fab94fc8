"""Files and batches over HTTP, in OpenAI's shape: what comes in is streamed into the sealed store, what is asked for is streamed out of it.

Rules: only where an administrator opted in (`batch = true` on a workload, or on the organisation for calls without one); whoever did not make a
file or a batch is told that there is none; nothing of a file is in memory as a whole. Source: OpenAI's API reference, Files and Batch, and what its
SDKs send (purpose before or behind the file, with and without a length); checked 2026-11-25.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from freehold.content.sealed import Writer
from freehold.gateway.admission import Caller
from freehold.gateway.delivery import Reply
from freehold.gateway.run import Run
from freehold.gateway.world import World
from freehold.jobs import lines
from freehold.jobs.records import ENDED, Batch, File
from freehold.kernel.errors import CallerError, PolicyRefusal
from freehold.kernel.ids import make_id
from freehold.wire import strict

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks  # a type that the library has for checkers only

MOST_BYTES = 512 * 1024 * 1024
MOST_FILES = 10_000  # of one key
DAY_S, SHORTEST_S, LONGEST_S = 86_400, 3_600, 30 * 86_400
_JSON = [(b"content-type", b"application/json")]
_FIELD = 4096  # bytes of a form's other fields


class Filing(StrEnum):
    """What may be done with files and batches."""

    UPLOAD = "upload a file"
    FILES = "list files"
    FILE = "describe a file"
    CONTENT = "read a file"
    DELETE = "delete a file"
    BATCH = "begin a batch"
    BATCHES = "list batches"
    STATUS = "describe a batch"
    CANCEL = "cancel a batch"


class Wanted(msgspec.Struct, frozen=True):
    """One request: what is to be done, with which file or batch; query: as it came."""

    what: Filing
    about: str
    query: bytes


async def file_away(world: World, caller: Caller, wanted: Wanted, body: AsyncIterator[bytes], reply: Reply) -> None:
    """Do it. Raises CallerError, PolicyRefusal."""
    match wanted.what:
        case Filing.UPLOAD:
            check_opted_in(world, caller)
            await _say(reply, _file(await _upload(world, caller, body)))
        case Filing.FILES:
            await _say(reply, _page([_file(one) for one in _files(world, caller, wanted.query)], wanted.query, 10_000))
        case Filing.FILE:
            await _say(reply, _file(_own_file(world, caller, wanted.about)))
        case Filing.CONTENT:
            await _read(world, _own_file(world, caller, wanted.about), reply)
        case Filing.DELETE:
            file = _own_file(world, caller, wanted.about)
            if world.records.drop_file(file):
                world.content.drop(file.content)
            await _say(reply, {"id": file.id, "object": "file", "deleted": True})
        case Filing.BATCH:
            check_opted_in(world, caller)
            await _say(reply, _batch(_begin(world, caller, await _small(body))))
        case Filing.BATCHES:
            found = [_batch(one) for one in world.records.batches(caller.key.id)]
            await _say(reply, _page(found, wanted.query, 100, usual=20))
        case Filing.STATUS:
            await _say(reply, _batch(_own_batch(world, caller, wanted.about)))
        case Filing.CANCEL:
            await _say(reply, _batch(_cancel(world, _own_batch(world, caller, wanted.about))))


def check_opted_in(world: World, caller: Caller) -> None:
    """Raise PolicyRefusal unless this caller's calls may be kept until they are made."""
    snapshot, name = world.snapshot, caller.key.workload or caller.named_workload
    if name is not None:
        workload = snapshot.workloads.get(name)
        if workload is not None and workload.takes_batches:
            return
    elif snapshot.organisation.takes_batches or any(one.takes_batches for one in snapshot.workloads.values()):
        return
    raise PolicyRefusal(
        "Files and batches keep what is asked and answered, and no administrator has allowed that here.",
        code="batch.not_enabled",
        hint="Set batch = true on the workload (or on [organisation], for calls without one).",
    )


def check_batch(run: Run) -> None:
    """Raise PolicyRefusal for a call of a batch that its workload does not take in batches."""
    if not run.asked.is_batch:
        return
    workload = run.workload
    if workload.takes_batches if workload is not None else run.snapshot.organisation.takes_batches:
        return
    whose = f"The workload {workload.name!r} takes" if workload is not None else "Calls without a workload are taken"
    raise PolicyRefusal(
        f"{whose} no batches.",
        code="batch.not_enabled",
        hint="An administrator can set batch = true on it (or on [organisation], for calls without one).",
    )


# --- files ---------------------------------------------------------------------------------------------------------


def _parser(boundary: bytes, callbacks: MultipartCallbacks) -> MultipartParser:
    try:
        return MultipartParser(boundary, callbacks)
    except FormParserError:
        raise CallerError("The boundary of the form is none.", code="request.form") from None


class _Form:
    """A form that is being read: its small fields, and its one file, which goes straight into the sealed store."""

    def __init__(self, boundary: bytes, world: World, owner: str) -> None:
        self._world, self._owner = world, owner
        self.fields: dict[str, str] = {}
        self.writer: Writer | None = None
        self.name = ""
        self._headers: dict[str, bytes] = {}
        self._header, self._value, self._field, self._text = b"", b"", "", bytearray()
        self.is_whole = False
        self._parser = _parser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_header,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers,
                "on_part_data": self._on_data,
                "on_part_end": self._on_end,
                "on_end": self._on_whole,
            },
        )

    def feed(self, data: bytes) -> None:
        """Raises CallerError for what is no form, or too large."""
        try:
            self._parser.write(data)
        except FormParserError:
            raise CallerError("The body is not the form that its content type says.", code="request.form") from None

    def _begin(self) -> None:
        self._headers, self._text, self._field = {}, bytearray(), ""

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header.decode("latin-1").lower()] = self._value
        self._header, self._value = b"", b""

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        self._field = options.get(b"name", b"").decode("utf-8", "replace")[:200]
        if self._field == "file":
            if self.writer is not None:
                raise CallerError("The form holds two files.", code="request.form")
            self.name = options.get(b"filename", b"").decode("utf-8", "replace")[:255] or "upload"
            until_ms = (
                self._world.clock.now_ms() + 3 * LONGEST_S * 1000
            )  # a batch may need it longer than its owner sees it
            self.writer = self._world.content.begin(self._owner, "file", until_ms=until_ms)

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._field == "file" and self.writer is not None:
            self.writer.write(data[start:end])
            if self.writer.size > MOST_BYTES:
                raise CallerError(f"The file is larger than {MOST_BYTES} bytes.", code="request.too_large", status=413)
            return
        self._text += data[start:end]
        if len(self._text) > _FIELD:
            raise CallerError("The form holds more than a file and its purpose.", code="request.form")

    def _on_end(self) -> None:
        if len(self.fields) > 16:
            raise CallerError("The form holds more than a file and its purpose.", code="request.form")
        if self._field != "file":
            self.fields[self._field] = self._text.decode("utf-8", "replace")

    def _on_whole(self) -> None:
        self.is_whole = True


async def _upload(world: World, caller: Caller, body: AsyncIterator[bytes]) -> File:
    kind, options = parse_options_header(caller.values.get(b"content-type", ""))
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise CallerError("A file is uploaded as multipart/form-data.", code="request.form")
    count, size = world.records.weight(caller.key.id)
    if count >= MOST_FILES or size >= world.snapshot.server.file_bytes:
        raise CallerError(
            f"This key has {count:,} files of {size:,} bytes, which is all that it may have.",
            code="batch.too_much",
            status=413,
            hint="Delete some, or let an administrator raise [server] file_bytes.",
        )
    form = _Form(options[b"boundary"], world, caller.key.id)
    try:
        async for part in body:
            form.feed(part)
        if not form.is_whole or form.writer is None:
            raise CallerError("The form ended before its file was complete.", code="request.form")
        if form.fields.get("purpose") != "batch":
            raise CallerError("'purpose' must be 'batch': other files are not kept here.", code="request.value")
        now_s = int(world.clock.now_s())
        lifetime_s = _lifetime(form.fields.get("expires_after[seconds]"), LONGEST_S)
        form.writer.end()
        await asyncio.to_thread(form.writer.sync)
        content = form.writer.name_it()
    except BaseException:
        if form.writer is not None:
            form.writer.abort()
        raise
    about = make_id("file", world.clock.now_ms()).replace("_", "-")
    file = File(about, caller.key.id, "batch", form.name, form.writer.size, now_s, now_s + lifetime_s, content)
    world.records.add_file(file)
    return file


def _lifetime(value: Any, usual: int) -> int:
    """Seconds for which a file is kept. Raises CallerError."""
    if value is None:
        return usual
    text = str(value)
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not SHORTEST_S <= int(text) <= LONGEST_S:
        raise CallerError(f"'seconds' must be from {SHORTEST_S} to {LONGEST_S}.", code="request.value")
    return int(text)


def _files(world: World, caller: Caller, query: bytes) -> Sequence[File]:
    asked = parse_qs(query.decode("latin-1"))
    found = world.records.files(caller.key.id, world.clock.now_s())
    if purpose := asked.get("purpose"):
        found = [file for file in found if file.purpose == purpose[-1]]
    return found[::-1] if asked.get("order") == ["asc"] else found


def _own_file(world: World, caller: Caller, about: str) -> File:
    file = world.records.file(about, caller.key.id, world.clock.now_s())
    if file is None:
        raise CallerError(f"No such File object: {about[:200]}", code="request.unknown_file", status=404)
    return file


async def _read(world: World, file: File, reply: Reply) -> None:
    head = [(b"content-type", b"application/octet-stream"), (b"content-length", str(file.size).encode())]
    name = re.sub(r"[^ -!#-\[\]-~]", "_", file.name)
    head.append((b"content-disposition", f'attachment; filename="{name}"'.encode()))
    chunks = world.content.read(file.content, world.clock.now_ms())
    first = next(chunks)  # what is gone is said before the answer begins
    await reply.begin(head)
    await reply.part(first)
    for chunk in chunks:
        await reply.part(chunk)
    await reply.end()


def _file(file: File) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": file.created_s,
        "expires_at": file.expires_s,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


# --- batches -------------------------------------------------------------------------------------------------------


def _begin(world: World, caller: Caller, raw: bytes) -> Batch:
    asked = strict.decode(raw)
    for field in ("input_file_id", "endpoint", "completion_window"):
        if type(asked.get(field)) is not str:
            raise CallerError(f"Missing required parameter: '{field}'.", code="request.missing")
    if asked["endpoint"] not in lines.ENDPOINTS:
        supported = ", ".join(f"'{path}'" for path in lines.ENDPOINTS)
        raise CallerError(f"Invalid value for 'endpoint'. Supported values are: {supported}.", code="request.value")
    window = re.fullmatch(r"([1-9]\d{0,2})(h|d)", asked["completion_window"], re.ASCII)
    window_s = int(window[1]) * (3_600 if window[2] == "h" else DAY_S) if window else 0
    if not window_s or window_s > LONGEST_S:
        raise CallerError(
            "'completion_window' must be a time such as '24h' or '7d', at most 30 days.", code="request.value"
        )
    metadata = asked.get("metadata")
    if metadata is not None and not _is_metadata(metadata):
        raise CallerError("'metadata' must hold at most 16 short texts.", code="request.value")
    now_s, file = int(world.clock.now_s()), _own_file(world, caller, asked["input_file_id"])
    declared = {name.decode(): caller.values[name] for name in _DECLARED if name in caller.values}
    after = asked.get("output_expires_after")
    batch = Batch(
        id=make_id("batch", world.clock.now_ms()),
        owner=caller.key.id,
        input_file=file.id,
        content=file.content,
        endpoint=asked["endpoint"],
        window=asked["completion_window"],
        created_s=now_s,
        expires_s=now_s + window_s,
        metadata=metadata,
        declared=declared,
        lifetime_s=_lifetime(after.get("seconds"), LONGEST_S) if isinstance(after, dict) else LONGEST_S,
    )
    world.records.put(batch)
    return batch


_DECLARED = (b"x-freehold-class", b"x-freehold-workload", b"x-freehold-no-fallback")


def _is_metadata(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and len(found) <= 16
        and all(type(value) is str and len(value) <= 512 and len(name) <= 64 for name, value in found.items())
    )


def _own_batch(world: World, caller: Caller, about: str) -> Batch:
    batch = world.records.batch(about, caller.key.id)
    if batch is None:
        raise CallerError(f"No batch found with id '{about[:200]}'.", code="request.unknown_batch", status=404)
    return batch


def _cancel(world: World, batch: Batch) -> Batch:
    if batch.status in ENDED and batch.status != "cancelled":
        raise CallerError(f"Cannot cancel a batch with status '{batch.status}'.", code="batch.ended", status=409)
    return world.records.ask_to_cancel(batch, int(world.clock.now_s()))


def _batch(batch: Batch) -> dict[str, Any]:
    input_, cached, output, reasoning = batch.tokens
    usage = {
        "input_tokens": input_,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": input_ + output,
    }
    faults = [msgspec.to_builtins(fault) for fault in batch.faults]
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": {"object": "list", "data": faults} if faults else None,
        "input_file_id": batch.input_file,
        "completion_window": batch.window,
        "status": batch.status,
        "output_file_id": batch.output_file,
        "error_file_id": batch.error_file,
        "created_at": batch.created_s,
        **{f"{status}_at": batch.times.get(status) for status in _TIMES},
        "expires_at": batch.expires_s,
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "metadata": batch.metadata,
        "usage": usage,
        "handed_in": batch.handed_in,  # Freehold's own: lines that lie at a provider's batch endpoint
    }


_TIMES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")


# --- both ----------------------------------------------------------------------------------------------------------


def _page(found: list[dict[str, Any]], query: bytes, most: int, usual: int | None = None) -> dict[str, Any]:
    """One page of a list: those behind `after`, at most `limit`. Raises CallerError."""
    asked = parse_qs(query.decode("latin-1"))
    limit = asked.get("limit", [str(usual or most)])[-1]
    if not re.fullmatch(r"\d{1,6}", limit, re.ASCII) or not 1 <= int(limit) <= most:
        raise CallerError(f"'limit' must be from 1 to {most}.", code="request.value")
    if after := asked.get("after", [""])[-1]:
        place = next((at for at, one in enumerate(found) if one["id"] == after), None)
        if place is None:
            raise CallerError("'after' names nothing in this list.", code="request.value")
        found = found[place + 1 :]
    shown = found[: int(limit)]
    ends = (shown[0]["id"], shown[-1]["id"]) if shown else (None, None)
    return {
        "object": "list",
        "data": shown,
        "first_id": ends[0],
        "last_id": ends[1],
        "has_more": len(found) > len(shown),
    }


async def _say(reply: Reply, said: dict[str, Any]) -> None:
    await reply.whole(200, _JSON, strict.encode(said))


async def _small(body: AsyncIterator[bytes]) -> bytes:
    raw = b""
    async for part in body:
        raw += part
        if len(raw) > 1024 * 1024:
            raise CallerError("The body is larger than a batch can be.", code="request.too_large", status=413)
    return raw
