"""What the docs show is true: commands exist, configuration examples are valid, links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ROOT, Freehold, running, snapshot_of
from freehold.cli.main import COMMANDS
from freehold.evals import tasks

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
ENV = dict.fromkeys(
    (
        "OPENAI_API_KEY",
        "DEEPINFRA_TOKEN",
        "AZURE_OPENAI_API_KEY",
        "AWS_BEARER_TOKEN_BEDROCK",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    ),
    "k",
) | {
    "FREEHOLD_POSTGRES": "postgres://freehold@127.0.0.1/freehold",
    "FREEHOLD_NODES_SECRET": "0123456789abcdef" * 4,
    "FREEHOLD_OIDC_SECRET": "x",
    "OTEL_TOKEN": "x",
}
EXAMPLES = ("openai-sdk", "anthropic-sdk", "gemini-sdk", "responses-api")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_configuration_examples_are_valid(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corporate-ca.pem").touch()
    (tmp_path / "account.json").write_text("{}")
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL):
        assert snapshot_of(block, **ENV)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tasks_are_valid(page: Path) -> None:
    for block in re.findall(r"```toml verdict\.toml\n(.*?)```", page.read_text(), re.DOTALL):
        assert tasks.read(block).margin > 0


@pytest.fixture(scope="module")
def freehold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Freehold]:
    with running(tmp_path_factory.mktemp("docs"), "") as one:
        yield one


@pytest.mark.parametrize("page", EXAMPLES)
def test_examples_run(page: str, freehold: Freehold, capsys: pytest.CaptureFixture[str]) -> None:
    """Each dialect's page is run as it stands, with the vendor's SDK, against the built-in model."""
    text = (ROOT / f"docs/how-to/{page}.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        mine = block.replace("http://127.0.0.1:4000", f"http://127.0.0.1:{freehold.port}").replace(
            "fh-…", freehold.key()
        )
        exec(compile(mine, page, "exec"), {})
    assert page == "openai-sdk" or len(capsys.readouterr().out) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_are_shown_exist(page: Path) -> None:
    for command in re.findall(r"(?:`|bin/|^)freehold ([a-z]+)", page.read_text(), re.MULTILINE):
        assert command in COMMANDS, command
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"`make ([a-z-]+)", page.read_text()):
        assert target in targets, target
