"""Files and batches with the real SDK, through the whole product: every line a call of its own, ruled on, charged, recorded, and asked once."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError, BadRequestError, ConflictError, NotFoundError, OpenAI, PermissionDeniedError

from conftest import NO_ENGINE, Freehold
from flow.batches import CHAT, ENDED, begin, holder_of, jsonl, line, lines_of, sdk_of, wait
from freehold.content.keyring import Keyring
from freehold.content.sealed import SealedStore
from freehold.testing.standin import Behaviour, Standin


def config(inside: Standin, workload: str = "", more: str = "") -> str:
    return (
        NO_ENGINE
        + f'[providers.rack]\nbase_url = "{inside.base_url}"\nzone = "inside"\nretries = 0\nprices = {{ m = {{ input = 1.0, output = 2.0 }} }}\n'
        + f'{more}[workloads.w]\nclass = "public"\ntargets = ["rack/m"]\nbatch = true\n{workload}'
    )


def test_the_sdk_runs_a_batch(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    """Upload, begin, wait, read: what came back is what a call would have got, and each line has its receipt."""
    freehold = make_freehold(config(inside)).start()
    with sdk_of(freehold) as sdk:
        batch = wait(sdk, begin(sdk, jsonl(*map(line, range(50))), metadata={"for": "a test"}))
        assert batch.status == "completed"
        assert batch.request_counts is not None
        assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (50, 50, 0)
        assert batch.usage is not None
        assert (batch.usage.input_tokens, batch.usage.output_tokens) == (50 * 7, 50 * 5)
        assert (batch.metadata, batch.model, batch.error_file_id) == ({"for": "a test"}, "w", None)
        assert (
            batch.created_at <= (batch.in_progress_at or 0) <= (batch.finalizing_at or 0) <= (batch.completed_at or 0)
        )
        found = lines_of(sdk, batch.output_file_id)
        receipts = {one["call"]: one for one in freehold.settled(50)}
        for at in range(50):
            response = found[f"r{at}"]["response"]
            assert response["body"]["choices"][0]["message"]["content"] == "Hello from the stand-in."
            assert receipts.pop(response["request_id"])["workload"] == "w"
        assert not receipts
        assert Counter(one.json["messages"][0]["content"] for one in inside.requests) == Counter(
            f"x {at}" for at in range(50)
        )


def test_files_and_batches_are_listed_page_by_page_and_deleted(
    make_freehold: Callable[..., Freehold], inside: Standin
) -> None:
    freehold = make_freehold(config(inside)).start()
    with sdk_of(freehold) as sdk:
        batches = [wait(sdk, begin(sdk, jsonl(line(at)))) for at in range(5)]
        assert [one.id for one in sdk.batches.list(limit=2)] == [one.id for one in reversed(batches)], (
            "the SDK turns the pages"
        )
        files = list(sdk.files.list(limit=3))
        assert len(files) == 10
        assert files == sorted(files, key=lambda one: (one.created_at, one.id), reverse=True)
        assert [one.id for one in sdk.files.list(order="asc")] == [one.id for one in reversed(files)]
        assert {one.purpose for one in sdk.files.list(purpose="batch_output")} == {"batch_output"}
        (first, *_) = files
        assert sdk.files.retrieve(first.id) == first
        assert sdk.files.delete(first.id).deleted
        for gone in (sdk.files.retrieve, sdk.files.content, sdk.files.delete):
            with pytest.raises(NotFoundError):
                gone(first.id)
        with pytest.raises(BadRequestError):
            sdk.batches.list(limit=101)
        with pytest.raises(BadRequestError):
            list(sdk.batches.list(after="batch_of_nobody"))


def test_nobody_sees_what_another_key_handed_in(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    freehold = make_freehold(config(inside)).start()
    with sdk_of(freehold) as mine, sdk_of(freehold) as yours:
        batch = wait(mine, begin(mine, jsonl(line(1))))
        assert list(yours.files.list()) == list(yours.batches.list()) == []
        for ask in (
            lambda: yours.files.content(str(batch.output_file_id)),
            lambda: yours.files.delete(batch.input_file_id),
            lambda: yours.batches.retrieve(batch.id),
            lambda: yours.batches.cancel(batch.id),
            lambda: yours.batches.create(input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h"),
        ):
            with pytest.raises(NotFoundError):
                ask()


def test_what_is_kept_is_encrypted_and_nowhere_else(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    """Neither the prompts nor the answers of a batch are in any file of the state directory, in the log or in what is printed."""
    inside.usual = Behaviour(words=("answer-canary-0815",))
    freehold = make_freehold(config(inside)).start()
    with sdk_of(freehold) as sdk:
        batch = wait(sdk, begin(sdk, jsonl(*(line(at, "prompt-canary-4711") for at in range(20)))))
        assert "answer-canary" in sdk.files.content(str(batch.output_file_id)).text
        for path in freehold.state.rglob("*"):
            if path.is_file():
                raw = path.read_bytes()
                assert b"canary" not in raw, path
        assert "canary" not in freehold.output
        made = next(one for one in json.loads(freehold.run("keys", "list", "--json").stdout)["keys"] if one["class"] == "public" and "first" not in one["name"])  # fmt: skip
        freehold.run("audit", "erase", made["id"], "--yes")
        with pytest.raises(NotFoundError):
            sdk.files.content(str(batch.output_file_id))


@pytest.mark.parametrize(
    ("workload", "organisation", "arguments", "headers", "is_allowed"),
    [
        pytest.param("", "", ("--workload", "w"), {}, True, id="a key of a workload that takes them"),
        pytest.param("", "", ("--workload", "v"), {}, False, id="a key of one that does not"),
        pytest.param(
            "", "", ("--class", "public"), {"x_freehold_workload": "v"}, False, id="the header names one that does not"
        ),
        pytest.param("", "", ("--class", "public"), {}, True, id="a free key may name the workload"),
    ],
)
def test_somebody_must_have_allowed_it(make_freehold: Callable[..., Freehold], inside: Standin, workload: str, organisation: str, arguments: tuple[str, ...], headers: dict[str, str], is_allowed: bool) -> None:  # fmt: skip
    freehold = make_freehold(
        config(inside, workload, organisation) + '[workloads.v]\nclass = "public"\ntargets = ["rack/m"]\n'
    ).start()
    with sdk_of(freehold, *arguments, **headers) as sdk:
        if is_allowed:
            assert wait(sdk, begin(sdk, jsonl(line(1)))).status == "completed"
        else:
            with pytest.raises(PermissionDeniedError) as refused:
                sdk.files.create(file=("in.jsonl", b"x"), purpose="batch")
            assert refused.value.code == "batch.not_enabled"


def test_a_line_goes_only_where_its_workload_takes_batches(
    make_freehold: Callable[..., Freehold], inside: Standin
) -> None:
    """A target without a workload, and another workload, are refused line by line, unless the organisation allows the first."""
    both = jsonl(line(1), line(2, model="rack/m"), line(3, model="v"), line(4, model="nothing"))
    more = '[workloads.v]\nclass = "public"\ntargets = ["rack/m"]\n'
    freehold = make_freehold(config(inside) + more).start()
    with sdk_of(freehold) as sdk:
        batch = wait(sdk, begin(sdk, both))
        assert set(lines_of(sdk, batch.output_file_id)) == {"r1"}
        codes = {
            name: one["response"]["body"]["error"]["code"] for name, one in lines_of(sdk, batch.error_file_id).items()
        }
        assert codes == {"r2": "batch.not_enabled", "r3": "batch.not_enabled", "r4": "routing.unknown_model"}
    allowed = make_freehold(config(inside, more="[organisation]\nbatch = true\n") + more).start()
    with sdk_of(allowed) as sdk:
        assert set(lines_of(sdk, wait(sdk, begin(sdk, both)).output_file_id)) == {"r1", "r2"}


def test_every_line_is_ruled_on(make_freehold: Callable[..., Freehold], inside: Standin, outside: Standin) -> None:
    """In one file: what may leave leaves, what holds a secret does not; what the key or the header declares holds for all."""
    text = config(inside) + f'[providers.cloud]\nbase_url = "{outside.base_url}"\n'
    text = text.replace('targets = ["rack/m"]', 'targets = ["cloud/m"]')
    freehold = make_freehold(text).start()
    with sdk_of(freehold) as sdk:
        batch = wait(sdk, begin(sdk, jsonl(line(1), line(2, "SSN 536-90-4399, Anna Weber, born 12 March 1980"))))
        assert set(lines_of(sdk, batch.output_file_id)) == {"r1"}
        (refused,) = lines_of(sdk, batch.error_file_id).values()
        assert (refused["response"]["status_code"], refused["response"]["body"]["error"]["code"]) == (
            403,
            "perimeter.zone_forbidden",
        )
        assert len(outside.requests) == 1
    with sdk_of(freehold, x_freehold_class="restricted") as sdk:
        batch = wait(sdk, begin(sdk, jsonl(line(3))))
        assert batch.output_file_id is None
        assert len(outside.requests) == 1


def test_a_budget_holds_over_a_batch(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    """It is used to its end and no further; what did not fit is an error that says so, and the receipts add up to what came back."""
    freehold = make_freehold(config(inside, 'budget = "0.002 USD/total"\n')).start()
    with sdk_of(freehold) as sdk:
        batch = wait(sdk, begin(sdk, jsonl(*map(line, range(200)))))
        answered, refused = lines_of(sdk, batch.output_file_id), lines_of(sdk, batch.error_file_id)
        assert len(answered) + len(refused) == 200
        assert {one["response"]["body"]["error"]["code"] for one in refused.values()} == {"budget.exhausted"}
        cost = len(answered) * (7 + 2 * 5) / 1e6
        worst = 0.0006
        assert 0.002 - worst < cost <= 0.002
        assert float(freehold.usage()["total"]["cost_usd"]) == pytest.approx(cost)
        assert len(inside.requests) == len(answered)


def test_a_rate_is_waited_for(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    freehold = make_freehold(config(inside, 'limits = { calls = "20/second", concurrent = 3 }\n')).start()
    with sdk_of(freehold) as sdk:
        batch = wait(sdk, begin(sdk, jsonl(*map(line, range(50)))))
        assert (batch.request_counts.completed, batch.request_counts.failed) == (50, 0)  # type: ignore[union-attr]
        assert inside.most_at_once <= 3


def test_a_broken_line_is_named_and_nothing_runs(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    """One of thirty thousand."""
    raw = [json.dumps(line(at)).encode() for at in range(30_000)]
    raw[17_654] = raw[17_654][:-1]
    freehold = make_freehold(config(inside)).start()
    with sdk_of(freehold) as sdk:
        batch = wait(sdk, begin(sdk, b"\n".join(raw)))
        assert batch.status == "failed"
        assert batch.errors is not None
        assert [(one.line, one.code) for one in batch.errors.data or ()] == [(17_655, "invalid_json_line")]
        assert batch.output_file_id is None
        assert inside.requests == []
        assert freehold.settled() == []


def test_what_is_no_batch_is_said_at_once(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    freehold = make_freehold(config(inside)).start()
    with sdk_of(freehold) as sdk:
        file = sdk.files.create(file=("in.jsonl", jsonl(line(1))), purpose="batch")
        good = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h"}
        for change in (
            {"endpoint": "/v1/images/generations"},
            {"endpoint": "http://evil.example/"},
            {"completion_window": "soon"},
            {"completion_window": "999d"},
            {"metadata": {"a": "x" * 600}},
            {"output_expires_after": {"anchor": "created_at", "seconds": 5}},
        ):
            with pytest.raises(BadRequestError):
                sdk.batches.create(**{**good, **change})  # type: ignore[arg-type]
        with pytest.raises(NotFoundError):
            sdk.batches.create(**{**good, "input_file_id": "file-nobody"})  # type: ignore[arg-type]
        for purpose in ("assistants", "fine-tune"):
            with pytest.raises(BadRequestError):
                sdk.files.create(file=("in.jsonl", b"x"), purpose=purpose)  # type: ignore[arg-type]
        with pytest.raises(BadRequestError):
            sdk.files.create(
                file=("in.jsonl", b"x"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 5}
            )
        short = sdk.files.create(file=("in.jsonl", b"x"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600})  # fmt: skip
        assert short.expires_at == short.created_at + 3600


def test_cancelling(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    """What was answered is kept, what was not is said to be cancelled, and what has ended cannot be cancelled any more."""
    inside.usual = Behaviour(delay_s=0.1)
    freehold = make_freehold(config(inside)).start()
    with sdk_of(freehold) as sdk:
        batch = begin(sdk, jsonl(*map(line, range(2000))))
        while not inside.requests:
            time.sleep(0.02)
        assert sdk.batches.cancel(batch.id).status == "cancelling"
        batch = wait(sdk, batch)
        assert batch.status == "cancelled"
        answered, rest = lines_of(sdk, batch.output_file_id), lines_of(sdk, batch.error_file_id)
        assert len(answered) + len(rest) == 2000
        assert {one["error"]["code"] for one in rest.values()} == {"batch_cancelled"}
        assert len(freehold.settled()) == len(answered) == batch.request_counts.completed  # type: ignore[union-attr]
        assert sdk.batches.cancel(batch.id).status == "cancelled", "again is the same"
        done = wait(sdk, begin(sdk, jsonl(line(1))))
        with pytest.raises(ConflictError):
            sdk.batches.cancel(done.id)


def test_a_killed_freehold_goes_on_where_it_was(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    """kill -9 while lines are under way: what was answered is not asked again, every line has one answer, every call one receipt."""
    inside.usual = Behaviour(delay_s=0.05)
    freehold = make_freehold(config(inside)).start()
    with sdk_of(freehold) as sdk:
        batch = begin(sdk, jsonl(*map(line, range(400))))
        for _ in range(4):
            before = len(inside.requests)
            while len(inside.requests) < before + 70:
                time.sleep(0.01)
            freehold.kill()
            freehold.start()
        batch = wait(sdk, batch)
        assert (batch.status, batch.request_counts.completed) == ("completed", 400)  # type: ignore[union-attr]
        assert len(lines_of(sdk, batch.output_file_id)) == 400
    asked = Counter(one.json["messages"][0]["content"] for one in inside.requests)
    assert len(asked) == 400
    assert sum(asked.values()) - 400 <= 4 * 33, "only what was under way when it was killed"
    receipts = Counter(one["outcome"] for one in freehold.settled())
    assert receipts["ok"] + receipts["lost"] == len({one["call"] for one in freehold.settled()})
    assert receipts["ok"] >= 400
    unsent = sum(receipts.values()) - sum(asked.values())
    assert 0 <= unsent <= 4, "what was sent is recorded; a kill may come between a record and its sending"


def test_a_killed_worker_hands_its_batch_to_another(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    inside.usual = Behaviour(delay_s=0.05)
    freehold = make_freehold(config(inside)).start("--workers", "3")
    with sdk_of(freehold) as sdk:
        batch = begin(sdk, jsonl(*map(line, range(300))))
        while len(inside.requests) < 60:
            time.sleep(0.01)
        os.kill(holder_of(freehold), signal.SIGKILL)
        batch = wait(sdk, batch)
        assert (batch.status, batch.request_counts.completed) == ("completed", 300)  # type: ignore[union-attr]
        assert len(lines_of(sdk, batch.output_file_id)) == 300


def test_draining_lets_lines_end_and_the_next_start_goes_on(
    make_freehold: Callable[..., Freehold], inside: Standin
) -> None:
    inside.usual = Behaviour(delay_s=0.2)
    freehold = make_freehold(config(inside)).start()
    with sdk_of(freehold) as sdk:
        batch = begin(sdk, jsonl(*map(line, range(100))))
        while len(inside.requests) < 40:
            time.sleep(0.01)
        assert freehold.stop() == 0
        assert {one["outcome"] for one in freehold.settled()} == {"ok"}, "none was cut off"
        freehold.start()
        batch = wait(sdk, batch)
        assert batch.request_counts.completed == 100  # type: ignore[union-attr]
    assert len(inside.requests) == 100, "none was asked twice"


def test_interactive_calls_do_not_wait_for_a_batch(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    inside.usual = Behaviour(delay_s=0.05)
    text = config(inside).replace("retries = 0\n", "retries = 0\nlimits = { concurrent = 2 }\nwait = 30\n")
    freehold = make_freehold(text).start()
    with sdk_of(freehold) as sdk:
        batch = begin(sdk, jsonl(*map(line, range(200))))
        while len(inside.requests) < 6:
            time.sleep(0.01)
        for _ in range(5):
            began = time.monotonic()
            sdk.chat.completions.create(model="w", messages=[{"role": "user", "content": "now"}])
            assert time.monotonic() - began < 1, "behind two under way, not behind thirty that wait"
        assert sdk.batches.retrieve(batch.id).status == "in_progress"
        sdk.batches.cancel(batch.id)
        wait(sdk, batch)


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/embeddings", {"model": "w", "input": "x"}),
        ("/v1/completions", {"model": "w", "prompt": "x", "max_tokens": 5}),
        ("/v1/responses", {"model": "w", "input": "x", "max_output_tokens": 16}),
        ("/v1/messages", {"model": "w", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}),
    ],
)
def test_other_endpoints(
    make_freehold: Callable[..., Freehold], inside: Standin, endpoint: str, body: dict[str, Any]
) -> None:
    freehold = make_freehold(config(inside)).start()
    with sdk_of(freehold) as sdk:
        raw = jsonl({"custom_id": "r1", "method": "POST", "url": endpoint, "body": body})
        batch = wait(sdk, begin(sdk, raw, endpoint))
        assert lines_of(sdk, batch.output_file_id)["r1"]["response"]["status_code"] == 200


def test_a_large_file_is_streamed_and_never_in_memory(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    """Ninety-six megabytes up and down again, more than three times what a call's body may have, in a fraction of that in memory."""
    freehold = make_freehold(config(inside)).start()
    block = b"x" * 1023 + b"\n"
    count = 96 * 1024

    def rss() -> int:
        assert freehold.process is not None
        status = Path(f"/proc/{freehold.process.pid}/status").read_text()
        return int(next(row for row in status.splitlines() if row.startswith("VmHWM")).split()[1])

    before = rss()
    key = freehold.key("--class", "public")
    connection = http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=60)
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n'
    tail = b'\r\n--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n'
    parts = (part for part in (head, *(block * 64 for _ in range(count // 64)), tail))
    connection.request("POST", "/v1/files", parts, {"Authorization": f"Bearer {key}", "Content-Type": "multipart/form-data; boundary=b"}, encode_chunked=True)  # fmt: skip
    answer = connection.getresponse()
    file = json.loads(answer.read())
    assert (answer.status, file["bytes"]) == (200, count * 1024), file
    connection.request("GET", f"/v1/files/{file['id']}/content", headers={"Authorization": f"Bearer {key}"})
    answer = connection.getresponse()
    size = 0
    while part := answer.read(1 << 20):
        assert part.strip(b"x\n") == b""
        size += len(part)
    connection.close()
    assert size == count * 1024
    assert rss() - before < 32 * 1024


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        pytest.param("application/json", b"{}", 400, id="no form"),
        pytest.param("multipart/form-data", b"", 400, id="no boundary"),
        pytest.param(f"multipart/form-data; boundary={'b' * 300}", b"", 400, id="an endless boundary"),
        pytest.param("multipart/form-data; boundary=b", b"--b\r\nnonsense", 400, id="no form behind it"),
        pytest.param("multipart/form-data; boundary=b", b"--c\r\n\r\n--c--\r\n", 400, id="another boundary"),
        pytest.param("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n', 400, id="no file"),
        pytest.param("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n', 400, id="no purpose"),
        pytest.param("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n', 400, id="no end"),
        pytest.param("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n' + b"x" * 9999, 400, id="a long field"),
        pytest.param("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; name="file"\r\n\r\ny\r\n--b--\r\n', 400, id="two files"),
    ],
)  # fmt: skip
def test_odd_forms_leave_nothing_behind(
    make_freehold: Callable[..., Freehold], inside: Standin, kind: str, body: bytes, status: int
) -> None:
    freehold = make_freehold(config(inside)).start()
    key = freehold.key("--class", "public")
    connection = http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=10)
    connection.request("POST", "/v1/files", body, {"Authorization": f"Bearer {key}", "Content-Type": kind})
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    assert answer.status == status
    assert said["error"]["code"].startswith("request.")
    assert list((freehold.state / "content").iterdir()) == []


def test_a_name_may_be_anything(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    """It is a label and nothing else: no path, no header of its own."""
    freehold = make_freehold(config(inside)).start()
    with sdk_of(freehold) as sdk:
        for name in ("../../etc/passwd", 'a"b\r\nX-Evil: 1', "🏥.jsonl", "x" * 400):
            file = sdk.files.create(file=(name, jsonl(line(1))), purpose="batch")
            answer = sdk.files.with_raw_response.content(file.id)
            assert answer.content == jsonl(line(1))
            assert "x-evil" not in answer.headers
    assert {path.parent for path in freehold.state.rglob("*.jsonl")} <= {freehold.state / "log"}


def test_a_revoked_key_asks_no_more(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    inside.usual = Behaviour(delay_s=0.05)
    freehold = make_freehold(config(inside)).start()
    made = json.loads(freehold.run("keys", "create", "--name", "k", "--class", "public", "--json").stdout)
    with OpenAI(base_url=freehold.base_url, api_key=made["key"], max_retries=0) as sdk:
        begin(sdk, jsonl(*map(line, range(1000))))
        while not inside.requests:
            time.sleep(0.01)
        freehold.run("keys", "revoke", made["id"])
        time.sleep(1.0)  # it holds within a second
        with pytest.raises(APIStatusError):
            sdk.batches.list()
        sent = len(inside.requests)
        time.sleep(0.5)
        assert len(inside.requests) == sent < 1000


def test_answers_are_on_one_line_however_they_are_indented(
    make_freehold: Callable[..., Freehold], inside: Standin
) -> None:
    """As OpenAI's API indents them, good ones and bad ones; and a date in a header of a good answer is no failure."""
    body = json.dumps({"id": "x", "choices": [{"index": 0, "message": {"role": "assistant", "content": "a\nb"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}, indent=2).encode()  # fmt: skip
    bad = json.dumps({"error": {"message": "no", "type": "invalid_request_error"}}, indent=2).encode()
    inside.usual = Behaviour(body=body, headers=(("Retry-After", "Fri, 31 Dec 2027 23:59:59 GMT"),))
    freehold = make_freehold(config(inside)).start()
    with sdk_of(freehold) as sdk:
        inside.behave(Behaviour(status=400, body=bad))
        batch = wait(sdk, begin(sdk, jsonl(*map(line, range(5)))))
        assert len(lines_of(sdk, batch.output_file_id)) == 4
        assert len(lines_of(sdk, batch.error_file_id)) == 1
        assert len(inside.requests) == 5, "each once"


def test_a_busy_inside_is_waited_for(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    """One place, slow answers, calls that may not leave: no line fails for having had to wait."""
    inside.usual = Behaviour(delay_s=0.15)
    text = config(inside).replace("retries = 0\n", "retries = 0\nlimits = { concurrent = 1 }\nwait = 0.1\n")
    freehold = make_freehold(text.replace('class = "public"', 'class = "restricted"')).start()
    with sdk_of(freehold) as sdk:
        batch = wait(sdk, begin(sdk, jsonl(*map(line, range(20)))))
        assert (batch.request_counts.completed, batch.request_counts.failed) == (20, 0)  # type: ignore[union-attr]


def test_a_file_without_a_line_break_stops_nobody(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    """Forty megabytes in one line, and others of blank lines, while somebody else calls."""
    freehold = make_freehold(config(inside, more="[server]\nmax_body_bytes = 100000\n")).start()
    with sdk_of(freehold) as sdk:
        batches = [
            begin(sdk, b"x" * 40_000_000),
            begin(sdk, b"\n" * 4_000_000 + b"x"),
            begin(sdk, jsonl(line(1, "x" * 200_000))),
        ]
        slowest = 0.0
        while any(batch.status not in ENDED for batch in batches):
            began = time.monotonic()
            sdk.chat.completions.create(model="w", messages=[{"role": "user", "content": "now"}])
            slowest = max(slowest, time.monotonic() - began)
            batches = [sdk.batches.retrieve(batch.id) for batch in batches]
        assert slowest < 2
        faults = [[(one.code, one.line) for one in batch.errors.data or ()] for batch in batches if batch.errors]
        assert faults == [[("line_too_long", 1)], [("invalid_json_line", 4_000_001)], [("line_too_long", 1)]]


def test_a_key_may_not_fill_the_disk(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    freehold = make_freehold(config(inside, more="[server]\nfile_bytes = 100000\n")).start()
    with sdk_of(freehold) as mine, sdk_of(freehold) as yours:
        file = mine.files.create(file=("in.jsonl", b"x" * 100_000), purpose="batch")
        with pytest.raises(APIStatusError) as refused:
            mine.files.create(file=("in.jsonl", b"x"), purpose="batch")
        assert (refused.value.status_code, refused.value.code) == (413, "batch.too_much")
        yours.files.create(file=("in.jsonl", b"x"), purpose="batch")
        mine.files.delete(file.id)
        mine.files.create(file=("in.jsonl", b"x"), purpose="batch")


def test_what_a_killed_upload_left_is_swept_away(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    """Half a file of days ago goes; one of now, which somebody may be at, stays."""
    freehold = make_freehold(config(inside)).start()
    with sdk_of(freehold) as sdk:
        wait(sdk, begin(sdk, jsonl(line(1))))
    content = freehold.state / "content"
    old, new = content / f"{'0' * 32}.part", content / f"{'1' * 32}.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 200_000,) * 2)
    keyring = Keyring(freehold.state / "subjects.db", (freehold.state / "master.key").read_bytes())
    SealedStore(content, keyring).sweep(int(time.time() * 1000))
    keyring.close()
    assert (old.exists(), new.exists()) == (False, True)
    assert len([path for path in content.iterdir() if not path.suffix]) == 2
