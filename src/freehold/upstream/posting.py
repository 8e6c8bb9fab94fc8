"""Hand many attempts in at a provider's own batch endpoint, and fetch what came of them.

Why it exists: what nobody waits for costs half there. A style is how a provider wants that: one line of the table in `rows.py` names it.
Rules: what is handed in holds nothing but bodies that were granted one by one; everything else that is said to a provider holds names and numbers
only; what lies at a provider is deleted there once its answers are here. A parcel is found again by its name, where the provider keeps one.
Sources: the vendors' API references (OpenAI Batch and Files; Anthropic Message Batches; Mistral Batch; Gemini Batch API); checked 2026-11-27.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import quote

import msgspec

from freehold.kernel.clock import Clock
from freehold.kernel.errors import FreeholdError, UpstreamError
from freehold.kernel.ids import made_ms
from freehold.kernel.progress import Progress
from freehold.kernel.routes import Route
from freehold.kernel.snapshot import Provider
from freehold.perimeter.ruling import Grant, grant_errand, grant_probe, grant_together
from freehold.upstream import door
from freehold.upstream.transport import Request, Response, Transport

LONGEST_RESULTS, _LONGEST_LINE = 1 << 30, 64 << 20
_is_id = re.compile(r"[A-Za-z0-9_.:=-]{1,200}(/[A-Za-z0-9_.:=-]{1,200})?").fullmatch
_PAGES = 50  # of a list, until it is taken for endless
_EARLIER_S = 3_600  # rows so much older than what is looked for end the looking


class Part(NamedTuple):
    """One attempt of a parcel. call: under which its answer is found again; path: the endpoint that it is for; body: what its grant is for."""

    call: str
    permit: Grant
    path: str
    body: bytes


class Outcome(msgspec.Struct, frozen=True):
    """What came of one attempt. call: "" where that cannot be read; status: 0 where it was never made; body: as the provider wrote it."""

    call: str
    status: int
    body: bytes = b""


class Style(Protocol):
    """A provider's way to take parcels. most, most_bytes: of one; is_of_one_model: a parcel names its model; finds: whether a parcel can be found by its name."""

    most: int
    most_bytes: int
    is_of_one_model: bool
    finds: bool

    def takes(self, dialect: str, path: str) -> bool:
        """Whether requests of a dialect to a path can be handed in."""

    async def hand_in(self, courier: Courier, name: str, parts: Sequence[Part]) -> str:
        """Hand a parcel in; returns the provider's id of it."""

    async def find(self, courier: Courier, name: str) -> str | None:
        """The id of the parcel of a name; None if there is none."""

    async def clear(self, courier: Courier, name: str) -> None:
        """Delete what was uploaded under a name and never became a parcel."""

    async def look(self, courier: Courier, about: str) -> Progress: ...
    def results(self, courier: Courier, about: str, progress: Progress) -> AsyncIterator[Outcome]: ...
    async def cancel(self, courier: Courier, about: str) -> None: ...
    async def drop(self, courier: Courier, about: str, progress: Progress) -> None:
        """Delete what lies at the provider."""


