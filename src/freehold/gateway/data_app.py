"""The data plane: plain ASGI, no framework. Its routes are the rows of `ROUTES` and nothing else.

Rules: a body is counted as it arrives and never buffered past the limit; a caller that leaves cancels its call at once; a
caller that dribbles is cut off; nothing that a request holds names a host.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

from freehold.gateway.admission import Caller, admit, secret_of, wanted
from freehold.gateway.delivery import Headers
from freehold.gateway.filing import Filing, Wanted, file_away
from freehold.gateway.logs import log_bug
from freehold.gateway.openapi import describe
from freehold.gateway.pipeline import refuse, serve
from freehold.gateway.policy import served_names
from freehold.gateway.protocol import SCOPE_KEY, FreeholdProtocol
from freehold.gateway.run import Asked
from freehold.gateway.world import World
from freehold.kernel.errors import Bug, CallerError, FreeholdError, OperatorError
from freehold.perimeter.ruling import rule
from freehold.wire.call import Address, Endpoint
from freehold.wire.dialect import Model
from freehold.wire.dialects import SPOKEN

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

# path → (method, role that it needs, what it is). The admin plane's table stands in admin_app.py.
# A path that ends in `/*` has a model's name there; Gemini's says after a colon what is to be done with it.
# `{id}` is that of a stored answer, with what each method does to it.
Meaning = Asked | str | dict[str, Endpoint] | dict[str, Filing]
ROUTES: dict[str, tuple[str, str, Meaning]] = {
    "/v1/chat/completions": ("POST", "caller", Asked("openai-chat", Endpoint.CHAT)),
    "/v1/completions": ("POST", "caller", Asked("openai-chat", Endpoint.COMPLETIONS)),
    "/v1/embeddings": ("POST", "caller", Asked("openai-chat", Endpoint.EMBEDDINGS)),
    "/v1/rerank": ("POST", "caller", Asked("openai-chat", Endpoint.RERANK)),
    "/v1/moderations": ("POST", "caller", Asked("openai-chat", Endpoint.MODERATIONS)),
    "/v1/responses": ("POST", "caller", Asked("openai-responses", Endpoint.RESPONSES)),
    "/v1/responses/{id}": ("GET, DELETE", "caller", {"GET": Endpoint.RETRIEVE, "DELETE": Endpoint.DELETE}),
    "/v1/responses/{id}/cancel": ("POST", "caller", {"POST": Endpoint.CANCEL}),
    "/v1/responses/{id}/input_items": ("GET", "caller", {"GET": Endpoint.INPUT_ITEMS}),
    "/v1/files": ("GET, POST", "caller", {"GET": Filing.FILES, "POST": Filing.UPLOAD}),
    "/v1/files/{id}": ("GET, DELETE", "caller", {"GET": Filing.FILE, "DELETE": Filing.DELETE}),
    "/v1/files/{id}/content": ("GET", "caller", {"GET": Filing.CONTENT}),
    "/v1/batches": ("GET, POST", "caller", {"GET": Filing.BATCHES, "POST": Filing.BATCH}),
    "/v1/batches/{id}": ("GET", "caller", {"GET": Filing.STATUS}),
    "/v1/batches/{id}/cancel": ("POST", "caller", {"POST": Filing.CANCEL}),
    "/v1/messages": ("POST", "caller", Asked("anthropic-messages", Endpoint.MESSAGES)),
    "/v1/messages/count_tokens": ("POST", "caller", Asked("anthropic-messages", Endpoint.COUNT_TOKENS)),
    "/v1beta/models/*": ("POST", "caller", Asked("gemini", Endpoint.GENERATE)),
    "/v1/models": ("GET", "caller", "models"),
    "/v1/models/*": (
        "GET",
        "caller",
        "models",
    ),  # POST, with a verb behind a colon: Gemini's, whose SDK uses both versions
    "/v1beta/models": ("GET", "caller", "models"),
    "/openapi.json": ("GET", "anyone", "openapi"),
    "/healthz": ("GET", "anyone", "healthz"),
    "/readyz": ("GET", "anyone", "readyz"),
}
VERBS = {
    "generateContent": (Endpoint.GENERATE, False),
    "streamGenerateContent": (Endpoint.GENERATE, True),
    "countTokens": (Endpoint.GEMINI_COUNT, False),
}


_GEMINI = tuple(f":{verb}" for verb in VERBS)
_OF_STORED = re.compile(r"/v1/responses/(?P<id>[^/]{1,200})(?P<below>/cancel|/input_items)?")
_FILED = re.compile(r"/v1/(?P<kind>files|batches)(?:/(?P<id>[^/]{1,200})(?P<below>/content|/cancel)?)?")
_QUERY = frozenset(
    ["stream", "starting_after", "include", "include[]", "include_obfuscation", "after", "before", "limit", "order"]
)


def find_route(path: str, method: str, query: bytes) -> tuple[str, Asked | Wanted | str]:
    """The role and the meaning of a path. Raises CallerError 404 or 405."""
    route: tuple[str, str, Meaning] | None = ROUTES.get(path) if "{" not in path else None
    if route is None and (stored := _OF_STORED.fullmatch(path)):
        return _of_stored(stored["id"], stored["below"] or "", method, query)
    if (filed := _FILED.fullmatch(path)) and (found := _of_filed(filed, method, query)) is not None:
        return found
    base = next((known for known in ("/v1beta/models/", "/v1/models/") if path.startswith(known)), None)
    if route is None and base is not None:
        route = _of_model(path.removeprefix(base), method, query) or ROUTES[f"{base}*"]
    if route is None:
        raise CallerError(
            f"There is no {path[:200]!r} here.",
            code="request.unknown_path",
            status=404,
            hint=f"Paths: {', '.join(ROUTES)}.",
        )
    role, what = route[1:]
    if method != route[0] or isinstance(what, dict):
        raise CallerError(f"{path[:200]} takes {route[0]}.", code="request.method", status=405)
    return role, what


def _of_stored(stored: str, below: str, method: str, query: bytes) -> tuple[str, Asked]:
    """What is asked of a stored answer: its id, and those of the query's words that mean something."""
    methods, role, what = ROUTES[f"/v1/responses/{{id}}{below}"]
    if not isinstance(what, dict) or method not in what:
        raise CallerError(f"/v1/responses/{{id}}{below} takes {methods}.", code="request.method", status=405)
    words = [pair for pair in parse_qsl(query.decode("latin-1")) if pair[0] in _QUERY]
    endpoint = Endpoint(what[method])
    is_stream = endpoint is Endpoint.RETRIEVE and ("stream", "true") in words
    return role, Asked("openai-responses", endpoint, Address("", is_stream, stored=stored, query=urlencode(words)))


