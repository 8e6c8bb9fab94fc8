"""The proof, end to end: real calls, an export beside the running program, and a verifier that knows only the bundle and the key."""

from __future__ import annotations

import http.client
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import Freehold
from freehold.testing.standin import Behaviour, Standin


def ask(freehold: Freehold, key: str, model: str, **more: Any) -> dict[str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=20)
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "the letter of a patient"}], **more})
    connection.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {key}"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return {name.lower(): value for name, value in answer.getheaders()}


def test_what_an_auditor_can_check(
    make_freehold: Callable[..., Freehold], two_zones: str, inside: Standin, outside: Standin, tmp_path: Path
) -> None:
    """A caller keeps what its answers said; the auditor gets a bundle and the key; omission, flips and policy are checked."""
    freehold = make_freehold(two_zones, CLOUD="sk-1").start()
    restricted, public = freehold.key("--class", "restricted"), freehold.key("--class", "public")
    kept = []
    for at in range(6):
        if at == 3:
            inside.behave(Behaviour(status=500))
        head = ask(freehold, (public, restricted)[at % 2], "open", stream=at == 4)
        if "x-freehold-promise" in head:
            log, signature = head["x-freehold-promise"].split()
            kept.append(f"{log} {head['x-freehold-receipt']} {signature}")
    call = head["x-freehold-call-id"]
    ask(freehold, restricted, "cloud/m")
    time.sleep(1.3)  # a checkpoint is signed every second
    (tmp_path / "promises.txt").write_text("\n".join(kept))
    exported = json.loads(freehold.run("audit", "export", "--out", str(tmp_path / "bundle"), "--json").stdout)
    arguments = ["--trust", exported["key"], "--promises", str(tmp_path / "promises.txt"), "--json"]
    done = freehold.run("audit", "verify", str(tmp_path / "bundle"), *arguments, check=False)
    report = json.loads(done.stdout)
    assert (done.returncode, report["findings"]) == (0, [])
    assert report["counts"]["promises kept"] == len(kept) >= 5
    assert report["counts"]["calls refused"] == 1
    assert "letter of a patient" not in "".join(path.read_text() for path in (tmp_path / "bundle").iterdir())
    shown = freehold.run("audit", "show", call).stdout
    assert "because key is restricted" in shown
    assert "hashes up to the root" in shown
    assert freehold.run("audit", "show", head["x-freehold-receipt"]).stdout == shown
    shutil.copytree(tmp_path / "bundle", tmp_path / "forged")
    log_file = tmp_path / "forged/00000001.log"
    log_file.write_bytes(log_file.read_bytes().replace(b'"zone":"inside"', b'"zone":"outside"', 1))
    done = freehold.run("audit", "verify", str(tmp_path / "forged"), "--trust", exported["key"], check=False)
    assert done.returncode == 1
    assert "FINDING 00000001.log: is not what the manifest says" in done.stdout
    assert freehold.run("audit", "verify", str(tmp_path), check=False).returncode == 2
    assert freehold.stop() == 0
    again = freehold.run("audit", "export", "--out", str(tmp_path / "after"), "--workload", "closed", "--json")
    assert json.loads(again.stdout)["records"] < exported["records"]
    assert freehold.run("audit", "verify", str(tmp_path / "after"), "--trust", exported["key"]).returncode == 0


def test_a_checkpoint_that_cannot_be_written_is_written_later(
    make_freehold: Callable[..., Freehold], two_zones: str
) -> None:
    """A disk that is full for a moment ends neither the calls nor the keeping of checkpoints."""
    freehold = make_freehold(two_zones, CLOUD="sk-1").start()
    key = freehold.key("--class", "public")
    path = next(freehold.folder.rglob("parent.log")).with_name("00000001.checkpoints")
    path.unlink(missing_ok=True)
    path.mkdir()
    ask(freehold, key, "open")
    time.sleep(2.2)
    path.rmdir()
    assert ask(freehold, key, "open")["x-freehold-zone"] == "inside"
    until = time.monotonic() + 10
    while not path.is_file() and time.monotonic() < until:
        time.sleep(0.05)
    assert path.read_text().startswith("freehold-")


