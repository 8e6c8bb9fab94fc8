"""Verify a bundle: every byte of it, every signature, every chain and root, and then what the records claim."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold_audit.claims import Claims
from freehold_audit.proof import (
    GENESIS,
    Checkpoint,
    Key,
    Keys,
    Tree,
    is_hand_over,
    is_promise,
    leaf_hash,
    open_note,
    read_canonical,
    read_checkpoints,
)
from freehold_audit.report import Report, Unreadable

Record = dict[str, Any]
Roots = dict[int, set[bytes]]  # by how many records
_is_withheld = re.compile(rb"#[0-9a-f]{64}").fullmatch


@dataclass(frozen=True, slots=True)
class Expected:
    """What somebody kept elsewhere and this bundle must agree with.

    promises: (log, leaf in hexadecimal, signature) from the headers of answers; checkpoints: signed notes of an earlier day.
    """

    promises: tuple[tuple[str, str, str], ...] = ()
    checkpoints: str = ""


@dataclass(slots=True)
class _Epoch:
    number: int
    link: str
    began_ms: int
    run: int
    key: Key
    sealed: tuple[int, str] | None = None
    ended_ms: int | None = None

    def overlaps(self, meta: dict[str, str]) -> bool:
        """Whether it ran in the time that a bundle says it is about."""
        start, end = meta.get("from", "-"), meta.get("to", "-")
        return (end == "-" or self.began_ms < int(end)) and (
            start == "-" or self.ended_ms is None or self.ended_ms >= int(start)
        )


def verify(bundle: Path, *, trust: str | None = None, expected: Expected | None = None) -> Report:
    """Verify a bundle. trust: the verifier key that must have signed it, or handed over to the one that did; without one, the bundle's own is used, and the report says so.

    Raises Unreadable if this is no bundle at all.
    """
    report, expected = Report(), expected or Expected()
    own, trusted = _key(bundle, trust, report)
    meta, files = _manifest(bundle, own, report)
    keys = _keys(files, own, trusted, report)
    kept = _kept_elsewhere(expected, keys)
    epochs = _parent(files, keys, report, kept.pop("parent", {}))
    claims, leaves = Claims(report), dict[str, set[str]]()
    is_whole = all(meta.get(word, "-") == "-" for word in ("from", "to", "workload"))
    for epoch in epochs:
        name = f"{epoch.number:08d}"
        if f"{name}.log" not in files:
            if epoch.overlaps(meta):
                report.find(name, "the epoch is in the parent log, and its own log is missing")
            elif kept.pop(name, None):
                report.notes.append(f"{name}: a checkpoint was kept of it, and this bundle is of another time")
            continue
        leaves[name] = _epoch(epoch, files, claims, report, kept.pop(name, {}))
    for name in sorted(kept):
        report.find(name, "a checkpoint was kept of it, and nothing of it is here: it was rolled back")
    for name in sorted(files):
        if name.endswith(".log") and name != "parent.log" and name.removesuffix(".log") not in leaves:
            report.find(name, "no entry of the parent log opened this epoch")
    if is_whole and report.counts.get("records withheld"):
        report.find("manifest", "says that this is everything, and records are withheld")
    claims.end({epoch.number for epoch in epochs if epoch.sealed is None})
    _compare(expected, {f"{epoch.number:08d}": epoch.key for epoch in epochs}, leaves, report)
    report.counts["epochs"] = len(epochs)
    return report


def _key(bundle: Path, trust: str | None, report: Report) -> tuple[Key, Key]:
    """(the bundle's own key, the one that is trusted)."""
    found = sorted(bundle.glob("*.pub"))
    if not bundle.is_dir() or len(found) != 1:
        raise Unreadable(f"{bundle} is no bundle: it must hold exactly one *.pub")
    try:
        own = Key.parse(found[0].read_text(encoding="utf-8"))
        trusted = Key.parse(trust) if trust is not None else own
    except (OSError, ValueError) as error:
        raise Unreadable(f"a key cannot be read: {error}") from None
    report.key, report.is_trusted = trusted.text, trust is not None
    if trust is None:
        report.notes.append("the key is the bundle's own: give --trust KEY to know whose log this is")
    return own, trusted


def _keys(files: dict[str, bytes], own: Key, trusted: Key, report: Report) -> Keys:
    """The keys of this ledger, by the entries in which one hands over to the next; the last is the bundle's own."""
    since: list[tuple[int, Key]] = []
    for number, line in enumerate(files.get("parent.log", b"").split(b"\n"), 1):
        if b'"kind":"key_rotated"' not in line:
            continue
        where = f"parent.log, entry {number}"
        try:
            entry = read_canonical(line)
            old, new = Key.parse(entry["from"]), Key.parse(entry["to"])
            is_signed = is_hand_over(old, entry["prev"], new, entry["signature"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            report.find(where, f"hands over to no key ({error})")
            continue
        if not is_signed:
            report.find(where, f"{old.name} never signed that it hands over to {new.name}")
        if since and since[-1][1].text != old.text:
            report.find(where, f"{old.name} hands over, and the key was {since[-1][1].name}")
        since = [*(since or [(0, old)]), (number, new)]
        report.count("keys exchanged")
    if since and since[-1][1].text != own.text:
        report.find("parent.log", "the bundle is signed with another key than the last that was handed over to")
    keys = Keys(tuple(since) or ((0, own),))
    if trusted.text not in {key.text for _, key in keys.since}:
        report.find(
            f"{own.name}.pub",
            "the bundle was signed with another key than the one that is trusted, which never handed over to it",
        )
    return keys


def _manifest(bundle: Path, key: Key, report: Report) -> tuple[dict[str, str], dict[str, bytes]]:
    """Every file must be listed, and be what the signed list says."""
    try:
        note = (bundle / "manifest").read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        raise Unreadable(f"{bundle} has no manifest") from None
    try:
        text = open_note(note, key)
        signature = note.split("\n\n", 1)[1]
        if signature.count("\n") != 1 or not signature.endswith("\n"):
            raise ValueError("more or less than one line behind its text")
    except (ValueError, IndexError) as error:
        report.find("manifest", f"is not signed as it must be: {error}")
        text = note.partition("\n\n")[0] + "\n"
    meta: dict[str, str] = {}
    listed: dict[str, tuple[str, int]] = {}
    lines = text.rstrip("\n").split("\n")
    if lines[0] != "freehold-bundle/1":
        raise Unreadable("the manifest is of another format than freehold-bundle/1")
    for line in lines[1:]:
        word, _, rest = line.partition(" ")
        digest, _, named = rest.partition(" ")
        size, _, name = named.partition(" ")
        if word == "file" and size.isdigit() and name:
            listed[name] = (digest, int(size))
        elif word == "file" or word in meta:
            report.find("manifest", "has a line that cannot be read")
        else:
            meta[word] = rest
    for word in ("from", "to"):
        if not re.fullmatch("-|[0-9]{1,18}", meta.setdefault(word, "-")):
            report.find("manifest", f"says {word!r} no time")
            meta[word] = "-"
    files: dict[str, bytes] = {}
    for path in sorted(bundle.rglob("*")):
        name = path.relative_to(bundle).as_posix()
        if name == "manifest" and path.is_file() and not path.is_symlink():
            continue
        if path.is_symlink() or not path.is_file() or name not in listed:
            report.find(name, "is not in the manifest: it was added")
            continue
        files[name] = path.read_bytes()
        if (hashlib.sha256(files[name]).hexdigest(), len(files[name])) != listed[name]:
            report.find(name, "is not what the manifest says: it was altered")
    for name in listed.keys() - files.keys():
        report.find(name, "is in the manifest and not here: it is missing")
    report.counts["files"] = len(files)
    return meta, files


def _checkpoints(name: str, files: dict[str, bytes], keys: dict[str, Key], report: Report) -> list[Checkpoint]:
    data = files.get(f"{name}.checkpoints")
    if data is None:
        report.find(f"{name}.checkpoints", "is missing, so nothing signs this log")
        return []
    try:
        found = read_checkpoints(data.decode("utf-8", "replace"), keys)
    except ValueError as error:
        report.find(f"{name}.checkpoints", str(error))
        return []
    for before, after in itertools.pairwise(found):
        if after.size < before.size:
            report.find(
                f"{name}.checkpoints", f"the log shrank from {before.size} to {after.size} records: it was rolled back"
            )
    for one in found:
        if one.log != name:
            report.find(f"{name}.checkpoints", f"holds a checkpoint of {one.log!r}")
    report.count("checkpoints", len(found))
    return found


def _follow(
    name: str, lines: list[bytes], checkpoints: list[Checkpoint], report: Report, kept: Roots
) -> Iterator[tuple[int, bytes, bytes]]:
    """(number, line, leaf) of each line; compares every checkpoint with the tree as it was at that size, those kept elsewhere too."""
    wanted: dict[int, set[bytes]] = {}
    for one in checkpoints:
        wanted.setdefault(one.size, set()).add(one.root)
    tree = Tree()
    for number, line in enumerate(lines, 1):
        leaf = bytes.fromhex(line[1:].decode()) if _is_withheld(line) else leaf_hash(line)
        yield number, line, leaf
        tree.add(leaf)
        roots = wanted.pop(tree.size, set())
        if roots - {tree.root()}:
            report.find(
                f"{name}, record {number}",
                "the records up to here are not those that were signed: one was changed, added, left out or moved",
            )
        if kept.get(number, set()) - {tree.root()}:
            report.find(
                f"{name}, record {number}",
                "the log does not extend a checkpoint that was kept elsewhere: it was rolled back or forked",
            )
    for size in kept:
        if size > tree.size or (size == 0 and kept[0] != {Tree().root()}):
            report.find(name, f"a checkpoint that was kept elsewhere says {size} records: it was rolled back")
    for size in wanted:
        if size > tree.size:
            report.find(
                f"{name}, record {tree.size}",
                f"a checkpoint says {size} records, and there are {tree.size}: the end was cut off",
            )
    signed = max((one.size for one in checkpoints), default=0)
    if signed < tree.size:
        report.notes.append(f"{name}: {tree.size - signed} records at the end are not yet under a checkpoint")


def _lines(name: str, files: dict[str, bytes], report: Report) -> list[bytes]:
    data = files.get(name, b"")
    if data and not data.endswith(b"\n"):
        report.find(name, "its last line is cut short")
    return data.removesuffix(b"\n").split(b"\n") if data else []


def _parent(files: dict[str, bytes], keys: Keys, report: Report, kept: Roots) -> list[_Epoch]:
    """The epochs that there were."""
    if "parent.log" not in files:
        report.find("parent.log", "is missing")
        return []
    epochs: dict[int, _Epoch] = {}
    prev = GENESIS
    lines, checkpoints = _lines("parent.log", files, report), _checkpoints("parent", files, keys.named(), report)
    for one in checkpoints:
        if not keys.may_sign(one.signer, one.size):
            report.find("parent.checkpoints", f"{one.signer} signs {one.size} entries, which was not its time")
    for number, line, leaf in _follow("parent", lines, checkpoints, report, kept):
        where = f"parent.log, entry {number}"
        try:
            entry = read_canonical(line)
            if entry["prev"] != prev or entry["n"] != number:
                report.find(where, "does not continue the entry before it")
            epoch = int(entry["epoch"])
            if entry["kind"] == "key_rotated":
                _between(epochs, where, report)
            elif entry["kind"] == "epoch_opened":
                if epoch != max(epochs, default=0) + 1:
                    report.find(where, f"epoch {epoch} follows epoch {max(epochs, default=0)}: there is a gap")
                epochs[epoch] = _Epoch(
                    epoch, leaf.hex(), int(entry["at_ms"]), int(entry.get("run", epoch)), keys.at(number)
                )
            elif epoch not in epochs or epochs[epoch].sealed is not None:
                report.find(where, f"seals epoch {epoch}, which is not open")
            else:
                epochs[epoch].sealed = (entry["size"], entry["root"])
                epochs[epoch].ended_ms = int(entry["at_ms"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            report.find(where, f"is no entry ({error})")
        prev = leaf.hex()
    found = list(epochs.values())
    _runs(found, report)
    return found


def _runs(epochs: list[_Epoch], report: Report) -> None:
    """Epochs of one run may be open together; those of an earlier run are sealed."""
    for before, after in itertools.pairwise(epochs):
        if after.run < before.run:
            report.find("parent.log", f"epoch {after.number} belongs to an earlier run than the one before it")
    for epoch in epochs:
        if epoch.sealed is None and epoch.run != epochs[-1].run:
            report.find("parent.log", f"epoch {epoch.number} was never sealed, and another run follows it")


def _between(epochs: dict[int, _Epoch], where: str, report: Report) -> None:
    if any(epoch.sealed is None for epoch in epochs.values()):
        report.find(where, "the key was exchanged while an epoch was open")


def _epoch(epoch: _Epoch, files: dict[str, bytes], claims: Claims, report: Report, kept: Roots) -> set[str]:
    name = f"{epoch.number:08d}"
    prev, leaves, tree = epoch.link, set[str](), Tree()
    lines = _lines(f"{name}.log", files, report)
    checkpoints = _checkpoints(name, files, {epoch.key.name: epoch.key}, report)
    for number, line, leaf in _follow(name, lines, checkpoints, report, kept):
        where = f"{name}.log, record {number}"
        if _is_withheld(line):
            report.count("records withheld")
            if number == 1:
                report.find(where, "is withheld, and every epoch shows how it was opened")
        else:
            try:
                record = read_canonical(line)
                _frame(record, epoch.number, number, prev, where, report)
                claims.take(record, where)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                report.find(where, f"is no record ({error})")
        prev = leaf.hex()
        leaves.add(prev)
        tree.add(leaf)
    if epoch.sealed is not None and epoch.sealed != (tree.size, tree.root().hex()):
        report.find(
            f"{name}.log", f"was sealed with {epoch.sealed[0]} records under another root than these {tree.size} have"
        )
    report.count("records", tree.size)
    return leaves


def _frame(record: Record, epoch: int, number: int, prev: str, where: str, report: Report) -> None:
    if record["v"] != 1 or record["epoch"] != epoch:
        report.find(where, "belongs to another epoch or version")
    if record["seq"] != number:
        report.find(where, f"has number {record['seq']}: a record is missing, added or moved")
    if record["prev"] != prev:
        report.find(where, "does not continue the record before it")
    if (record["kind"] == "opened") != (number == 1):
        report.find(where, "an epoch begins with the record that opened it, and no other does so")


def _kept_elsewhere(expected: Expected, keys: Keys) -> dict[str, Roots]:
    """Roots by log and size, from checkpoints of an earlier day."""
    found: dict[str, Roots] = {}
    for one in read_checkpoints(expected.checkpoints, keys.named()) if expected.checkpoints else ():
        found.setdefault(one.log, {}).setdefault(one.size, set()).add(one.root)
    return found


def _compare(expected: Expected, keys: dict[str, Key], leaves: dict[str, set[str]], report: Report) -> None:
    """Promises that were given to callers, by the key of their epoch: each record must be here."""
    for log, leaf, signature in expected.promises:
        if log not in keys:
            report.find(f"{log}.log", f"the record {leaf} was promised to be here, and no such epoch is")
        elif not is_promise(keys[log], log, leaf, signature):
            report.find(f"promise of {leaf[:16]}", "was not given by this key")
        elif leaf not in leaves.get(log, set()):
            report.find(f"{log}.log", f"the record {leaf} was promised to be here, and is not: it was left out")
        else:
            report.count("promises kept")
