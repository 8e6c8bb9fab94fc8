"""What tests of batches share: lines, the SDK, and waiting."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from openai import OpenAI
from openai.types import Batch

from conftest import NO_ENGINE, Freehold
from freehold.testing.standin import Standin

CHAT = "/v1/chat/completions"
ENDED = ("completed", "failed", "cancelled", "expired")

PRICES = "{ m = { input = 2.0, output = 4.0, tiers = { batch = { input = 1.0, output = 2.0 } } } }"
STYLES = {
    "openai": "openai-chat",
    "mistral": "openai-chat",
    "anthropic": "anthropic-messages",
    "gemini": "gemini",
}


def line(at: int | str, text: str = "x", **more: Any) -> dict[str, Any]:
    body = {"model": "w", "max_tokens": 5, "messages": [{"role": "user", "content": f"{text} {at}"}], **more}
    return {"custom_id": f"r{at}", "method": "POST", "url": CHAT, "body": body}


def jsonl(*found: Any) -> bytes:
    return b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in found)


def sdk_of(freehold: Freehold, *arguments: str, **headers: str) -> OpenAI:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    key = freehold.key(*(arguments or ("--class", "public")))
    return OpenAI(base_url=freehold.base_url, api_key=key, max_retries=0, default_headers=named)


def begin(sdk: OpenAI, raw: bytes, endpoint: Any = CHAT, **more: Any) -> Batch:
    file = sdk.files.create(file=("in.jsonl", raw), purpose="batch")
    return sdk.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more)


def wait(sdk: OpenAI, batch: Batch, seconds: float = 60) -> Batch:
    until = time.monotonic() + seconds
    while batch.status not in ENDED:
        assert time.monotonic() < until, batch
        time.sleep(0.05)
        batch = sdk.batches.retrieve(batch.id)
    return batch


def counts_of(batch: Batch) -> tuple[int, int]:
    """Lines that were answered, and that failed."""
    assert batch.request_counts is not None
    return batch.request_counts.completed, batch.request_counts.failed


def lines_of(sdk: OpenAI, file: str | None) -> dict[str, Any]:
    if file is None:
        return {}
    found = [json.loads(one) for one in sdk.files.content(file).text.splitlines()]
    assert len({one["custom_id"] for one in found}) == len(found)
    return {one["custom_id"]: one for one in found}


def holder_of(freehold: Freehold) -> int:
    """The process id of the one worker that runs the batches."""
    assert freehold.process is not None
    pid = freehold.process.pid
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    (found,) = (worker for worker in children if _holds(worker, freehold.state / "batches.lock"))
    return found


def _holds(pid: int, lock: Path) -> bool:
    inode = str(lock.stat().st_ino)
    return any(f" {pid} " in entry and entry.split()[5].endswith(f":{inode}") for entry in Path("/proc/locks").read_text().splitlines() if "FLOCK" in entry)  # fmt: skip


def config(cloud: Standin, style: str = "openai", *, workload: str = "", provider: str = "", top: str = "") -> str:
    dialect = STYLES[style]
    return (
        NO_ENGINE
        + top
        + f'[providers.cloud]\nbase_url = "{cloud.base_url}"\nkey = "env:CLOUD"\nretries = 0\nbatches = "{style}"\n'
        + f'dialect = "{dialect}"\nprices = {PRICES}\n{provider}'
        + f'[workloads.w]\nclass = "public"\ntargets = ["cloud/m"]\nbatch = true\n{workload}'
    )


def receipts(freehold: Freehold) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Those of calls, and those that correct them."""
    found = freehold.settled()
    return [one for one in found if not one["corrects"]], [one for one in found if one["corrects"]]


def money(found: list[dict[str, Any]]) -> Decimal:
    return sum((Decimal(one["cost_usd"]) for one in found), Decimal(0))


def nothing_is_left(cloud: Standin, seconds: float = 20) -> bool:
    """Whether what lies at the provider is deleted there before long; nobody waits for that."""
    batching = cloud.batching
    is_left = True
    until = time.monotonic() + seconds
    while is_left and time.monotonic() < until:
        time.sleep(0.05)
        is_left = bool(batching.files) or any(one["kind"] not in ("files", "jobs") for one in batching.batches.values())
    return not is_left


def net_of(freehold: Freehold) -> dict[str, Decimal]:
    """What each call of a parcel came to, with what corrects it."""
    calls, corrections = receipts(freehold)
    net = {one["call"]: Decimal(one["cost_usd"]) for one in calls if one["tier"]}
    for one in corrections:
        net[one["corrects"]] += Decimal(one["cost_usd"])
    return net


def until(is_so: Callable[[], object], seconds: float = 30) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)