def test_what_a_key_declares_is_in_the_log(
    make_freehold: Callable[..., Freehold], two_zones: str, tmp_path: Path
) -> None:
    """Before its first attempt, once, and again when it was revoked by another process."""
    freehold = make_freehold(two_zones, CLOUD="sk-1").start()
    made = json.loads(freehold.run("keys", "create", "--name", "ward", "--class", "restricted", "--json").stdout)
    bound = json.loads(freehold.run("keys", "create", "--name", "app", "--workload", "open", "--json").stdout)
    for key in (made, bound, made):
        ask(freehold, key["key"], "open")
    freehold.run("keys", "revoke", made["id"])
    until = time.monotonic() + 10
    said: list[dict[str, Any]] = []
    while len(said) < 3 and time.monotonic() < until:
        said = [record for record in freehold.records() if record["kind"] == "key"]
        time.sleep(0.05)
    assert [(one["key"], one["class"], one["workload"], one["is_revoked"]) for one in said] == [
        (made["id"], "restricted", None, False),
        (bound["id"], None, "open", False),
        (made["id"], "restricted", None, True),
    ]
    kinds = [record["kind"] for record in freehold.records()]
    assert kinds.index("key") < kinds.index("intent")
    freehold.run("audit", "export", "--workload", "open", "--out", str(tmp_path / "bundle"))
    assert freehold.run("audit", "verify", str(tmp_path / "bundle")).returncode == 0


def test_erasing_a_subject_leaves_the_proof_whole(
    make_freehold: Callable[..., Freehold], two_zones: str, tmp_path: Path
) -> None:
    freehold = make_freehold(two_zones, CLOUD="sk-1").start()
    made = json.loads(freehold.run("keys", "create", "--name", "ward 3", "--json").stdout)
    ask(freehold, made["key"], "open")
    before = (freehold.state / "subjects.db").read_bytes()
    assert freehold.run("audit", "erase", made["id"], "--yes").returncode == 0
    assert freehold.run("audit", "erase", made["id"], "--yes", check=False).returncode == 1
    until = time.monotonic() + 5
    while not any(record["kind"] == "erased" for record in freehold.records()) and time.monotonic() < until:
        time.sleep(0.05)
    (erased, *_) = [record for record in freehold.records() if record["kind"] == "erased"]
    assert erased["subject"] == made["id"]
    assert (freehold.state / "subjects.db").read_bytes() != before
    ask(freehold, made["key"], "open")
    one, other = [record["request"] for record in freehold.records() if record["kind"] == "intent"]
    assert one != other, "the same words, under another key"
    freehold.stop()
    freehold.run("audit", "export", "--out", str(tmp_path / "bundle"))
    assert freehold.run("audit", "verify", str(tmp_path / "bundle")).returncode == 0


def test_a_call_that_went_around_it_is_seen(
    make_freehold: Callable[..., Freehold], two_zones: str, outside: Standin, tmp_path: Path
) -> None:
    """The company's proxy counted one request more to the provider than the log knows."""
    freehold = make_freehold(two_zones, CLOUD="sk-1").start()
    key = freehold.key("--class", "public")
    now = time.time()
    for _ in range(2):
        ask(freehold, key, "cloud/m")
    rows = [{"at": now, "host": "cloud"}, {"at": time.time(), "provider": "cloud"}]
    proxy = tmp_path / "proxy.jsonl"
    proxy.write_text("\n".join(json.dumps({"at": row["at"], "provider": "cloud"}) for row in rows))
    assert freehold.run("audit", "reconcile", str(proxy)).returncode == 0
    proxy.write_text(proxy.read_text() + "\n" + json.dumps({"at": time.time(), "provider": "cloud"}))
    done = freehold.run("audit", "reconcile", str(proxy), check=False)
    assert done.returncode == 1
    assert "something went around it" in done.stdout
    table = tmp_path / "proxy.csv"
    table.write_text(f"timestamp,provider\n{now},elsewhere\n")
    assert "; proxy.csv says nothing of it" in freehold.run("audit", "reconcile", str(table), check=False).stdout
    table.write_text(f"timestamp,provider\n{now},cloud\n")
    assert "fewer than the log says" in freehold.run("audit", "reconcile", str(table), check=False).stdout
