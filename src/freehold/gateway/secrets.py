"""Secrets that lie elsewhere: in a Vault (or OpenBao) that keeps them, or in what a command prints.

Rules: a vault is asked through the door, with a grant for this errand; a command is started as it stands, without a shell. No error and no log holds
what was found, or what a command said.
"""

from __future__ import annotations

import asyncio
import shlex
import subprocess
import time
from urllib.parse import quote

import msgspec

from freehold.kernel.errors import FreeholdError, OperatorError
from freehold.kernel.snapshot import Vault
from freehold.perimeter.ruling import grant_errand
from freehold.upstream.transport import HttpTransport, Request

COMMAND_S, VAULT_S = 30.0, 10.0
_LONGEST = 256 * 1024


def fetch(reference: str, vault: Vault | None) -> str:
    """What a reference `vault:PATH#FIELD` or `command:PROGRAM …` holds. Not from within a running loop. Raises OperatorError `config.secret`."""
    kind, _, rest = reference.partition(":")
    if kind == "command":
        return _printed(rest)
    if vault is None:
        raise _refusal("there is no vault to look in", "Add [vault] with its address.")
    try:
        return asyncio.run(_looked_up(vault, rest))
    except OperatorError:
        raise
    except (FreeholdError, TimeoutError) as error:
        code = error.code if isinstance(error, FreeholdError) else "no answer in time"
        raise _refusal(f"the vault cannot be asked ({code})", "Check [vault] address, and the network.") from None


def _printed(line: str) -> str:
    try:
        found = subprocess.check_output(  # noqa: S603 - it stands in the configuration
            shlex.split(line), timeout=COMMAND_S, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return found.decode().strip()
    except subprocess.CalledProcessError as error:
        raise _refusal(f"the command ended with {error.returncode}", "Run it by hand to see what it says.") from None
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:
        raise _refusal(f"the command cannot be run ({type(error).__name__})", "Run it by hand.") from None


async def _looked_up(vault: Vault, reference: str) -> str:
    """Read one field of a secret of the engine KV version 2: `MOUNT/PATH#FIELD`, or as its API spells it, `MOUNT/data/PATH#FIELD`."""
    path, mark, field = reference.partition("#")
    mount, _, below = path.strip("/").partition("/")
    if not mark or not field or not mount or not below:
        raise _refusal(f"{reference[:200]!r} names no field of a secret", 'Write "vault:MOUNT/PATH#FIELD".')
    headers = {"X-Vault-Token": vault.token.value, "X-Vault-Request": "true"}
    if vault.namespace:
        headers["X-Vault-Namespace"] = vault.namespace
    whole = path.strip("/") if "/data/" in path else f"{mount}/data/{below}"
    where = f"{vault.path}/v1/{quote(whole)}"
    transport = HttpTransport(ca_bundle=vault.ca_bundle)
    try:
        async with asyncio.timeout(VAULT_S):
            permit = grant_errand(vault.provider, b"", now_s=time.time(), at_s=time.monotonic())
            answer = await transport.send(permit, Request("GET", where, None, headers, longest=_LONGEST))
            body = await answer.whole()
            answer.finish()
    finally:
        await transport.close()
    if answer.status != 200:
        raise _refusal(f"the vault answers {answer.status} for {path!r}", _WHY.get(answer.status, "Ask who runs it."))
    try:
        found = msgspec.json.decode(body, type=_Kept).data.data[field]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise _refusal(f"what lies at {path!r} is no secret of the engine KV version 2", "Check the mount.") from None
    except KeyError:
        raise _refusal(f"{path!r} has no field {field!r}", "Check the field's name.") from None
    if not isinstance(found, str):
        raise _refusal(f"the field {field!r} of {path!r} is no text", "Store it as a string.")
    return found


class _Version(msgspec.Struct):
    data: dict[str, object]


class _Kept(msgspec.Struct):
    data: _Version


_WHY = {403: "Its token may not read that; check its policy.", 404: "There is no such secret, or it was deleted."}


def _refusal(why: str, hint: str) -> OperatorError:
    return OperatorError(f"A secret cannot be read: {why}.", code="config.secret", hint=hint)
