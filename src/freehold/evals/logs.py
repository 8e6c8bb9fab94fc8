"""Logs of other evaluation tools: what was asked, and how each answer was scored. Inspect AI's (`.eval`, `.json`) and OpenAI evals' (`.jsonl`).

Rules: their shapes change, so whatever is not needed is passed over; a score that is not there is missing and never nought.
Source: files written by inspect_ai 0.3.140 and 0.3.285 and by the recorder of openai/evals 3.0.1, and their sources; checked 2026-11-28.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from freehold.kernel.errors import CallerError
from freehold.kernel.extras import need

_ZSTANDARD = 93  # how members are compressed since Inspect 0.3.206; Python reads it itself from 3.14 on
_WORDS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}


class Sample(NamedTuple):
    """One sample of a log. scores: by scorer; status: as outcomes have it, "" where the log does not say."""

    id: str
    input: Any
    target: Any
    scores: dict[str, float]
    status: str
    seconds: float | None
    metadata: dict[str, Any]
    choices: list[str] | None = None


def samples_of(path: Path) -> Iterator[Sample]:
    """Every sample of a log; of several epochs each. Raises CallerError `verdict.log`."""
    try:
        if zipfile.is_zipfile(path):
            yield from _of_archive(path)
            return
        with path.open("rb") as file:
            head = file.read(1)
        if head == b"{" and path.suffix == ".json":
            yield from map(_inspected, json.loads(path.read_bytes()).get("samples") or [])
            return
        yield from _of_events(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, NotImplementedError, RuntimeError, zlib.error, zipfile.BadZipFile, struct.error) as error:  # fmt: skip
        raise CallerError(f"{path.name!r} is no log that can be read ({type(error).__name__}).", code="verdict.log", hint="Inspect AI writes .eval and .json, OpenAI's evals .jsonl.") from None  # fmt: skip


# --- Inspect AI -----------------------------------------------------------------------------------------------------


def _of_archive(path: Path) -> Iterator[Sample]:
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for name in archive.NameToInfo:  # of a name that is there twice, the last
            if name.startswith("samples/") and name.endswith(".json"):
                found = json.loads(_member(archive, file, name))
                if "id" in found and "epoch" in found:
                    yield _inspected(found)


def _member(archive: zipfile.ZipFile, file: io.BufferedReader, name: str) -> bytes:
    info = archive.NameToInfo[name]
    if info.compress_type != _ZSTANDARD:
        return archive.read(name)
    file.seek(info.header_offset + 26)  # the lengths of the local header's name and extra field
    of_name, of_extra = struct.unpack("<HH", file.read(4))
    file.seek(of_name + of_extra, io.SEEK_CUR)
    packed = io.BytesIO(file.read(info.compress_size))
    unpacked: bytes = need("pyarrow", "verdict").input_stream(packed, compression="zstd").read()
    return unpacked


def _inspected(found: dict[str, Any]) -> Sample:
    scores: dict[str, float] = {}
    for name, score in (found.get("scores") or {}).items():
        value = score.get("value")
        if isinstance(value, dict):
            parts = {f"{name}/{key}": _number(part) for key, part in value.items()}
            scores |= {key: part for key, part in parts.items() if part is not None}
        elif (number := _number(value)) is not None:
            scores[name] = number
    limit = found.get("limit")
    status = (
        "error"
        if found.get("error") and not scores
        else "truncated"
        if limit and not scores
        else "ok"
        if scores
        else ""
    )
    seconds = found.get("working_time", found.get("total_time"))
    metadata = found.get("metadata") if isinstance(found.get("metadata"), dict) else {}
    return Sample(
        str(found["id"]),
        found.get("input"),
        found.get("target"),
        scores,
        status,
        seconds,
        metadata or {},
        found.get("choices"),
    )


def _number(value: Any) -> float | None:
    """A score as a number, None where there is none."""
    if isinstance(value, str):
        if value in _WORDS or value.lower() in _WORDS:
            return _WORDS[value] if value in _WORDS else _WORDS[value.lower()]
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    return None


# --- OpenAI's evals -------------------------------------------------------------------------------------------------


def _of_events(path: Path) -> Iterator[Sample]:
    """Events, which interleave, gathered by sample."""
    scores: dict[str, dict[str, float]] = {}
    prompts: dict[str, Any] = {}
    broken: set[str] = set()
    with path.open("rb") as file:
        for line in file:
            if not line.strip():
                continue
            event = json.loads(line)
            about, data = event.get("sample_id"), event.get("data") or {}
            if about is None:
                continue
            kept = scores.setdefault(str(about), {})
            match event.get("type"):
                case "match":
                    kept["match"] = float(bool(data["correct"]))
                case "metrics":
                    kept |= {name: number for name, value in data.items() if (number := _number(value)) is not None}
                case "sampling":
                    prompts.setdefault(str(about), data.get("prompt"))
                case "error":
                    broken.add(str(about))
    if not scores:
        raise ValueError("no events")
    for about, kept in scores.items():
        status = "ok" if kept else "error" if about in broken else ""
        yield Sample(about, prompts.get(about), None, kept, status, None, {})


# --- two logs as outcomes -------------------------------------------------------------------------------------------


def paired(open_: Iterable[Sample], closed: Iterable[Sample], metric: str) -> Iterator[dict[str, Any]]:
    """Outcomes of two logs of the same cases; of several epochs, their means. Raises CallerError where they share no case, or no score."""
    sides = [_means(samples) for samples in (open_, closed)]
    both = [about for about in sides[0] if about in sides[1]]
    known = sorted({name for side in sides for _, scores, *_ in side.values() for name in scores})
    if (metric and metric not in known) or (not metric and len(known) != 1):
        raise CallerError(f"The logs have the scores {', '.join(map(repr, known)) or 'none'}.", code="verdict.log", hint="Choose one with --metric.")  # fmt: skip
    if not both:
        raise CallerError("The two logs share no case.", code="verdict.log")
    apart = [about for about in both if sides[0][about][3] != sides[1][about][3]]
    if apart:
        raise CallerError(f"In {len(apart):,} of {len(both):,} cases the two logs did not ask the same (such as {apart[0][:40]!r}): they are of different tasks.", code="verdict.log")  # fmt: skip
    name = metric or known[0]
    for about in both:
        row: dict[str, Any] = {"id": about}
        for side, found in zip(("open", "closed"), sides, strict=True):
            status, scores, seconds, _ = found[about]
            row |= {side: scores.get(name), **({f"{side}_status": status} if status else {})}
            row |= {f"{side}_latency_s": seconds} if seconds is not None else {}
        yield row


def _means(samples: Iterable[Sample]) -> dict[str, tuple[str, dict[str, float], float | None, str]]:
    """Of each case: how it ended in most epochs, its mean scores, how long it took, and a digest of what was asked."""
    held: dict[str, list[Sample]] = {}
    for sample in samples:
        held.setdefault(sample.id, []).append(sample)
    found = {}
    for about, each in held.items():
        scores = {}
        for name in {name for one in each for name in one.scores}:
            values = [one.scores[name] for one in each if name in one.scores]
            scores[name] = sum(values) / len(values)
        times = [one.seconds for one in each if one.seconds is not None]
        status = Counter(one.status for one in each).most_common(1)[0][0]
        asked = hashlib.sha256(
            json.dumps([_words(each[0].input), each[0].target], default=str).encode("utf-8", "replace")
        ).hexdigest()
        found[about] = (status, scores, sum(times) / len(times) if times else None, asked)
    return found


def _words(asked: Any) -> Any:
    """What was said, without what a log adds to it."""
    if not isinstance(asked, list):
        return asked
    return [[one.get("role"), one.get("content")] for one in asked if isinstance(one, dict)]
