"""The admin plane, on loopback: health, metrics, and what is configured. Its own app with its own route table."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from freehold.gateway.data_app import readiness
from freehold.gateway.world import World
from freehold.kernel.errors import FreeholdError

# path → (method, role that it needs). Loopback is the role "operator" until people can sign in.
ROUTES: dict[str, tuple[str, str]] = {
    "/healthz": ("GET", "anyone"),
    "/readyz": ("GET", "anyone"),
    "/metrics": ("GET", "operator"),
    "/api/targets": ("GET", "operator"),
    "/api/reload": ("POST", "operator"),
}


def build_admin_app(world: World) -> Starlette:
    """Compose the admin app over a world."""

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        ok, words = readiness(world)
        return JSONResponse({"status": words}, status_code=200 if ok else 503)

    async def metrics(_: Request) -> Response:
        return Response(world.metrics.text(), media_type="text/plain; version=0.0.4")

    async def targets(_: Request) -> Response:
        return JSONResponse({"targets": list_targets(world)})

    async def reload(_: Request) -> Response:
        if world.reload is None:
            return JSONResponse({"error": {"code": "config.no_file", "message": "Nothing can be read anew here."}}, 503)
        try:
            policy, is_changed = await world.reload("admin")
        except FreeholdError as error:
            told = {"code": error.code, "message": error.message, "hint": error.hint}
            return JSONResponse({"error": told}, status_code=422)
        return JSONResponse({"policy": policy, "changed": is_changed})

    endpoints = {
        "/healthz": healthz,
        "/readyz": readyz,
        "/metrics": metrics,
        "/api/targets": targets,
        "/api/reload": reload,
    }
    return Starlette(routes=[Route(path, endpoints[path], methods=[method]) for path, (method, _) in ROUTES.items()])


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