class Courier:
    """Carries what is said between Freehold and one provider."""

    def __init__(self, transport: Transport, provider: Provider, route: Route, clock: Clock) -> None:
        self._transport, self.provider, self._route, self._clock = transport, provider, route, clock

    async def get(self, path: str) -> dict[str, Any]:
        """Ask for something. Raises UpstreamError, `upstream.not_found` where it is not there."""
        return self._object(await self.raw(path))

    async def raw(self, path: str) -> bytes:
        """What is said when it is asked for. Raises as `get` does."""
        return await self._whole(await self._ask("GET", path))

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """A file, line by line."""
        response, rest = await self._ask("GET", path), bytearray()
        try:
            async for chunk in response.chunks():
                whole, mark, last = chunk.rpartition(b"\n")
                if mark:
                    for line in filter(bytearray.strip, (rest + whole).split(b"\n")):
                        yield door.scrub(bytes(line), self.provider.key)
                    rest.clear()
                rest += last
                if len(rest) > _LONGEST_LINE:
                    raise not_understood(self.provider.name)
            response.finish()
        finally:
            response.close()
        if rest.strip():
            yield door.scrub(bytes(rest), self.provider.key)

    async def tell(self, path: str, said: dict[str, Any] | None = None) -> dict[str, Any]:
        """Say something that holds names and numbers alone."""
        body = msgspec.json.encode(said) if said is not None else b""
        permit = grant_errand(self.provider, body, now_s=self._clock.now_s(), at_s=self._clock.monotonic_s())
        return await self._said(permit, Request("POST", path, body, self._route.headers, self._route.auth))

    async def give(
        self, path: str, parts: Sequence[Part], body: bytes, kind: str = "application/json"
    ) -> dict[str, Any]:
        """Hand over what holds granted bodies."""
        permit = grant_together([(part.permit, part.body) for part in parts], body, at_s=self._clock.monotonic_s())
        return await self._said(permit, Request("POST", path, body, self._route.headers, self._route.auth, kind=kind))

    async def upload(self, parts: Sequence[Part], name: str, lines: bytes) -> str:
        """Hand over a file of lines, as a form; returns its id."""
        edge = os.urandom(16).hex()
        head = (
            f'--{edge}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}.jsonl"\r\nContent-Type: application/jsonl\r\n\r\n'
        )
        body = head.encode() + lines + f"\r\n--{edge}--\r\n".encode()
        return id_of(await self.give("files", parts, body, f"multipart/form-data; boundary={edge}"), self.provider.name)

    async def delete(self, path: str) -> None:
        """Let something be deleted; what is gone is gone. Raises UpstreamError."""
        try:
            await self._whole(await self._ask("DELETE", path))
        except UpstreamError as error:
            if error.code != "upstream.not_found":
                raise

    async def _ask(self, method: str, path: str) -> Response:
        permit = grant_probe(self.provider, now_s=self._clock.now_s(), at_s=self._clock.monotonic_s())
        asked = Request(method, path, None, self._route.headers, self._route.auth, longest=LONGEST_RESULTS)
        try:
            return await door.send(self._transport, permit, asked)
        except door.Rejected as refusal:
            if refusal.status == 404:
                raise _not_found(self.provider.name) from None
            raise

    async def _said(self, permit: Grant, request: Request) -> dict[str, Any]:
        return self._object(await self._whole(await door.send(self._transport, permit, request)))

    async def _whole(self, response: Response) -> bytes:
        try:
            body = await response.whole()
            response.finish()
        finally:
            response.close()
        return door.scrub(body, self.provider.key)

    def _object(self, raw: bytes) -> dict[str, Any]:
        try:
            return _object(raw)
        except _MISSHAPEN:
            raise not_understood(self.provider.name) from None


_MISSHAPEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_object = msgspec.json.Decoder(dict[str, Any]).decode


def _not_found(name: str) -> UpstreamError:
    error = UpstreamError(f"{name!r} does not have that any more.", code="upstream.not_found")
    error.is_retryable = False
    return error


def not_understood(name: str) -> UpstreamError:
    error = UpstreamError(f"{name!r} said something of a batch that is not understood.", code="upstream.invalid_answer")
    error.is_retryable = False
    return error


def id_of(said: Mapping[str, Any], name: str, field: str = "id") -> str:
    """An id that may stand in a path. Raises UpstreamError."""
    found = said.get(field)
    if not isinstance(found, str) or not _is_id(found) or ".." in found:
        raise not_understood(name)
    return found


def _ids(said: Mapping[str, Any], name: str, *fields: str) -> tuple[str, ...]:
    """Those of some fields that are there. Raises UpstreamError for one that is no id."""
    return tuple(id_of(said, name, field) for field in fields if said.get(field))


def _object_in(said: Mapping[str, Any], field: str) -> dict[str, Any]:
    found = said.get(field)
    return found if isinstance(found, dict) else {}


