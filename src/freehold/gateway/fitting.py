"""Fit a call to a target: in its own dialect as it came, else through the canonical form.

Rules: the route whose dialect is the caller's wins, and nothing is lost on it; opaque blobs that a caller brings back from a target of
another dialect are taken out on the way, because only their maker can read them; a conversation is read once for all targets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from freehold.kernel.classes import Zone
from freehold.kernel.errors import CallerError
from freehold.kernel.routes import Route
from freehold.kernel.schema import Abilities
from freehold.kernel.snapshot import Provider, Target
from freehold.perimeter.transforms import Transformed
from freehold.wire.call import COUNTS, STORED, Call, Endpoint
from freehold.wire.canonical import Conversation, Unable
from freehold.wire.dialect import MISSHAPEN, Dialect, guarded
from freehold.wire.dialects import DIALECTS, SPOKEN
from freehold.wire.quiet import hush

DEFAULT_LIMIT = 8192  # output tokens, where a dialect wants a limit and neither the caller nor the price book says one
_ENDPOINT = {
    "openai-chat": Endpoint.CHAT,
    "openai-responses": Endpoint.RESPONSES,
    "anthropic-messages": Endpoint.MESSAGES,
    "gemini": Endpoint.GENERATE,
}
# How a stored answer is asked for: the method, and what stands behind its id.
_OF_STORED = {
    Endpoint.RETRIEVE: ("GET", ""),
    Endpoint.DELETE: ("DELETE", ""),
    Endpoint.CANCEL: ("POST", "/cancel"),
    Endpoint.INPUT_ITEMS: ("GET", "/input_items"),
}


class Unfit(Exception):
    """A target cannot serve this call; the message says why, without content."""


class Fitted(msgspec.Struct, frozen=True):
    """How one target is asked. is_same: answers pass on as they are; lost: what the request could not carry; body: None for none;
    transformed: what was taken out of it, if anything was.
    """

    dialect: Dialect
    route: Route
    path: str
    body: dict[str, Any] | None
    is_same: bool
    lost: frozenset[str] = frozenset()
    method: str = "POST"
    transformed: Transformed | None = None


class Fitter(Protocol):
    """Fits a call to a target; `disguise.Fits` is the one there is."""

    def to(self, target: Target) -> Fitted: ...


class Fitting:
    """Fits one call to any of its targets, and remembers how."""

    def __init__(
        self,
        call: Call,
        abilities: Callable[[Target], Abilities | None],
        zone_of: Callable[[Target], Zone],
        *,
        is_lossless: bool,
    ) -> None:
        self._call, self._abilities, self._zone_of, self._is_lossless = call, abilities, zone_of, is_lossless
        self._talk: Conversation | None = None
        self._fits: dict[Target, Fitted | Unfit] = {}

    def to(self, target: Target, provider: Provider) -> Fitted:
        """Raises Unfit when the target's provider has no way to serve the call."""
        found = self._fits.get(target)
        if found is None:
            try:
                found = self._fit(target, provider)
                if self._zone_of(target) is Zone.ATTESTED and found.body is not None:
                    _hush(found, found.body)
            except Unfit as unfit:
                found = unfit
            self._fits[target] = found
        if isinstance(found, Unfit):
            raise found
        return found

    def _fit(self, target: Target, provider: Provider) -> Fitted:
        call, routes = self._call, provider.routes_to(target.model)
        if target.model in (".", ".."):
            raise Unfit("has a model whose name would change the path")
        own = next((route for route in routes if route.dialect == call.dialect), None)
        if call.endpoint in COUNTS:
            own = own if own is not None and "{endpoint}" in own.path else None
            route = own or (routes[0] if routes else None)
        else:
            route = own or (routes[0] if routes and call.is_conversation else None)
        if route is None:
            raise Unfit(f"does not serve {call.endpoint.value}")
        if call.endpoint in STORED:
            return self._stored(route, target)
        if own is not None and not call.has_foreign:
            return self._passed(own, target)
        if call.needs_state:
            raise Unfit(f"does not hold the state that {call.needs_state!r} refers to")
        if call.endpoint in COUNTS:
            raise Unfit("cannot count tokens for this dialect")
        return self._translated(route, target)

    def _passed(self, route: Route, target: Target) -> Fitted:
        call = self._call
        body = {**call.body, **route.adds}
        if route.names_model:
            body["model"] = target.model
        else:
            body.pop("model", None)
        SPOKEN[call.dialect].pass_on(call, body, route.traits)
        path = route.path_for(call.endpoint, target.model, is_stream=call.is_stream)
        return Fitted(DIALECTS[call.dialect], route, path, body, is_same=True)

    def _stored(self, route: Route, target: Target) -> Fitted:
        call, (method, below) = self._call, _OF_STORED[self._call.endpoint]
        path, mark, query = route.path_for(Endpoint.RESPONSES, target.model, is_stream=False).partition("?")
        asked = "&".join(part for part in (query if mark else "", call.query) if part)
        path = f"{path}/{quote(call.refers, safe='')}{below}{'?' if asked else ''}{asked}"
        return Fitted(DIALECTS[call.dialect], route, path, None, is_same=True, method=method)

    def _translated(self, route: Route, target: Target) -> Fitted:
        call, dialect, lost = self._call, DIALECTS[route.dialect], set[str]()
        talk = self._conversation()
        if dialect.needs_limit and talk.max_output is None:
            abilities = self._abilities(target)
            talk = msgspec.structs.replace(
                talk, max_output=(abilities.max_output if abilities else None) or DEFAULT_LIMIT
            )
        try:
            body = dialect.write_request(talk, target.model, route.traits, lost)
        except Unable as unable:
            raise Unfit(f"cannot take {unable.feature.value}") from None
        except MISSHAPEN:
            raise Unfit("cannot be given a conversation that is not shaped as its dialect has it") from None
        if lost and self._is_lossless:
            raise Unfit(f"would lose {', '.join(sorted(lost))}, and the workload is lossless")
        body |= route.adds
        if not route.names_model:
            body.pop("model", None)
        endpoint = _ENDPOINT.get(route.dialect, call.endpoint)
        path = route.path_for(endpoint, target.model, is_stream=call.is_stream)
        return Fitted(dialect, route, path, body, is_same=False, lost=frozenset(lost))

    def _conversation(self) -> Conversation:
        if self._talk is None:
            try:
                self._talk = guarded(SPOKEN[self._call.dialect], self._call)
            except CallerError as error:
                raise Unfit(error.text) from None
            self._talk.is_stream = self._call.is_stream
        return self._talk


def _hush(fitted: Fitted, body: dict[str, Any]) -> None:
    """Make a body honour the agreement of its target. Raises Unfit if what is asked for cannot be had without leaving something there."""
    why = hush(fitted.dialect.name, body)
    if why:
        raise Unfit(f"is attested, and the call {why}")
    for field, more in fitted.route.adds_attested.items():
        own = body.get(field)
        body[field] = {**(own if isinstance(own, dict) else {}), **more}
