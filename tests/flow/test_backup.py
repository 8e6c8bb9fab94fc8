"""A back-up is taken while calls go on, and what comes back goes on: keys, receipts, budgets, sealed files; and of several nodes, Postgres."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Freehold
from flow.test_handover import Callers
from flow.test_nodes import NODES, SECRET
from flow.test_reload import config
from flow.test_workers import ask, holds
from freehold.testing.standin import Behaviour, Standin
from servers import PASSWORD, Postgres

Make = Callable[..., Freehold]
both = pytest.mark.parametrize("how", [(), ("--workers", "2")], ids=["alone", "several"])


def restored(make: Make, old: Freehold, backup: Path, **env: str) -> Freehold:
    """Another machine: the same configuration, what the back-up holds, and nothing else."""
    new = make((old.folder / "freehold.toml").read_text(), **env)
    new.run("backup", "restore", str(backup))
    return new


@both
def test_what_was_backed_up_under_load_goes_on(
    make_freehold: Make, inside: Standin, tmp_path: Path, how: tuple[str, ...]
) -> None:
    """Several copies, each taken while calls are begun and ended: each starts, settles what was under way, and holds."""
    freehold = make_freehold(config(inside, more='budget = "0.05 USD/total"\n')).start(*how)
    key = freehold.key("--class", "public")
    callers = Callers(freehold, key, 6)
    copies = []
    for number in range(4):
        time.sleep(0.4)
        copies.append(tmp_path / f"copy {number}")
        told = json.loads(freehold.run("backup", "create", "--json", str(copies[-1])).stdout)
        assert told["files"] > 8
    seen = callers.end()
    assert set(seen) <= {"200", "429"}, seen
    assert freehold.stop() == 0
    before = {one["call"]: one for one in freehold.settled()}
    counts = []
    for copy in copies:
        assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (copy, *copy.rglob("*"))} == {0}
        new = restored(make_freehold, freehold, copy).start(*how)
        until = time.monotonic() + 10
        while ask(new, key)[0] not in (200, 429):
            assert time.monotonic() < until
        assert new.stop() == 0
        receipts = {one["call"]: one for one in holds(new)}
        counts.append(sum(one["outcome"] == "ok" for one in receipts.values()))
        assert {one["outcome"] for one in receipts.values()} <= {"ok", "lost", "refused"}
        for call in receipts.keys() & before.keys():
            if receipts[call]["outcome"] == "ok":
                assert receipts[call]["cost_usd"] == before[call]["cost_usd"]
    assert counts == sorted(counts)
    assert counts[0] > 0


def test_a_copy_that_is_not_whole_is_refused(make_freehold: Make, inside: Standin, tmp_path: Path) -> None:
    freehold = make_freehold(config(inside)).start()
    key = freehold.key("--class", "public")
    assert ask(freehold, key)[0] == 200
    whole = tmp_path / "whole"
    freehold.run("backup", "create", str(whole))
    assert freehold.run("backup", "create", str(whole), check=False).returncode == 2
    assert freehold.run("backup", "check", str(whole)).returncode == 0
    for number, (name, change) in enumerate(
        [
            ("signing.key", lambda path: path.write_bytes(b"x" * 32)),
            ("log/00000001.jsonl", lambda path: path.unlink()),
            ("backup.json", lambda path: path.write_text(path.read_text().replace('"pepper"', '"../pepper"'))),
            ("backup.json", lambda path: path.write_text("{}")),
            ("backup.json", lambda path: path.unlink()),
        ]
    ):
        bad = tmp_path / f"bad {number}"
        shutil.copytree(whole, bad)
        change(bad / name)
        other = make_freehold(config(inside))
        run = other.run("backup", "restore", str(bad), check=False)
        assert (run.returncode, "code: backup.damaged" in run.stderr) == (2, True), name
        assert not other.state.exists() or not any(other.state.iterdir())
    run = freehold.run("backup", "restore", str(whole), check=False)
    assert "code: backup.exists" in run.stderr, "nothing is overwritten"
    assert ask(freehold, key)[0] == 200


def test_nodes_go_on_with_a_database_that_was_restored(
    make_freehold: Make, inside: Standin, postgres: Postgres, tmp_path: Path
) -> None:
    """As the how-to says: pg_dump, pg_restore; keys, revocations, what was spent, and the index."""
    address = postgres.fresh().value
    env = {"FREEHOLD_POSTGRES": address, "FREEHOLD_NODES_SECRET": SECRET}
    freehold = make_freehold(config(inside, more='budget = "0.05 USD/total"\n') + NODES, **env).start()
    made = [
        json.loads(freehold.run("keys", "create", "--name", "k", "--class", "public", "--json").stdout)
        for _ in range(2)
    ]
    until = time.monotonic() + 10
    while ask(freehold, made[0]["key"])[0] != 200 or ask(freehold, made[1]["key"])[0] != 200:
        assert time.monotonic() < until
    freehold.run("keys", "revoke", made[1]["id"])
    while freehold.usage()["total"]["calls"] < len(freehold.settled()):
        assert time.monotonic() < until
    assert freehold.stop() == 0
    tools, secret = postgres.programs, {**os.environ, "PGPASSWORD": PASSWORD}
    dump, other = tmp_path / "freehold.dump", postgres.fresh().value
    subprocess.run(
        [tools / "pg_dump", "--format=custom", "--schema=freehold", "--file", dump, address], env=secret, check=True
    )
    subprocess.run([tools / "pg_restore", "--exit-on-error", "--dbname", other, dump], env=secret, check=True)
    copy = tmp_path / "node"
    freehold.run("backup", "create", str(copy))
    new = restored(make_freehold, freehold, copy, **(env | {"FREEHOLD_POSTGRES": other})).start()
    assert (ask(new, made[0]["key"])[0], ask(new, made[1]["key"])[0]) == (200, 401)
    until = time.monotonic() + 10
    while new.usage()["total"]["calls"] < len(new.settled()):
        assert time.monotonic() < until
    assert new.stop() == 0
    holds(new)


def test_doctor_says_what_is_well_and_what_is_not(make_freehold: Make, inside: Standin, tmp_path: Path) -> None:
    text = (
        config(inside)
        + '[providers.gone]\nbase_url = "http://127.0.0.1:9/v1"\nzone = "inside"\n[providers.far]\nbase_url = "http://127.0.0.1:9/v1"\n'
    )
    freehold = make_freehold(text).start("--workers", "2")
    where = ("--url", freehold.base_url, "--admin-url", f"http://127.0.0.1:{freehold.admin_port}")

    def looked(*more: str) -> tuple[int, dict[str, dict[str, str]]]:
        run = freehold.run("doctor", "--json", *where, *more, check=False)
        return run.returncode, {one["what"]: one for one in json.loads(run.stdout)["findings"]}

    status, found = looked()
    assert status == 0, found
    assert {name for name, one in found.items() if one["state"] != "well"} == {"provider gone", "provider far"}
    assert "the receipt of call_" in found["a call"]["words"]
    assert found["class restricted"]["words"] == "Its calls can go to cloud."
    live = [one for one in json.loads(freehold.run("keys", "list", "--json").stdout)["keys"] if one["revoked"] is None]
    assert "freehold doctor" not in {one["name"] for one in live}, "it cleans up"
    words = freehold.run("doctor", *where).stdout
    assert words.endswith("All is well, 2 to look at.\n")
    (freehold.state / "pepper").chmod(0o644)
    os.utime(next((freehold.state / "log").glob("*.jsonl")), (time.time() + 3_600,) * 2)
    status, found = looked("--offline")
    assert (status, found["permissions"]["state"], found["log and clock"]["state"]) == (1, "ill", "ill")
    assert "chmod go-rwx" in found["permissions"]["mend"]
    assert "a call" not in found
    (freehold.state / "pepper").chmod(0o600)
    inside.usual = Behaviour(status=503)
    status, found = looked()
    assert (status, found["a call"]["state"]) == (1, "ill")
    assert freehold.stop() == 0
    status, found = looked()
    assert (status, found["data plane"]["state"], found["admin plane"]["state"]) == (1, "ill", "ill")
    (freehold.folder / "freehold.toml").write_text("[nonsense]\n")
    status, found = looked()
    assert (status, found["configuration"]["state"]) == (1, "ill")


def test_doctor_knows_a_freehold_of_another_directory(make_freehold: Make, inside: Standin) -> None:
    first, second = make_freehold(config(inside)).start(), make_freehold(config(inside))
    second.key()
    run = second.run(
        "doctor", "--json", "--url", first.base_url, "--admin-url", f"http://127.0.0.1:{first.admin_port}", check=False
    )
    found = {one["what"]: one for one in json.loads(run.stdout)["findings"]}
    assert (run.returncode, found["admin plane"]["state"], found["a call"]["state"]) == (1, "ill", "ill")


def test_what_cannot_be_copied_whole_is_not_called_whole(make_freehold: Make, inside: Standin, tmp_path: Path) -> None:
    """Paths that are odd, links, folders that nobody may enter, a place inside: said, never left out."""
    freehold = make_freehold(config(inside))
    odd = freehold.folder / "st#?%41 x"
    freehold.env["FREEHOLD_HOME"] = str(odd)
    key = freehold.key("--class", "public")
    freehold.run("backup", "create", str(tmp_path / "odd"))
    new = make_freehold(config(inside))
    new.run("backup", "restore", str(tmp_path / "odd"))
    new.start()
    assert ask(new, key)[0] == 200
    inner = freehold.run("backup", "create", str(odd / "backups/1"), check=False)
    assert "code: backup.inside" in inner.stderr
    (tmp_path / "elsewhere").mkdir()
    (odd / "content").symlink_to(tmp_path / "elsewhere")
    linked = freehold.run("backup", "create", str(tmp_path / "linked"), check=False)
    assert (linked.returncode, "code: backup.failed" in linked.stderr) == (2, True)
    (odd / "content").unlink()
    (odd / "pepper").rename(tmp_path / "pepper")
    (odd / "pepper").symlink_to(tmp_path / "pepper")
    freehold.run("backup", "create", str(tmp_path / "files"))
    assert (tmp_path / "files/pepper").read_bytes() == (tmp_path / "pepper").read_bytes()
    freehold.env["FREEHOLD_HOME"] = str(tmp_path)
    assert "code: backup.nothing" in freehold.run("backup", "create", str(tmp_path / "x"), check=False).stderr
    freehold.env["FREEHOLD_HOME"] = str(odd)
    for target in ("/proc/x", str(odd / "pepper/x")):
        run = freehold.run("backup", "create", target, check=False)
        assert (run.returncode, "This is a bug" in run.stderr) == (2, False), target


def test_nobody_starts_from_half_a_back_up(make_freehold: Make, inside: Standin, tmp_path: Path) -> None:
    freehold = make_freehold(config(inside))
    freehold.key()
    freehold.run("backup", "create", str(tmp_path / "whole"))
    new = make_freehold(config(inside))
    new.run("backup", "restore", str(tmp_path / "whole"))
    assert not (new.state / "restoring").exists()
    (new.state / "restoring").touch()  # as kill -9 in the middle leaves it
    for command in (("up", "--no-hello"), ("keys", "list")):
        run = new.run(*command, check=False)
        assert (run.returncode, "code: backup.unfinished" in run.stderr) == (2, True)
