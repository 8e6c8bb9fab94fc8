"""The data plane: plain ASGI, no framework. Its routes are the rows of `ROUTES` and nothing else.

Rules: a body is counted as it arrives and never buffered past the limit; a caller that leaves cancels its call at once; a
caller that dribbles is cut off; nothing that a request holds names a host.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from freehold.gateway.admission import Caller, admit, wanted
from freehold.gateway.delivery import Headers
from freehold.gateway.logs import log_bug
from freehold.gateway.pipeline import refuse, serve
from freehold.gateway.protocol import SCOPE_KEY
from freehold.gateway.world import World, served_names
from freehold.kernel.errors import Bug, CallerError, FreeholdError, OperatorError
from freehold.perimeter.ruling import rule
from freehold.wire import openai_chat as wire
from freehold.wire.call import Endpoint

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

# path → (method, role that it needs, what it is). The admin plane's table stands in admin_app.py.
ROUTES: dict[str, tuple[str, str, Endpoint | str]] = {
    "/v1/chat/completions": ("POST", "caller", Endpoint.CHAT),
    "/v1/completions": ("POST", "caller", Endpoint.COMPLETIONS),
    "/v1/embeddings": ("POST", "caller", Endpoint.EMBEDDINGS),
    "/v1/models": ("GET", "caller", "models"),
    "/healthz": ("GET", "anyone", "healthz"),
    "/readyz": ("GET", "anyone", "readyz"),
}


class DataApp:
    """The ASGI application of port 4000."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise Bug(f"unexpected {scope['type']} scope", code="asgi.scope")
        reply = AsgiReply(send)
        try:
            await self._route(scope, receive, reply)
        except FreeholdError as error:
            await self._fail(error, reply)
        except (
            Exception
        ) as error:  # the border: a bug is answered as 500 and named in the log by its type and place alone
            log_bug(error)
            await self._fail(Bug("Freehold itself failed.", code="bug", hint="The log says where."), reply)

    async def _route(self, scope: Scope, receive: Receive, reply: AsgiReply) -> None:
        path = scope["path"]
        route = ROUTES.get(path) or (ROUTES["/v1/models"] if path.startswith("/v1/models/") else None)
        if route is None:
            raise CallerError(
                f"There is no {path[:200]!r} here.",
                code="request.unknown_path",
                status=404,
                hint=f"Paths: {', '.join(ROUTES)}.",
            )
        method, _, endpoint = route
        if scope["method"] != method:
            raise CallerError(f"{path[:200]} takes {method}.", code="request.method", status=405)
        if endpoint in ("healthz", "readyz"):
            await self._health(endpoint, reply)
            return
        values = wanted(scope["headers"])
        caller = admit(self.world, values, scope["query_string"])
        if self.world.is_draining:
            raise OperatorError("Freehold is shutting down.", code="server.draining", retry_after_s=1)
        if not isinstance(endpoint, Endpoint):
            await self._models(caller, path, reply)
            return
        raw = await self._body(values, receive)
        await self._call(caller, endpoint, raw, scope, reply)

    async def _call(self, caller: Caller, endpoint: Endpoint, raw: bytes, scope: Scope, reply: AsgiReply) -> None:
        """Serve; the connection cancels this task when the caller leaves."""
        connection = scope[SCOPE_KEY]
        connection.serving = asyncio.current_task()
        self.world.metrics.in_flight.inc()
        try:
            await serve(self.world, caller, endpoint, raw, reply)
        except asyncio.CancelledError:
            if not connection.transport.is_closing():
                raise  # the server is being stopped; else there is nobody left to answer
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

    async def _health(self, which: str, reply: AsgiReply) -> None:
        ok, words = (True, "ok") if which == "healthz" else readiness(self.world)
        await reply.whole(
            200 if ok else 503, [(b"content-type", b"application/json")], json.dumps({"status": words}).encode()
        )

    async def _models(self, caller: Caller, path: str, reply: AsgiReply) -> None:
        """List what this key may call."""
        names = visible_models(self.world, caller)
        if path.startswith("/v1/models/"):
            name = path.removeprefix("/v1/models/")
            if name not in names:
                raise CallerError(
                    f"The model {name[:200]!r} is not known here.", code="routing.unknown_model", status=404
                )
            body = wire.write_model(name, names[name])
        else:
            body = wire.write_models(list(names.items()))
        await reply.whole(200, [(b"content-type", b"application/json")], body)

    async def _fail(self, error: FreeholdError, reply: AsgiReply) -> None:
        if not reply.has_begun:
            await refuse(error, reply, [(b"connection", b"close")] if error.status in (408, 413) else [])


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
    if world.is_draining:
        return False, "draining"
    if world.ledger.failure is not None:
        return False, f"the ledger cannot be written: {world.ledger.failure}"
    if not world.engine_ready():
        return False, "the embedded engine is starting"
    return True, "ready"


def visible_models(world: World, caller: Caller) -> dict[str, str]:
    """Names that a key may call: its own workload, or every workload and every target in a zone that its class allows."""
    snapshot = world.snapshot
    if caller.key.workload is not None:
        return {caller.key.workload: "workload"}
    zones = rule(caller.declared(None), snapshot).zones
    names = served_names(world.fleet, snapshot)
    return {name: owner for name, owner in names.items() if owner == "workload" or world.zone_of(owner) in zones}


def _too_large(limit: int) -> CallerError:
    return CallerError(
        f"The body is larger than {limit} bytes.",
        code="request.too_large",
        status=413,
        hint="An administrator can raise [server] max_body_bytes.",
    )
