"""Batch endpoints of the stand-in: OpenAI's files and batches, Mistral's jobs, Anthropic's Message Batches, Gemini's inline batches.

Rules: what is handed in is answered by the very speech that answers single requests; how many times it is looked at before it ends, and what then
becomes of it, is set by a test; everything that lies here can be looked at, so that a test sees that nothing is left.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Answer = Callable[[str, dict[str, Any]], tuple[int, dict[str, Any]]]  # path, body → status, body


@dataclass
class Batching:
    """The stand-in's batches. looks: how often one is looked at before it ends; stuck: a word, with which it never does; failure: a code with which each
    ends; outcomes: custom_id's number → what becomes of it instead (`expired`, or an error status); spoiled: custom_id's number → what stands in the
    results instead of its line; keeps_quiet: how many times a batch is made without saying so; lists_late: how often a list says nothing yet; page: how
    many rows a list gives at once, the oldest first; until_cancelled: how many lines are answered of one that is cancelled; refuses: a word, with which
    no batch is made; fails: what of it fails (`upload`, `make`, `look`, `list`, `results`, `delete`, `cancel`), with which status each time; slow: how
    many seconds it takes.
    """

    looks: int = 0
    stuck: str = ""
    page: int = 0
    slow: dict[str, float] = field(default_factory=dict)
    failure: str = ""
    outcomes: dict[int, int | str] = field(default_factory=dict)
    keeps_quiet: int = 0
    until_cancelled: int | None = None
    spoiled: dict[int, bytes] = field(default_factory=dict)
    refuses: str = ""
    lists_late: int = 0
    fails: dict[str, list[int]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    handed_in: list[list[dict[str, Any]]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    _count: int = 0

    def pause(self, method: str, path: str) -> float:
        """How long a request takes, in seconds."""
        return self.slow.get(_step(method, path.partition("?")[0].removeprefix("/v1/").removeprefix("/v1beta/")), 0.0)

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes, answer: Answer) -> Any:
        """(status, body as JSON or lines) for a request that is about files and batches, None for any other."""
        path, _, query = path.partition("?")
        path = path.removeprefix("/v1/").removeprefix("/v1beta/")
        step = _step(method, path)
        self.asked.append(step)
        if self.fails.get(step):
            return self.fails[step].pop(), {"error": {"message": "the stand-in was told to fail", "type": "api_error"}}
        if path == "files" and method == "POST":
            data, name = _file_of(headers, body)
            about = self._keep(data)
            self.names[about] = name
            return 200, {"id": about, "object": "file"}
        if path == "files":
            return 200, {"data": [{"id": about, "filename": self.names.get(about)} for about in reversed(self.files)]}
        if found := re.fullmatch(r"files/([^/]+)(/content)?", path):
            return self._file(method, found[1])
        if path in ("batches", "batch/jobs", "messages/batches") or path.endswith(":batchGenerateContent"):
            return self._list(path, query) if method == "GET" else self._make(path, json.loads(body), answer)
        if found := re.fullmatch(r"((?:messages/)?batches|batch/jobs)/([^/:]+)[/:]?(cancel|results)?", path):
            return self._one(method, found[1], found[2], found[3] or "")
        return None

    def _keep(self, data: bytes) -> str:
        self._count += 1
        self.files[f"file-{self._count}"] = data
        return f"file-{self._count}"

    def _file(self, method: str, about: str) -> Any:
        if about not in self.files:
            return 404, {"error": {"message": "no such file"}}
        if method == "DELETE":
            del self.files[about]
            return 200, {"deleted": True}
        return 200, self.files[about]

    def _list(self, path: str, query: str) -> Any:
        is_late = self.lists_late > 0
        self.lists_late -= is_late
        rows = [] if is_late else [self._shown(path, about) for about in reversed(self.batches)]
        asked, more = dict(urllib.parse.parse_qsl(query)), dict[str, Any]()
        if self.page:
            rows.reverse()
            ids = [row["id"] if "id" in row else row["name"] for row in rows]
            token = base64.b64decode(asked["pageToken"]).decode() if "pageToken" in asked else asked.get("after")
            first = ids.index(token) + 1 if token else int(asked.get("page", 0)) * self.page
            more = {"has_more": len(rows) > first + self.page}
            rows = rows[first : first + self.page]
            if self._is_inline() and more["has_more"]:
                more = {"nextPageToken": base64.b64encode(rows[-1]["name"].encode()).decode()}
        return 200, {"operations": rows, **more} if path == "batches" and self._is_inline() else {"data": rows, **more}

    def _is_inline(self) -> bool:
        return any(batch["kind"] == "inline" for batch in self.batches.values())

    def _make(self, path: str, said: dict[str, Any], answer: Answer) -> Any:
        self._count += 1
        about = f"batch_{self._count}"
        if path == "messages/batches":
            kind, lines = "messages", [(one["custom_id"], "/v1/messages", one["params"]) for one in said["requests"]]
        elif path.endswith(":batchGenerateContent"):
            kind, one_path = "inline", f"/v1beta/{path.replace('batchGenerateContent', 'generateContent')}"
            requests = said["batch"]["inputConfig"]["requests"]["requests"]
            lines = [(one["metadata"]["key"], one_path, one["request"]) for one in requests]
        else:
            kind = "jobs" if path == "batch/jobs" else "files"
            file = said["input_files"][0] if kind == "jobs" else said["input_file_id"]
            raw = [json.loads(line) for line in self.files[file].splitlines()]
            lines = [(one["custom_id"], said["endpoint"], one["body"]) for one in raw]
            assert all(one.get("url", said["endpoint"]) == said["endpoint"] for one in raw)
            assert len({one["body"]["model"] for one in raw}) == 1, "a file is for one model"
        if self.refuses and self.refuses in json.dumps([body for _, _, body in lines]):
            return 400, {"error": {"message": "one of them is wrong", "type": "invalid_request_error"}}
        self.handed_in.append([body for _, _, body in lines])
        results = [self._result(kind, at, *line, answer) for at, line in enumerate(lines)]
        self.batches[about] = {"kind": kind, "said": said, "results": results, "looks": 0, "count": len(lines)}
        self.batches[about]["text"] = json.dumps(self.handed_in[-1])
        self.batches[about]["spoiled"] = {
            one: self.spoiled[at] for at, (one, _, _) in enumerate(lines) if at in self.spoiled
        }
        if self.keeps_quiet:
            self.keeps_quiet -= 1
            return 500, {"error": {"message": "no word of it"}}
        return 200, self._shown(path, about)

    def _result(self, kind: str, at: int, name: str, path: str, body: dict[str, Any], answer: Answer) -> dict[str, Any]:
        instead = self.outcomes.get(at)
        status, told = answer(path, body) if instead is None else (0, {})
        if isinstance(instead, int):
            status, told = instead, {"error": {"message": "refused by the stand-in", "type": "invalid_request_error"}}
        if kind == "messages":
            result = {"type": "succeeded", "message": told} if status == 200 else {"type": "expired"}
            if status >= 400:
                result = {"type": "errored", "error": {"type": "error", **told}}
            return {"custom_id": name, "result": result}
        if kind == "inline":
            if status == 200:
                return {"response": told, "metadata": {"key": name}}
            code = 3 if status == 400 else 13
            return {"error": {"code": code, "message": "refused by the stand-in"}, "metadata": {"key": name}}
        response = {"status_code": status, "request_id": "r", "body": told} if status else None
        error = None if status else {"code": "batch_expired", "message": "too late"}
        return {"id": f"batch_req_{at}", "custom_id": name, "response": response, "error": error}

    def _one(self, method: str, path: str, about: str, verb: str) -> Any:
        if about not in self.batches:
            return 404, {"error": {"message": "no such batch"}}
        if method == "DELETE":
            del self.batches[about]
            return 200, {"deleted": True}
        if verb == "cancel":
            self.cancelled.append(about)
            self.batches[about]["looks"] = self.looks
            del self.batches[about]["results"][self.until_cancelled :]
        elif verb == "results":
            return 200, _lines(self.batches[about]["results"], self.batches[about]["spoiled"])
        else:
            self.batches[about]["looks"] += 1
        return 200, self._shown(path, about)

    def _shown(self, path: str, about: str) -> dict[str, Any]:
        batch = self.batches[about]
        kind, said, is_over = batch["kind"], batch["said"], batch["looks"] > self.looks or about in self.cancelled
        if self.stuck and about not in self.cancelled and self.stuck in batch["text"]:
            is_over = False
        if is_over and "files" not in batch and kind in ("files", "jobs"):
            good = [one for one in batch["results"] if one["response"] and one["response"]["status_code"] == 200]
            bad = [one for one in batch["results"] if one not in good]
            batch["files"] = [
                self._keep(_lines(part, batch["spoiled"])) if part and not self.failure else None
                for part in (good, bad)
            ]
        output, errors = batch.get("files", (None, None))
        if kind == "messages":
            return {"id": about, "type": "message_batch", "processing_status": "ended" if is_over else "in_progress"}
        if kind == "inline":
            state = "BATCH_STATE_FAILED" if self.failure else "BATCH_STATE_SUCCEEDED"
            metadata = {
                "displayName": said["batch"]["displayName"],
                "state": state if is_over else "BATCH_STATE_RUNNING",
            }
            told = {"inlinedResponses": {"inlinedResponses": [] if self.failure else batch["results"]}}
            return {
                "name": f"batches/{about}",
                "done": is_over,
                "metadata": metadata,
                "response": told if is_over else None,
            }
        shown = {"id": about, "object": "batch", "metadata": said.get("metadata"), "errors": None}
        if kind == "jobs":
            status = ("FAILED" if self.failure else "SUCCESS") if is_over else "RUNNING"
            return {
                **shown,
                "status": status,
                "input_files": said["input_files"],
                "output_file": output,
                "error_file": errors,
            }
        status = ("failed" if self.failure else "completed") if is_over else "in_progress"
        if self.failure and is_over:
            shown["errors"] = {"object": "list", "data": [{"code": self.failure, "message": "words"}]}
        return {
            **shown,
            "status": status,
            "input_file_id": said["input_file_id"],
            "output_file_id": output,
            "error_file_id": errors,
        }


def _step(method: str, path: str) -> str:
    """What of a batch's life a request is."""
    if method == "DELETE":
        return "delete"
    if path.endswith(("/content", "/results")):
        return "results"
    if path.endswith("cancel"):
        return "cancel"
    is_all = path in ("files", "batches", "batch/jobs", "messages/batches") or path.endswith(":batchGenerateContent")
    if method == "GET":
        return "list" if is_all else "look"
    return ("upload" if path == "files" else "make") if is_all else ""


def _lines(found: list[dict[str, Any]], spoiled: dict[str, bytes]) -> bytes:
    """In any order, as providers do."""
    return b"".join((spoiled.get(one["custom_id"]) or json.dumps(one).encode()) + b"\n" for one in reversed(found))


def _file_of(headers: dict[str, str], body: bytes) -> tuple[bytes, str]:
    """The file of a form and its name; its purpose is what it has to be."""
    edge = headers["content-type"].partition("boundary=")[2].encode()
    parts = [part for part in body.split(b"--" + edge) if part.strip(b"-\r\n")]
    found, name = {}, ""
    for part in parts:
        head, _, data = part.partition(b"\r\n\r\n")
        field_ = re.search(rb' name="([^"]+)"', head)
        named = re.search(rb' filename="([^"]+)"', head)
        assert field_ is not None
        found[field_[1]] = data[: -len(b"\r\n")]
        name = named[1].decode() if named is not None else name
    assert found[b"purpose"] == b"batch", found
    return found[b"file"], name