def _rows(said: Mapping[str, Any], *fields: str) -> list[dict[str, Any]]:
    """The objects of a list, wherever it stands."""
    found: Any = said
    for field in fields:
        found = found.get(field) if isinstance(found, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _are_earlier(rows: Iterable[dict[str, Any]], name: str) -> bool:
    """Whether a page is of a time long before something was named: lists begin with the latest."""
    times = [row.get("created_at") for row in rows]
    return all(isinstance(one, int) and one < made_ms(name) / 1000 - _EARLIER_S for one in times)


class _Answer(msgspec.Struct):
    status_code: int = 0
    body: msgspec.Raw = msgspec.Raw(b"")


class _Line(msgspec.Struct):
    """A line of OpenAI's or Mistral's results."""

    custom_id: str
    response: _Answer | None = None


class _Result(msgspec.Struct):
    type: str
    message: msgspec.Raw = msgspec.Raw(b"")
    error: msgspec.Raw = msgspec.Raw(b"")


class _Message(msgspec.Struct):
    """A line of Anthropic's results."""

    custom_id: str
    result: _Result


class _Named(msgspec.Struct):
    key: str = ""


class _Inline(msgspec.Struct):
    """One of Gemini's inline answers."""

    metadata: _Named
    response: msgspec.Raw = msgspec.Raw(b"")
    error: msgspec.Raw = msgspec.Raw(b"")


class _Inlined(msgspec.Struct, rename="camel"):
    inlined_responses: list[msgspec.Raw] = []


class _Given(msgspec.Struct, rename="camel"):
    inlined_responses: _Inlined = msgspec.field(default_factory=_Inlined)


class _Operation(msgspec.Struct):
    response: _Given | None = None


_T = TypeVar("_T")
_UNREAD = Outcome("", 0)  # something came of some attempt, and nobody can say what


def _read(raw: bytes | msgspec.Raw, kind: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(raw, type=kind)
    except _MISSHAPEN:
        return None


def _is_object(raw: msgspec.Raw) -> bool:
    return bytes(memoryview(raw)[:1]) == b"{"


class _Files:
    """Lines go up as a file, a batch is made of it, and its answers are files again: OpenAI's way, and with other names Mistral's."""

    most, most_bytes, finds = 5_000, 16 << 20, True
    batches = "batches"
    input_fields: tuple[str, ...] = ("input_file_id",)
    output_fields: tuple[str, ...] = ("output_file_id", "error_file_id")
    ended = frozenset({"completed", "failed", "expired", "cancelled"})
    failed = frozenset({"failed"})
    done = frozenset({"completed"})
    is_of_one_model = True
    paths = frozenset({"chat/completions", "completions", "embeddings", "responses", "moderations"})

    def takes(self, dialect: str, path: str) -> bool:
        return dialect.startswith("openai") and path in self.paths

    def line(self, part: Part) -> bytes:
        return b'{"custom_id":"%b","method":"POST","url":"/v1/%b","body":%b}\n' % (
            part.call.encode(),
            part.path.encode(),
            part.body,
        )

    def order(self, name: str, file: str, first: Part) -> dict[str, Any]:
        endpoint = f"/v1/{first.path}"
        return {"input_file_id": file, "endpoint": endpoint, "completion_window": "24h", "metadata": {"freehold": name}}

    async def hand_in(self, courier: Courier, name: str, parts: Sequence[Part]) -> str:
        file = await courier.upload(parts, name, b"".join(map(self.line, parts)))
        try:
            return id_of(await courier.tell(self.batches, self.order(name, file, parts[0])), courier.provider.name)
        except FreeholdError as error:
            if not is_unsure(error):
                with contextlib.suppress(FreeholdError):
                    await courier.delete(f"files/{file}")
            raise

    async def find(self, courier: Courier, name: str) -> str | None:
        async for row in self.listed(courier, self.batches, name):
            if _object_in(row, "metadata").get("freehold") == name:
                return id_of(row, courier.provider.name)
        return None

    async def clear(self, courier: Courier, name: str) -> None:
        listed = self.listed(courier, "files", name, "purpose=batch&")
        for row in [row async for row in listed if row.get("filename") == f"{name}.jsonl"]:
            await courier.delete(f"files/{id_of(row, courier.provider.name)}")

    async def listed(self, courier: Courier, what: str, name: str, kind: str = "") -> AsyncIterator[dict[str, Any]]:
        """Every row of a list, once, as far back as what is looked for may be. Raises UpstreamError when it does not end."""
        seen: set[str] = set()
        last = ""
        for number in range(_PAGES):
            said = await courier.get(f"{what}?{kind}{self.page(number, last)}")
            rows = {id_of(row, courier.provider.name): row for row in _rows(said, "data")}
            if not rows.keys() - seen:  # some know no pages, and say the same again
                return
            for about, row in rows.items():
                if about not in seen:
                    yield row
            seen |= rows.keys()
            last = next(reversed(rows))
            if said.get("has_more") is False or _are_earlier(rows.values(), name):
                return
        raise not_understood(courier.provider.name)

    def page(self, _number: int, last: str) -> str:
        return f"limit=100&after={last}" if last else "limit=100"

    async def look(self, courier: Courier, about: str) -> Progress:
        said = await courier.get(f"{self.batches}/{about}")
        status, failure = str(said.get("status")), ""
        if status in self.failed:
            reasons = [*_rows(said, "errors", "data"), *_rows(said, "errors")]
            code = str(next((one.get("code") for one in reasons if one.get("code")), "failed"))
            failure = code if _is_id(code) else "failed"
        own = courier.provider.name
        files, mine = _ids(said, own, *self.output_fields), _ids(said, own, *self.input_fields)
        return Progress(status in self.ended, failure, files, mine, is_done=status in self.done)

    async def results(self, courier: Courier, about: str, progress: Progress) -> AsyncIterator[Outcome]:
        if progress.is_done and not progress.files:
            raise not_understood(courier.provider.name)
        for file in progress.files:
            async for raw in courier.lines(f"files/{file}/content"):
                line = _read(raw, _Line)
                if line is None:
                    yield _UNREAD
                elif line.response is None or not _is_object(line.response.body):
                    yield Outcome(line.custom_id, 0)
                else:
                    yield Outcome(line.custom_id, line.response.status_code, bytes(line.response.body))

    async def cancel(self, courier: Courier, about: str) -> None:
        await courier.tell(f"{self.batches}/{about}/cancel")

    async def drop(self, courier: Courier, about: str, progress: Progress) -> None:
        for file in (*progress.mine, *progress.files):
            await courier.delete(f"files/{file}")


class _MistralJobs(_Files):
    """Mistral's jobs: of one model each, in other words."""

    batches = "batch/jobs"
    input_fields = ()
    output_fields = ("output_file", "error_file")
    ended = frozenset({"SUCCESS", "FAILED", "TIMEOUT_EXCEEDED", "CANCELLED"})
    failed = frozenset({"FAILED"})
    done = frozenset({"SUCCESS"})
    paths = frozenset({"chat/completions", "embeddings", "moderations"})

    def line(self, part: Part) -> bytes:
        return b'{"custom_id":"%b","body":%b}\n' % (part.call.encode(), part.body)

    def order(self, name: str, file: str, first: Part) -> dict[str, Any]:
        model = first.permit.target.model
        order = {"input_files": [file], "endpoint": f"/v1/{first.path}", "model": model, "timeout_hours": 24}
        return {**order, "metadata": {"freehold": name}}

    def page(self, number: int, _last: str) -> str:
        return f"page_size=100&page={number}"

    async def look(self, courier: Courier, about: str) -> Progress:
        said = await courier.get(f"{self.batches}/{about}")
        listed = said.get("input_files")
        files = {str(at): one for at, one in enumerate(listed)} if isinstance(listed, list) else {}
        mine = _ids(files, courier.provider.name, *files)
        progress = await super().look(courier, about)
        return msgspec.structs.replace(progress, mine=mine)


class _MessageBatches:
    """Anthropic's Message Batches: one request holds all, and nothing in it gives the parcel a name."""

    most, most_bytes, is_of_one_model, finds = 5_000, 16 << 20, False, False

    def takes(self, dialect: str, path: str) -> bool:
        return dialect == "anthropic-messages" and path == "messages"

    async def hand_in(self, courier: Courier, name: str, parts: Sequence[Part]) -> str:
        lines = (b'{"custom_id":"%b","params":%b}' % (part.call.encode(), part.body) for part in parts)
        body = b'{"requests":[' + b",".join(lines) + b"]}"
        return id_of(await courier.give("messages/batches", parts, body), courier.provider.name)

    async def find(self, courier: Courier, name: str) -> str | None:
        return None

    async def clear(self, courier: Courier, name: str) -> None:
        """Nothing is uploaded beside a parcel."""

    async def look(self, courier: Courier, about: str) -> Progress:
        said = await courier.get(f"messages/batches/{about}")
        return Progress(said.get("processing_status") == "ended")

    async def results(self, courier: Courier, about: str, progress: Progress) -> AsyncIterator[Outcome]:
        async for raw in courier.lines(f"messages/batches/{about}/results"):
            line = _read(raw, _Message)
            if line is None:
                yield _UNREAD
                continue
            call, found = line.custom_id, line.result
            if found.type == "succeeded" and _is_object(found.message):
                yield Outcome(call, 200, bytes(found.message))
            elif found.type == "errored":
                kind = _object_in(_read(found.error, dict) or {}, "error").get("type")
                yield Outcome(call, 400 if kind == "invalid_request_error" else 500, bytes(found.error))
            else:
                yield Outcome(call, 0)

    async def cancel(self, courier: Courier, about: str) -> None:
        await courier.tell(f"messages/batches/{about}/cancel")

    async def drop(self, courier: Courier, about: str, progress: Progress) -> None:
        await courier.delete(f"messages/batches/{about}")


class _GeminiBatches:
    """Gemini's batches with their requests inline, and their answers too."""

    most, most_bytes, is_of_one_model, finds = 2_000, 16 << 20, True, True

    def takes(self, dialect: str, path: str) -> bool:
        return dialect.startswith("gemini") and path.endswith(":generateContent")

    async def hand_in(self, courier: Courier, name: str, parts: Sequence[Part]) -> str:
        lines = (b'{"request":%b,"metadata":{"key":"%b"}}' % (part.body, part.call.encode()) for part in parts)
        head = b'{"batch":{"displayName":"%b","inputConfig":{"requests":{"requests":[' % name.encode()
        body = head + b",".join(lines) + b"]}}}}"
        path = parts[0].path.replace(":generateContent", ":batchGenerateContent")
        return id_of(await courier.give(path, parts, body), courier.provider.name, "name")

    async def find(self, courier: Courier, name: str) -> str | None:
        page = ""
        for _ in range(_PAGES):
            said = await courier.get(f"batches?pageSize=100{page}")
            for row in _rows(said, "operations"):
                if _object_in(row, "metadata").get("displayName") == name:
                    return id_of(row, courier.provider.name, "name")
            following = said.get("nextPageToken")
            if not following:
                return None
            page = f"&pageToken={quote(str(following), safe='')}"
        raise not_understood(courier.provider.name)

    async def clear(self, courier: Courier, name: str) -> None:
        """Nothing is uploaded beside a parcel."""

    async def look(self, courier: Courier, about: str) -> Progress:
        said = await courier.get(about)
        state = str(_object_in(said, "metadata").get("state") or "")
        is_ended = said.get("done") is True or state.endswith(("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"))
        return Progress(is_ended, "failed" if state.endswith("FAILED") or "error" in said else "")

    async def results(self, courier: Courier, about: str, progress: Progress) -> AsyncIterator[Outcome]:
        found = _read(await courier.raw(about), _Operation)
        if found is None:
            raise not_understood(courier.provider.name)
        for raw in found.response.inlined_responses.inlined_responses if found.response is not None else ():
            row = _read(raw, _Inline)
            if row is None:
                yield _UNREAD
            elif _is_object(row.response):
                yield Outcome(row.metadata.key, 200, bytes(row.response))
            else:
                error = _read(row.error, dict) or {}
                is_callers = error.get("code") in (3, 400)  # google.rpc.Code.INVALID_ARGUMENT
                yield Outcome(row.metadata.key, 400 if is_callers else 500, msgspec.json.encode({"error": error}))

    async def cancel(self, courier: Courier, about: str) -> None:
        await courier.tell(f"{about}:cancel", {})

    async def drop(self, courier: Courier, about: str, progress: Progress) -> None:
        await courier.delete(about)


STYLES: dict[str, Style] = {
    "openai": _Files(),
    "mistral": _MistralJobs(),
    "anthropic": _MessageBatches(),
    "gemini": _GeminiBatches(),
}
_UNSURE = frozenset({"upstream.timeout", "upstream.cut", "upstream.invalid_answer"})
_TURNED_AWAY = frozenset({429, 503, 529})  # nothing was begun


def is_unsure(error: FreeholdError) -> bool:
    """Whether a parcel may have been taken although this is what came of handing it in."""
    if isinstance(error, UpstreamError) and error.said in _TURNED_AWAY:
        return False
    return error.code in _UNSURE or (error.code == "upstream.failed" and error.is_retryable)