def _of_filed(filed: re.Match[str], method: str, query: bytes) -> tuple[str, Wanted] | None:
    """What is asked of a file or a batch, or of all of them."""
    path = f"/v1/{filed['kind']}" + ("/{id}" if filed["id"] else "") + (filed["below"] or "")
    if path not in ROUTES:
        return None
    methods, role, what = ROUTES[path]
    if not isinstance(what, dict) or method not in what:
        raise CallerError(f"{path} takes {methods}.", code="request.method", status=405)
    return role, Wanted(Filing(what[method]), filed["id"] or "", query)


def _of_model(rest: str, method: str, query: bytes) -> tuple[str, str, Meaning] | None:
    """What a path below a model's name asks for: the model itself, or one of Gemini's verbs behind a colon."""
    if method == "GET":
        return ROUTES["/v1/models"]
    model, _, verb = rest.rpartition(":")
    if verb not in VERBS or not model:
        return None
    endpoint, is_stream = VERBS[verb]
    framing = "json" if is_stream and b"alt=sse" not in query else "sse"
    return ("POST", "caller", Asked("gemini", endpoint, Address(model, is_stream, framing)))


def dialect_of(scope: Scope) -> str:
    """The dialect in which a request wants to be answered, whatever it asks for."""
    path, names = scope["path"], {name for name, _ in scope["headers"]}
    if path.startswith("/v1beta/") or path.endswith(_GEMINI) or b"x-goog-api-key" in names:
        return "gemini"
    if path.startswith("/v1/messages") or b"anthropic-version" in names:
        return "anthropic-messages"
    return "openai-chat"


