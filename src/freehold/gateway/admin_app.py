"""The admin plane, on loopback: health, metrics, keys, people, usage. Its own app with its own route table.

Rules: every route stands in `ROUTES` with whose it is, and nothing answers before that was looked at; what a session changes comes from our own pages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from freehold.gateway import administration as doing
from freehold.gateway.administration import Who
from freehold.gateway.data_app import readiness
from freehold.gateway.logs import log, log_bug
from freehold.gateway.presence import cookie_of, identify
from freehold.gateway.sign_in import BACK, WAIT_S, way_of
from freehold.gateway.world import World
from freehold.identity.people import People
from freehold.kernel.errors import Bug, CallerError, FreeholdError, OperatorError, PolicyRefusal
from freehold.kernel.snapshot import SignIn

T = TypeVar("T")
Answer = Awaitable[Response]
_EVERYBODY = ("developer", "lead", "auditor", "admin")
_LONGEST = 64 * 1024


class Row(NamedTuple):
    """One route. roles: any of them will do; `anyone` needs none, `local` is whoever asks from loopback as long as nobody can sign in."""

    method: str
    path: str
    roles: tuple[str, ...]


ROUTES = (
    Row("GET", "/healthz", ("anyone",)),
    Row("GET", "/readyz", ("anyone",)),
    Row("GET", "/sign-in", ("anyone",)),
    Row("GET", BACK, ("anyone",)),
    Row("POST", "/sign-out", ("anyone",)),
    Row("GET", "/metrics", ("local", "admin")),
    Row("GET", "/api/me", ("anyone",)),
    Row("GET", "/api/targets", ("local", *_EVERYBODY)),
    Row("POST", "/api/reload", ("local", "admin")),
    Row("GET", "/api/keys", _EVERYBODY),
    Row("POST", "/api/keys", ("lead", "admin")),
    Row("POST", "/api/keys/{id}/rotate", ("developer", "lead", "admin")),
    Row("DELETE", "/api/keys/{id}", ("developer", "lead", "admin")),
    Row("GET", "/api/people", ("auditor", "admin")),
    Row("POST", "/api/people", ("admin",)),
    Row("DELETE", "/api/people/{id}", ("admin",)),
    Row("GET", "/api/usage", ("lead", "auditor", "admin")),
    Row("GET", "/api/changes", ("auditor", "admin")),
)


def build_admin_app(world: World) -> Starlette:
    """Compose the admin app over a world."""
    routes = [Route(row.path, _guarded(world, row), methods=[row.method]) for row in ROUTES]
    return Starlette(routes=routes)


def _guarded(world: World, row: Row) -> Callable[[Request], Answer]:
    """The endpoint of a route, behind the check of whose it is."""
    endpoint = _ENDPOINTS[row.method, row.path]

    async def answer(request: Request) -> Response:
        try:
            who = await identify(world, request)
            check(who, row)
            return await endpoint(world, who, request)
        except FreeholdError as error:
            return refusal(error)
        except Exception as bug:  # the border: whatever went wrong, nothing of it is shown or logged but its place
            log_bug(bug)
            return refusal(Bug("Freehold itself failed.", code="bug", hint="The log says where."))

    return answer


def check(who: Who, row: Row) -> None:
    """Raises CallerError 401 for nobody in particular, PolicyRefusal 403 for somebody who may not."""
    if "anyone" in row.roles or who.kinds & set(row.roles):
        return
    needed = ", ".join(role for role in row.roles if role != "local")
    if who.person is None and not who.is_local:
        raise CallerError(
            "This needs somebody who is known.",
            code="admin.nobody",
            status=401,
            hint="Sign in at /sign-in, or send the operator's token: 'freehold people token' prints it.",
        )
    if who.is_local:
        hint = "Send the operator's token ('freehold people token' prints it), or let people sign in: [sign_in]."
        raise CallerError("This needs more than to be at this machine.", code="admin.nobody", status=401, hint=hint)
    raise PolicyRefusal(
        f"This needs one of the roles {needed}.", code="admin.forbidden", hint="An administrator gives roles."
    )


def refusal(error: FreeholdError) -> Response:
    """An error as the admin plane says it."""
    headers = {"www-authenticate": "Bearer"} if error.status == 401 else {}
    told = {"code": error.code, "message": error.message, "hint": error.hint}
    return JSONResponse({"error": told}, status_code=error.status, headers=headers)


async def _healthz(_: World, __: Who, ___: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _readyz(world: World, _: Who, __: Request) -> Response:
    ok, words = readiness(world)
    return JSONResponse({"status": words}, status_code=200 if ok else 503)


async def _metrics(world: World, _: Who, __: Request) -> Response:
    return Response(world.metrics.text(), media_type="text/plain; version=0.0.4")


async def _targets(world: World, _: Who, __: Request) -> Response:
    return JSONResponse({"targets": list_targets(world)})


async def _reload(world: World, who: Who, _: Request) -> Response:
    if world.reload is None:
        raise OperatorError("Nothing can be read anew here.", code="config.no_file")
    try:
        policy, is_changed = await world.reload(who.label)
    except FreeholdError as error:
        if error.code != "takeover.under_way":  # which may be otherwise in a moment
            error.status = 422
        raise
    return JSONResponse({"policy": policy, "changed": is_changed})


async def _me(world: World, who: Who, _: Request) -> Response:
    name = who.person.name if who.person is not None else who.label
    roles = ["operator"] if who.is_operator else ["local"] * who.is_local + sorted(role.text for role in who.roles)
    return JSONResponse({"name": name, "roles": roles, "signs_in": world.snapshot.sign_in is not None})


# --- signing in and out -----------------------------------------------------------------------------------------


async def _sign_in(world: World, _: Who, __: Request) -> Response:
    sign_in = _configured(world)
    where, cookie = await world.sign_ins.begin(sign_in)
    answer = RedirectResponse(where, 303, {"cache-control": "no-store"})
    _set_cookie(answer, sign_in, "sign-in", cookie, WAIT_S)
    return answer


async def _sign_in_back(world: World, _: Who, request: Request) -> Response:
    sign_in, now_ms = _configured(world), world.clock.now_ms()
    cookie = request.cookies.get(cookie_of(sign_in, "sign-in"), "")
    found = await world.sign_ins.finish(sign_in, dict(request.query_params), cookie)
    person = await world.registry.with_people(lambda people: people.meet(found.name, now_ms=now_ms))
    until_ms = now_ms + int(sign_in.session_s * 1000)

    def open_session(people: People) -> str:
        people.learn(person)
        return people.open(person, found.groups, way_of(sign_in), until_ms=until_ms)

    secret = await world.registry.with_sessions(open_session)
    log("sign_in", person=person.id)
    answer = RedirectResponse("/api/me", 303, {"cache-control": "no-store"})
    _set_cookie(answer, sign_in, "session", secret, int(sign_in.session_s))
    _set_cookie(answer, sign_in, "sign-in", "", 0)
    return answer


async def _sign_out(world: World, who: Who, request: Request) -> Response:
    sign_in = _configured(world)
    secret = request.cookies.get(cookie_of(sign_in, "session"))
    if secret is not None:
        await world.registry.with_sessions(lambda people: people.end(secret))
        log("sign_out", person=who.label)
    answer = JSONResponse({"signed_out": True}, headers={"clear-site-data": '"cache", "storage"'})
    _set_cookie(answer, sign_in, "session", "", 0)
    return answer


def _configured(world: World) -> SignIn:
    if world.snapshot.sign_in is None:
        raise CallerError(
            "Nobody can sign in here.", code="auth.no_sign_in", status=404, hint="Add [sign_in] to freehold.toml."
        )
    return world.snapshot.sign_in


def _set_cookie(answer: Response, sign_in: SignIn, name: str, value: str, seconds: int) -> None:
    answer.set_cookie(
        cookie_of(sign_in, name),
        value,
        max_age=seconds,
        path="/",
        secure=sign_in.address.startswith("https://"),
        httponly=True,
        samesite="lax",
    )


# --- keys, people, usage ----------------------------------------------------------------------------------------


async def _body(request: Request, kind: type[T]) -> T:
    """What was sent, as this type. Raises CallerError `admin.body`."""
    if request.headers.get("content-type", "application/json").partition(";")[0].strip() != "application/json":
        raise CallerError("The body has to be application/json.", code="admin.body", status=415)
    sent = b""
    async for chunk in request.stream():
        sent += chunk
        if len(sent) > _LONGEST:
            raise CallerError("The body is too long.", code="admin.body", status=413)
    try:
        return msgspec.json.decode(sent or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise CallerError(f"The body cannot be used: {error}.", code="admin.body") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise CallerError("The body is no valid JSON.", code="admin.body") from None


async def _keys(world: World, who: Who, _: Request) -> Response:
    return JSONResponse(await doing.list_keys(world, who))


async def _create_key(world: World, who: Who, request: Request) -> Response:
    made = await doing.create_key(world, who, await _body(request, doing.NewKey))
    return JSONResponse(made, 201, {"cache-control": "no-store"})


async def _rotate_key(world: World, who: Who, request: Request) -> Response:
    made = await doing.rotate_key(world, who, request.path_params["id"], await _body(request, doing.NewSecret))
    return JSONResponse(made, headers={"cache-control": "no-store"})


async def _revoke_key(world: World, who: Who, request: Request) -> Response:
    return JSONResponse(await doing.revoke_key(world, who, request.path_params["id"]))


async def _people(world: World, _: Who, __: Request) -> Response:
    return JSONResponse(await doing.list_people(world))


async def _set_roles(world: World, who: Who, request: Request) -> Response:
    return JSONResponse(await doing.set_roles(world, who, await _body(request, doing.NewRoles)))


async def _remove_person(world: World, who: Who, request: Request) -> Response:
    return JSONResponse(await doing.remove_person(world, who, request.path_params["id"]))


async def _usage(world: World, who: Who, request: Request) -> Response:
    try:
        asked = msgspec.convert(dict(request.query_params), doing.Asked, strict=False)
    except msgspec.ValidationError as error:
        raise CallerError(f"The query cannot be used: {error}.", code="admin.query") from None
    return JSONResponse(await doing.usage(world, who, asked))


async def _changes(world: World, _: Who, __: Request) -> Response:
    return JSONResponse(await doing.list_changes(world))


_ENDPOINTS: dict[tuple[str, str], Callable[[World, Who, Request], Answer]] = {
    ("GET", "/healthz"): _healthz,
    ("GET", "/readyz"): _readyz,
    ("GET", "/sign-in"): _sign_in,
    ("GET", BACK): _sign_in_back,
    ("POST", "/sign-out"): _sign_out,
    ("GET", "/metrics"): _metrics,
    ("GET", "/api/me"): _me,
    ("GET", "/api/targets"): _targets,
    ("POST", "/api/reload"): _reload,
    ("GET", "/api/keys"): _keys,
    ("POST", "/api/keys"): _create_key,
    ("POST", "/api/keys/{id}/rotate"): _rotate_key,
    ("DELETE", "/api/keys/{id}"): _revoke_key,
    ("GET", "/api/people"): _people,
    ("POST", "/api/people"): _set_roles,
    ("DELETE", "/api/people/{id}"): _remove_person,
    ("GET", "/api/usage"): _usage,
    ("GET", "/api/changes"): _changes,
}


def list_targets(world: World) -> list[dict[str, Any]]:
    """Every known target with its zone, the reason for it, and its provider's health."""
    now = world.clock.now_s()
    rows = []
    for target in sorted(world.policy.fleet.abilities):
        provider = world.snapshot.providers[target.provider]
        rows.append(
            {
                "target": target.name,
                "zone": provider.zone_at(now, target.model).value,
                "why": provider.why,
                "is_resting": (vital := world.health.vital(target, world.clock.monotonic_s())).is_resting,
                "in_flight": vital.in_flight,
                "latency_ms": round(vital.latency_s * 1000) if vital.latency_s is not None else None,
                "is_priced": world.policy.prices.of(target) is not None,
            }
        )
    return rows
