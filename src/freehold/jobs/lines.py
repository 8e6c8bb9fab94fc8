"""The lines of a batch: what a caller hands in, and what it gets back, in OpenAI's shape (platform reference, Batch; checked 2026-11-25). Pure."""

from __future__ import annotations

import hashlib
import itertools
import os
from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from freehold.kernel.errors import CallerError
from freehold.wire import strict

ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/moderations",
    "/v1/rerank",
    "/v1/messages",
)
MOST_FAULTS = 100  # told of one file


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with an input file. line: from 1, None for the file as a whole."""

    code: str
    line: int | None
    message: str
    param: str | None = None


class Line(NamedTuple):
    """One request of a batch."""

    custom_id: str
    body: dict[str, Any]


class Unfit(Exception):
    """A line that is no request; holds the fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.code)
        self.fault = fault


class Splitter:
    """Cuts bytes into lines, however they come. A line longer than `most` bytes is not gathered: what is given of it is longer than that by one."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rest = bytearray()
        self._number = 0

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        """The lines that are whole now and not blank, with their numbers from 1."""
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._gather(chunk, start, end)
            start = end + 1
            yield from self._take()
        self._gather(chunk, start, len(chunk))

    def close(self) -> Iterator[tuple[int, bytes]]:
        """What stands behind the last line break."""
        yield from self._take()

    def _gather(self, chunk: bytes, start: int, end: int) -> None:
        room = self._most + 1 - len(self._rest)
        if room > 0:
            self._rest += chunk[start : min(end, start + room)]

    def _take(self) -> Iterator[tuple[int, bytes]]:
        self._number += 1
        if self._rest:
            line = bytes(self._rest)
            self._rest.clear()
            if line.strip():
                yield self._number, line


def read(number: int, raw: bytes, endpoint: str, most: int) -> Line:
    """Read one line of at most so many bytes. Raises Unfit with what is wrong with it, without quoting it."""
    if len(raw) > most:
        raise Unfit(Fault("line_too_long", number, f"This line is longer than a request may be ({most} bytes)."))
    try:
        found = strict.decode(raw)
    except CallerError:
        raise Unfit(Fault("invalid_json_line", number, "This line is not parseable as valid JSON.")) from None
    for field, kind in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
        if field not in found:
            message = f"Missing required parameter: '{field}'."
            raise Unfit(Fault("missing_required_parameter", number, message, field))
        if type(found[field]) is not kind:
            message = f"Invalid type for '{field}': expected {'an object' if kind is dict else 'a string'}."
            raise Unfit(Fault("invalid_type", number, message, field))
    if not 0 < len(found["custom_id"]) <= 512:
        raise Unfit(Fault("invalid_value", number, "'custom_id' must have 1 to 512 characters.", "custom_id"))
    if found["method"] != "POST":
        raise Unfit(Fault("invalid_method", number, "Supported values of 'method' are: 'POST'.", "method"))
    if found["url"] != endpoint:
        raise Unfit(
            Fault("invalid_url", number, "The URL provided for this request does not match the batch endpoint.", "url")
        )
    body = found["body"]
    if type(body.get("model")) is not str or not body["model"]:
        raise Unfit(Fault("missing_required_parameter", number, "Missing required parameter: 'model'.", "body.model"))
    if body.get("stream"):
        raise Unfit(Fault("streaming_unsupported", number, "A request of a batch cannot be streamed.", "body.stream"))
    return Line(found["custom_id"], body)


class Checker:
    """Takes the lines of a file one by one; `faults` says what is wrong when all were taken."""

    def __init__(self, endpoint: str, most: int) -> None:
        self._endpoint, self._most = endpoint, most
        self._ids = array("Q")  # hashes, because a million names would not fit
        self._lines = array("L")
        self._faults: list[Fault] = []
        self._models: set[str] = set()
        self.total = 0

    @property
    def model(self) -> str | None:
        """The one that all requests name, if they do."""
        return next(iter(self._models)) if len(self._models) == 1 else None

    def take(self, number: int, raw: bytes) -> None:
        self.total += 1
        try:
            line = read(number, raw, self._endpoint, self._most)
        except Unfit as unfit:
            if len(self._faults) < MOST_FAULTS:
                self._faults.append(unfit.fault)
            return
        if len(self._models) < 2:
            self._models.add(line.body["model"])
        self._ids.append(int.from_bytes(hashlib.blake2b(line.custom_id.encode(), digest_size=8).digest(), "big"))
        self._lines.append(number)

    def faults(self) -> list[Fault]:
        """What is wrong, in the order of the lines; all of it up to a limit."""
        if not self.total:
            return [Fault("empty_file", None, "The input file is empty: it must hold at least one request.")]
        order = sorted(
            range(len(self._ids)), key=self._ids.__getitem__
        )  # stable: the first of two stays before the second
        found = list(self._faults)
        for before, at in itertools.pairwise(order):
            if self._ids[before] == self._ids[at] and len(found) < 2 * MOST_FAULTS:
                message = f"The custom_id of this line is that of line {self._lines[before]} too; each must be its own."
                found.append(Fault("duplicate_custom_id", self._lines[at], message, "custom_id"))
        return sorted(found, key=lambda fault: fault.line or 0)[:MOST_FAULTS]


def answered(custom_id: str, status: int, request_id: str, body: bytes) -> bytes:
    """The line of a request that got an answer, good or bad: as its provider wrote it, but on one line."""
    response = {
        "status_code": status,
        "request_id": request_id,
        "body": msgspec.Raw(msgspec.json.format(body, indent=-1)),
    }
    return _written(custom_id, response, None)


def not_run(custom_id: str, code: str, message: str) -> bytes:
    """The line of a request that was never made."""
    return _written(custom_id, None, {"code": code, "message": message})


def _written(custom_id: str, response: dict[str, Any] | None, error: dict[str, str] | None) -> bytes:
    about = f"batch_req_{os.urandom(16).hex()}"
    return strict.encode({"id": about, "custom_id": custom_id, "response": response, "error": error})
