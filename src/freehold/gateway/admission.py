"""Step 1: who calls, and what the key declares."""

from __future__ import annotations

import re

import msgspec

from freehold.gateway.world import World
from freehold.identity.keys import Key, Keys
from freehold.kernel.classes import Class
from freehold.kernel.errors import CallerError, OperatorError
from freehold.kernel.snapshot import Nodes
from freehold.perimeter.ruling import Declared

Headers = list[tuple[bytes, bytes]]
PASSED = frozenset({b"anthropic-version", b"anthropic-beta", b"openai-beta"})  # what goes on to a target of its dialect
_WANTED = frozenset(
    {
        b"authorization",
        b"content-length",
        b"x-freehold-class",
        b"x-freehold-workload",
        b"x-freehold-no-fallback",
        b"x-freehold-no-capture",
        b"x-api-key",
        b"x-goog-api-key",
        b"cache-control",
        b"content-type",
        b"traceparent",
        *PASSED,
    }
)
_is_flags = re.compile(r"[A-Za-z0-9_.=, -]{0,512}").fullmatch


class Caller(msgspec.Struct, frozen=True):
    """One admitted request: its key and the few headers that mean something. `values` holds only wanted headers."""

    key: Key
    values: dict[bytes, str]

    def declared(self, workload: str | None, referred: Class | None = None) -> Declared:
        return Declared(
            key=self.key.class_,
            bound=self.key.workload,
            workload=workload,
            raised=self.values.get(b"x-freehold-class"),
            referred=referred,
        )

    @property
    def passed(self) -> list[str]:
        """What of the headers goes on to a target of their dialect."""
        return [value for name, value in self.values.items() if name in PASSED]

    @property
    def passed_on(self) -> list[tuple[str, str]]:
        """The same with their names, in one order."""
        return sorted((name.decode(), value) for name, value in self.values.items() if name in PASSED)

    @property
    def cache_control(self) -> str:
        """`no-cache`: the answer is to be a new one; `no-store`: it is not to be kept."""
        return self.values.get(b"cache-control", "").lower()

    @property
    def named_workload(self) -> str | None:
        return self.values.get(b"x-freehold-workload")

    @property
    def allows_fallback(self) -> bool:
        return not _is_yes(self.values.get(b"x-freehold-no-fallback", ""))

    @property
    def allows_capture(self) -> bool:
        """Whether the call may be kept as a case, where its workload keeps some."""
        return not _is_yes(self.values.get(b"x-freehold-no-capture", ""))


def _is_yes(value: str) -> bool:
    return value.lower() in ("1", "true", "yes")


def wanted(headers: Headers) -> dict[bytes, str]:
    """Pick the headers that mean something. Raises CallerError if one of them is given twice, or goes on and is no list of names."""
    found: dict[bytes, str] = {}
    for name, value in headers:
        if name in _WANTED:
            if name in found and name == b"traceparent":
                found[name] = ""  # several are none (W3C Trace Context, 3.2)
                continue
            if name in found and name != b"cache-control":
                raise CallerError(f"The header {name.decode('latin-1')} is given twice.", code="request.header")
            found[name] = value.decode("latin-1").strip()
            if name in PASSED and not _is_flags(found[name]):
                raise CallerError(
                    f"The header {name.decode('latin-1')} holds no names of features.", code="request.header"
                )
    return found


def admit(world: World, values: dict[bytes, str], query: bytes) -> Caller:
    """Check the key. Raises CallerError 401; the answer is the same for every wrong key."""
    secret = secret_of(values)
    if not secret:
        hint = (
            "Keys in the address are never read, because addresses end up in logs."
            if b"key" in query.lower() or b"fh-" in query
            else "Send 'Authorization: Bearer fh-…', or x-api-key or x-goog-api-key."
        )
        raise CallerError("A key is needed.", code="auth.missing", status=401, hint=hint)
    world.keys.refresh(world.clock.monotonic_s())
    if world.snapshot.nodes is not None:
        check_copy(world.keys, world.snapshot.nodes)
    key = world.keys.find(secret)
    if key is None:
        world.keys.refresh()  # it may have been made this moment: asking costs microseconds
        key = world.keys.find(secret) or _of_machine(world, secret)
    if key is None:
        raise CallerError(
            "This key is not known, or has ended.",
            code="auth.unknown_key",
            status=401,
            hint="Make one with 'freehold keys create'.",
        )
    return Caller(key, values)


def check_copy(keys: Keys, nodes: Nodes) -> None:
    """Raises OperatorError `nodes.unavailable` where this node's copy of the keys is too old to be believed, or there is none yet."""
    if not keys.is_in_step(nodes.copy_s):
        raise OperatorError(
            "This node has not heard for too long which keys are good.",
            code="nodes.unavailable",
            hint="Check Postgres, and [nodes] copy.",
            retry_after_s=2.0,
        )


def _of_machine(world: World, token: str) -> Key | None:
    """The key of the machine whose signed token that is, if it was learnt."""
    machine = world.machines.find(token, world.snapshot.machines)
    return world.keys.of_machine(machine) if machine is not None else None


def secret_of(values: dict[bytes, str]) -> str:
    """The key, in whichever header the caller's SDK puts it. Of several, a dialect's own header counts."""
    for header in (b"x-api-key", b"x-goog-api-key"):
        if value := values.get(header):
            return value
    scheme, _, secret = values.get(b"authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""
