"""Who asks the admin plane: whoever holds the operator's token, a machine with a signed token, a person with a session, or somebody at this machine.

Rules: as long as nobody can sign in, whoever asks from loopback may look, and have the configuration read anew; everything else needs a token or a
session. A browser is not let do what another site tells it to (`Origin`, `Sec-Fetch-Site`), nor reach us by a name that is not ours (`Host`).
"""

from __future__ import annotations

import hmac
import ipaddress
from pathlib import Path

from starlette.requests import Request

from freehold.gateway.administration import Who
from freehold.gateway.admission import check_copy
from freehold.gateway.sign_in import way_of
from freehold.gateway.world import World
from freehold.identity.people import MACHINE, SignedIn
from freehold.identity.tokens import looks_signed
from freehold.kernel.errors import CallerError, OperatorError, PolicyRefusal
from freehold.kernel.snapshot import SignIn
from freehold.ledger.files import secret_file

NOBODY = Who("nobody")
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_SAFE = frozenset({"GET", "HEAD"})


def operator_token(state: Path) -> str:
    """What whoever may read the state directory shows to the admin plane; it is made if it is missing."""
    return f"fo-{secret_file(state / 'operator').hex()}"


def known_token(state: Path) -> str:
    """The same where it is there already: whoever only looks makes nothing. Raises OperatorError `cli.no_token`."""
    try:
        return f"fo-{(state / 'operator').read_bytes().hex()}"
    except OSError as error:
        raise OperatorError(
            f"The operator's token cannot be read in {str(state)!r} ({type(error).__name__}).",
            code="cli.no_token",
            hint="Start Freehold once, and run this as the user that runs it; or give --config, or set FREEHOLD_HOME.",
        ) from None


def cookie_of(sign_in: SignIn, name: str) -> str:
    """The name of a cookie; where people come by TLS, one that no other host may set."""
    return f"__Host-freehold-{name}" if sign_in.address.startswith("https://") else f"freehold-{name}"


async def identify(world: World, request: Request) -> Who:
    """Who asks. Raises CallerError 401 for a token that is not good, PolicyRefusal `admin.origin` for a browser that does another site's bidding."""
    sign_in, shown = world.snapshot.sign_in, request.headers.get("authorization")
    if shown is not None:
        return await _by_token(world, shown)
    session = session_of(world, request)
    if session is not None:
        assert sign_in is not None
        check_people(world)
        _check_origin(request, sign_in.address)
        roles = {role for group in session.groups for role in sign_in.groups.get(group, ())}
        return Who(session.person.id, frozenset(roles | set(session.person.roles)), session.person)
    _check_origin(request, None)
    return Who("local", is_local=True) if sign_in is None and _is_local(request) else NOBODY


def check_people(world: World) -> None:
    """Raises OperatorError `nodes.unavailable` where what is known of people is too old to be believed."""
    if world.snapshot.nodes is not None:
        world.keys.refresh(world.clock.monotonic_s())
        check_copy(world.keys, world.snapshot.nodes)


async def _by_token(world: World, header: str) -> Who:
    scheme, _, token = header.partition(" ")
    token, machines = token.strip(), world.snapshot.machines
    if scheme.lower() == "bearer" and hmac.compare_digest(token.encode(), world.operator_token.encode()):
        return Who("operator", is_operator=True)
    if scheme.lower() == "bearer" and machines and looks_signed(token):
        check_people(world)
        await world.machines.learn(token, machines)
        name = world.machines.find(token, machines)
        person = world.registry.people.find(f"{MACHINE}{name}")
        return Who(person.id, frozenset(person.roles), person) if person is not None else NOBODY
    raise CallerError("This token is not known.", code="admin.token", status=401)


def session_of(world: World, request: Request) -> SignedIn | None:
    """The session that a browser shows, if it holds and was begun in the way in which people sign in now."""
    sign_in = world.snapshot.sign_in
    secret = request.cookies.get(cookie_of(sign_in, "session")) if sign_in is not None else None
    session = world.registry.people.session(secret, now_ms=world.clock.now_ms()) if secret else None
    return session if session is not None and sign_in is not None and session.sign_on == way_of(sign_in) else None


def _check_origin(request: Request, address: str | None) -> None:
    """A request that changes something comes from our own pages, or from no page at all. address: ours, where a cookie proves who asks."""
    if request.method in _SAFE:
        return
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "none")
    own = {address, f"http://{request.headers.get('host', '')}" if _is_local(request) else address}
    if site not in ("none", "same-origin") or (origin is not None and origin.lower() not in own):
        raise _foreign()
    if address is not None and origin is None:
        raise _foreign()  # browsers say it with every request that changes something


def _is_local(request: Request) -> bool:
    """Whether somebody at this machine asks, by a name of this machine: no proxy's, and none that a foreign page's name server made up."""
    host = (request.headers.get("host") or "").lower()
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    is_ours = name == "localhost" or _is_loopback(name.strip("[]"))
    is_direct = not any(header in request.headers for header in _FORWARDED)
    return is_ours and is_direct and request.client is not None and _is_loopback(request.client.host)


def _is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False


def _foreign() -> PolicyRefusal:
    return PolicyRefusal(
        "Another site's page asks for this.", code="admin.origin", hint="Ask from Freehold's own address."
    )
