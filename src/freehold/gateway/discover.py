"""Look at what is there: known key variables and local servers. Writes the configuration that says so.

Rules: what is found becomes the text of a `freehold.toml`, read by the same reader as a person's; a local server counts as `inside` only if it
says what it is (a proxy on the same port may well send everything out), and only the models that it runs itself.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from freehold.kernel.classes import Zone
from freehold.kernel.errors import UpstreamError
from freehold.kernel.schema import Timeouts
from freehold.kernel.snapshot import Provider, ProviderRow
from freehold.perimeter.ruling import grant_probe
from freehold.upstream.door import ServedModel, list_models
from freehold.upstream.transport import Transport

PROBE_DEADLINE_S = 0.5
# What each local server writes as the owner of a model that it runs itself; Ollama's cloud models run on its maker's machines.
OWNERS = {"ollama": "library", "vllm": "vllm", "llamacpp": "llamacpp"}


@dataclass(frozen=True, slots=True)
class Found:
    """One provider that is there: its row, why, and for a local server the models that it runs itself."""

    row: ProviderRow
    why: str
    models: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        return self.row.port is not None


async def discover(
    env: Mapping[str, str], rows: Mapping[str, ProviderRow], transport: Transport, *, now_s: float
) -> list[Found]:
    """Find providers by their key variables and by asking the usual loopback ports (all at once, half a second at most)."""
    found = [Found(row, f"{row.key_env} is set") for row in rows.values() if _is_usable(row, env)]
    local = [row for row in rows.values() if row.port is not None]
    answers = await asyncio.gather(*(_probe(row, transport, now_s) for row in local))
    return found + [one for one in answers if one is not None]


def _is_usable(row: ProviderRow, env: Mapping[str, str]) -> bool:
    """A key is there, and an address that does not depend on whose account it is."""
    return bool(row.key_env and env.get(row.key_env)) and "{" not in row.base_url


async def _probe(row: ProviderRow, transport: Transport, now_s: float) -> Found | None:
    provider = Provider(
        name=row.name,
        base_url=row.base_url,
        host="127.0.0.1",
        is_tls=False,
        declared_zone=Zone.INSIDE,
        why="probe",
        timeouts=Timeouts(connect=PROBE_DEADLINE_S),
        uses_proxy=False,
    )
    try:
        served = await list_models(
            transport, grant_probe(replace(provider), now_s=now_s, at_s=time.monotonic()), deadline_s=PROBE_DEADLINE_S
        )
    except UpstreamError:
        return None
    own = tuple(model.id for model in served if is_own(row.name, model))
    return Found(row, f"{row.title} answers on port {row.port}", own) if own else None


def is_own(provider: str, model: ServedModel) -> bool:
    """Whether a local server runs this model itself, by its own words."""
    return model.owned_by == OWNERS.get(provider) and not model.id.endswith(("-cloud", ":cloud"))


def as_toml(found: list[Found]) -> str:
    """Write what was found as a commented `freehold.toml`."""
    parts = [_HEAD]
    for one in found:
        lines = [f"[providers.{one.row.name}]  # {one.why}"]
        if one.is_local:
            lines += [
                f"base_url = {json.dumps(one.row.base_url)}",
                'zone     = "inside"',
                f"models   = {json.dumps(list(one.models))}",
            ]
        else:
            lines += [f'key  = "env:{one.row.key_env}"', 'zone = "outside"']
        parts.append("\n".join(lines))
    if not found:
        parts.append(
            '# No key variable is set and no local server answers: the built-in model is all there is.\n# [providers.openai]\n# key = "env:OPENAI_API_KEY"'
        )
    parts.append(_TAIL)
    return "\n\n".join(parts) + "\n"


_HEAD = """\
# freehold.toml: the only truth for providers, classes, workloads and budgets.
# Unknown keys are errors; `freehold check` says what is wrong, and proves that nothing can leave its zones.
# Secrets are references ("env:NAME" or "file:PATH"), never literals. The provider `builtin` is always there."""

_TAIL = """\
# Where calls of each class may go; these are the defaults.
# [classes]
# public       = ["inside", "attested", "outside"]
# internal     = ["inside", "attested", "outside"]
# confidential = ["inside", "attested"]
# restricted   = ["inside"]

# A workload: applications name it as their `model`; targets are tried in order.
# [workloads.support]
# class   = "restricted"
# targets = ["builtin/hearth"]"""
