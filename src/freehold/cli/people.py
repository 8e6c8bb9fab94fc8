"""`freehold people`: who may do what on the admin plane. Works beside a running `up`, which takes notice within a second."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import click

from freehold.cli.keys import keys_of, who
from freehold.cli.setting import Setting, config_option, json_option, show_json, show_table
from freehold.gateway.administration import as_data, end_keys_of, name_of, roles_of
from freehold.gateway.preparing import make_state, open_people
from freehold.gateway.presence import operator_token
from freehold.identity.people import People
from freehold.identity.shared import SharedPeople


@click.group("people", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Say who may do what on the admin plane, beside what the issuer's groups bring."""


@command.command("list")
@config_option
@json_option
def list_(config: Path | None, as_json: bool) -> None:
    """List everybody who has signed in or was given a role."""
    with closing(_people_of(Setting.find(config))) as people:
        found = people.all()
    if as_json:
        show_json({"people": [as_data(one) for one in found]})
        return
    show_table(
        ("id", "name", "roles"),
        [(one.id, one.name, ", ".join(role.text for role in one.roles) or "–") for one in found],
    )


@command.command("set")
@config_option
@json_option
@click.option(
    "--role",
    "roles",
    multiple=True,
    help="admin, auditor, developer or lead:DEPARTMENT; several may be given, none takes all away.",
)
@click.argument("name")
def set_(config: Path | None, as_json: bool, roles: tuple[str, ...], name: str) -> None:
    """Give somebody exactly these roles. NAME: what their issuer calls them (an e-mail address, as a rule), or machine:NAME:SUBJECT."""
    setting = Setting.find(config)
    wanted = roles_of(roles, setting.snapshot() if any(":" in role for role in roles) else None)
    with closing(_people_of(setting)) as people:
        person = people.become(_named(setting, name), wanted, now_ms=int(time.time() * 1000), by=who())
    if as_json:
        show_json(as_data(person))
    else:
        click.echo(f"{person.name} ({person.id}): {', '.join(role.text for role in person.roles) or 'no role'}.")


@command.command("remove")
@config_option
@json_option
@click.argument("name")
def remove(config: Path | None, as_json: bool, name: str) -> int:
    """Forget somebody, with every session, and revoke their keys. What the issuer's groups give them, they get again when they sign in."""
    setting, now_ms, ended = Setting.find(config), int(time.time() * 1000), list[str]()
    with closing(_people_of(setting)) as people, closing(keys_of(setting)) as keys:
        person = people.find(_named(setting, name))
        if person is not None:
            ended = end_keys_of(keys, person.id, now_ms=now_ms, by=who())
        done = person is not None and people.remove(person.name, now_ms=now_ms, by=who())
    if as_json:
        show_json({"name": name, "removed": done, "keys_revoked": ended})
    elif done:
        click.echo(f"{name} is forgotten, and {len(ended)} of their keys {'is' if len(ended) == 1 else 'are'} revoked.")
    else:
        click.echo(f"Nobody here is called {name!r}.", err=True)
    return 0 if done else 1


@command.command("token")
@config_option
def token(config: Path | None) -> None:
    """Print the operator's token: what whoever may read the state directory shows to the admin plane (Authorization: Bearer …)."""
    state = Setting.find(config).state
    make_state(state)
    click.echo(operator_token(state))


def _named(setting: Setting, name: str) -> str:
    """A name as it is kept. Where the file says by what people are known, and its secrets are not at hand, that alone is read."""
    found = name_of(name, None)
    return found if setting.claim() == "email" else name


def _people_of(setting: Setting) -> People | SharedPeople:
    """The people of this state directory, or of all nodes. Whoever opens them closes them."""
    return open_people(setting.state, setting.nodes())