class DataApp:
    """The ASGI application of port 4000."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._openapi = json.dumps(describe(ROUTES, VERBS)).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise Bug(f"unexpected {scope['type']} scope", code="asgi.scope")
        reply = AsgiReply(send)
        try:
            await self._route(scope, receive, reply)
        except FreeholdError as error:
            await self._fail(error, reply, scope)
        except asyncio.CancelledError:
            if scope[SCOPE_KEY].transport.is_closing():
                return  # there is nobody left to answer
            if reply.has_begun:
                raise
            stopped = "Freehold was stopped before this call had its answer."
            await self._fail(OperatorError(stopped, code="server.draining", retry_after_s=1), reply, scope)
        except (
            Exception
        ) as error:  # the border: a bug is answered as 500 and named in the log by its type and place alone
            log_bug(error)
            await self._fail(Bug("Freehold itself failed.", code="bug", hint="The log says where."), reply, scope)

    async def _route(self, scope: Scope, receive: Receive, reply: AsgiReply) -> None:
        path = scope["path"]
        _, asked = find_route(path, scope["method"], scope["query_string"])
        if asked in ("healthz", "readyz"):
            await self._health(str(asked), reply)
            return
        if asked == "openapi":
            await reply.whole(200, [(b"content-type", b"application/json")], self._openapi)
            return
        values = wanted(scope["headers"])
        if self.world.snapshot.machines:
            await self.world.machines.learn(secret_of(values), self.world.snapshot.machines)
        caller = admit(self.world, values, scope["query_string"])
        if isinstance(asked, Wanted):
            await file_away(self.world, caller, asked, self._parts(scope, receive), reply)
            return
        if not isinstance(asked, Asked):
            await self._models(caller, scope, reply)
            return
        if asked.endpoint is Endpoint.GENERATE and not asked.address.model:
            raise CallerError(
                f"{path[:200]!r} does not say what to do.",
                code="request.unknown_path",
                status=404,
                hint="Write models/NAME:generateContent.",
            )
        raw = await self._body(values, receive)
        await self._call(caller, asked, raw, scope, reply)

    async def _call(self, caller: Caller, asked: Asked, raw: bytes, scope: Scope, reply: AsgiReply) -> None:
        """Serve; the connection cancels this task when the caller leaves."""
        connection = scope[SCOPE_KEY]
        connection.serving = asyncio.current_task()
        self.world.metrics.in_flight.inc()
        try:
            await serve(self.world, caller, asked, raw, reply)
        finally:
            self.world.metrics.in_flight.dec()
            connection.serving = None

    async def _body(self, values: dict[bytes, str], receive: Receive) -> bytes:
        """Read the body, counting. Raises CallerError 413. How long it may take is the connection's to say."""
        limits = self.world.snapshot.server
        length = values.get(b"content-length", "")
        if length.isdigit() and int(length) > limits.max_body_bytes:
            raise _too_large(limits.max_body_bytes)
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise CallerError(
                    "The caller left, or was too slow, before the body was complete.", code="request.incomplete"
                )
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > limits.max_body_bytes:
                raise _too_large(limits.max_body_bytes)
            parts.append(part)
            if not message.get("more_body"):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _parts(self, scope: Scope, receive: Receive) -> AsyncIterator[bytes]:
        """A body as it comes, of any size: while something comes, its time is not over."""
        connection: FreeholdProtocol = scope[SCOPE_KEY]
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise CallerError("The caller left before the body was complete.", code="request.incomplete")
            connection.go_on()
            yield message.get("body", b"")
            if not message.get("more_body"):
                return

    async def _health(self, which: str, reply: AsgiReply) -> None:
        ok, words = (True, "ok") if which == "healthz" else readiness(self.world)
        await reply.whole(
            200 if ok else 503, [(b"content-type", b"application/json")], json.dumps({"status": words}).encode()
        )

    async def _models(self, caller: Caller, scope: Scope, reply: AsgiReply) -> None:
        """List what this key may call."""
        names, spoken = visible_models(self.world, caller), SPOKEN[dialect_of(scope)]
        _, _, name = scope["path"].partition("/models/")
        if name:
            if name not in names:
                raise CallerError(
                    f"The model {name[:200]!r} is not known here.", code="routing.unknown_model", status=404
                )
            body = spoken.write_model(Model(name, names[name]))
        else:
            body = spoken.write_models([Model(one, owner) for one, owner in names.items()])
        await reply.whole(200, [(b"content-type", b"application/json")], body)

    async def _fail(self, error: FreeholdError, reply: AsgiReply, scope: Scope) -> None:
        if not reply.has_begun:
            is_last = error.status in (408, 413) or error.code == "server.draining"
            headers = [(b"connection", b"close")] if is_last else []
            await refuse(error, reply, headers, dialect_of(scope))


class AsgiReply:
    """Sends an answer through ASGI."""

    __slots__ = ("_send", "has_begun")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        self.has_begun = True
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*headers, (b"content-length", str(len(body)).encode())],
            }
        )
        await self._send({"type": "http.response.body", "body": body})

    async def begin(self, headers: Headers) -> None:
        self.has_begun = True
        await self._send(
            {"type": "http.response.start", "status": 200, "headers": [*headers, (b"cache-control", b"no-cache")]}
        )

    async def part(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})


def readiness(world: World) -> tuple[bool, str]:
    """Whether calls can be served now, and if not, why."""
    if world.is_draining and not world.has_successor:
        return False, "draining"
    if world.ledger.failure is not None:
        return False, f"the ledger cannot be written: {world.ledger.failure}"
    if world.snapshot.nodes is not None and not world.keys.is_in_step(world.snapshot.nodes.copy_s):
        return False, "it has not heard from the other nodes which keys are good"
    if not world.engine_ready():
        return False, "the embedded engine is starting"
    return True, "ready"


def visible_models(world: World, caller: Caller) -> dict[str, str]:
    """Names that a key may call: its own workload, or every workload and every target in a zone that its class allows."""
    snapshot = world.snapshot
    if caller.key.workload is not None:
        return {caller.key.workload: "workload"}
    zones = rule(caller.declared(None), snapshot).zones
    names = served_names(world.policy.fleet, snapshot)
    allowed = {target.name for target in world.policy.fleet.abilities if world.policy.zone_of(target) in zones}
    return {name: owner for name, owner in names.items() if owner == "workload" or name in allowed}


def _too_large(limit: int) -> CallerError:
    return CallerError(
        f"The body is larger than {limit} bytes.",
        code="request.too_large",
        status=413,
        hint="An administrator can raise [server] max_body_bytes.",
    )
