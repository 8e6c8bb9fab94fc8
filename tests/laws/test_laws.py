"""DESIGN's laws that can be read off the source: one door, no content in logs, hosts from configuration alone, routes in one place."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT
from freehold.gateway import admin_app, data_app
from freehold.gateway.lifecycle import TERMINAL, TRANSITIONS, Life, State
from freehold.kernel.errors import Bug
from freehold.kernel.roles import KINDS

SOURCE = ROOT / "src/freehold"
FILES = {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}

# Calls that open a connection, and where each may stand.
OPENERS = {
    "create_connection",
    "open_connection",
    "ClientSession",
    "HTTPConnection",
    "HTTPSConnection",
    "urlopen",
    "create_datagram_endpoint",
    "start_tls",
    "sock_connect",
    "Session",
}
DOORS = {
    "upstream/transport.py",
    "upstream/proxied.py",
    "cli/client.py",
}  # the last talks to a Freehold, as any application would


def names_called(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found.add(node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", ""))
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
    return found


@pytest.mark.parametrize("name", [name for name in FILES if name not in DOORS and not name.startswith("testing/")])
def test_one_door(name: str) -> None:
    """Law 1: only `upstream/` opens a connection that leaves the process."""
    assert not names_called(FILES[name]) & OPENERS


def test_only_the_perimeter_mints_grants() -> None:
    for name, tree in FILES.items():
        if name != "perimeter/ruling.py":
            assert "Grant" not in {
                node.func.id
                for node in ast.walk(tree)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }, name


def test_nothing_prints_or_logs_but_through_logs() -> None:
    """Law 9: there is one place that writes log lines, and it takes names and numbers."""
    for name, tree in FILES.items():
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert "logging" not in imported, name
        if (
            name.startswith(
                ("wire/", "perimeter/", "routing/", "pricing/", "upstream/", "ledger/", "identity/", "gateway/")
            )
            and name != "gateway/logs.py"
        ):
            assert not names_called(tree) & {"print", "echo", "stderr", "stdout"}, name


def test_no_provider_by_name_outside_its_row() -> None:
    """A provider is a row until it needs behaviour: never `if provider == "…"`."""
    from freehold.upstream.rows import ROWS

    for name, tree in FILES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare):
                words = {c.value for c in [node.left, *node.comparators] if isinstance(c, ast.Constant)}
                assert not words & set(ROWS), name


def test_routes_are_in_one_place_with_their_roles() -> None:
    assert {role for _, role, _ in data_app.ROUTES.values()} == {"caller", "anyone"}
    assert {role for row in admin_app.ROUTES for role in row.roles} == {"anyone", "local", *KINDS}
    assert set(data_app.ROUTES) & {row.path for row in admin_app.ROUTES} == {"/healthz", "/readyz"}
    assert len({(row.method, row.path) for row in admin_app.ROUTES}) == len(admin_app.ROUTES)
    assert all(
        role == "anyone" for path, (_, role, _) in data_app.ROUTES.items() if not path.startswith(("/v1/", "/v1beta/"))
    )


def test_the_life_of_a_call() -> None:
    """Every state can be reached and left for a terminal one; any other move is a bug."""
    reached, todo = {State.RECEIVED}, [State.RECEIVED]
    while todo:
        todo += (new := TRANSITIONS[todo.pop()] - reached)
        reached |= new
    assert reached == set(State)
    assert {State.SETTLED, State.REFUSED, State.FAILED} == TERMINAL
    life = Life()
    with pytest.raises(Bug):
        life.to(State.SENT)


def test_importing_freehold_loads_nothing_heavy() -> None:
    code = "import sys, freehold, freehold.cli.main; print([m for m in ('aiohttp', 'uvicorn', 'rich', 'xllamacpp', 'numpy', 'sqlite3', 'cryptography') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_nothing_names_a_machine_or_a_registry() -> None:
    """No path of the machine it was written on; the lock records no download address."""
    for lock in ROOT.glob("*.lock"):
        text = lock.read_text()
        assert "http" not in text.replace("httpx", "").replace("aiohttp", "").replace("httptools", "").replace(
            "httpcore", ""
        ).replace("http-", "")
        assert "file:" not in text
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in tracked:
        path = ROOT / name
        if path.is_file() and path.suffix in (".py", ".md", ".toml", ".in", ".txt", ".json", ""):
            assert str(ROOT.parent) + "/" not in path.read_text(errors="replace"), name


def test_the_wheel_holds_the_model_and_stays_small() -> None:
    assert (SOURCE / "engines/hearth.gguf").stat().st_size < 8_000_000
    assert Path(SOURCE / "py.typed").exists()
