"""What the docs show is true: commands exist, configuration examples are valid, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conftest import ROOT, snapshot_of
from freehold.cli.main import COMMANDS

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
ENV = {"OPENAI_API_KEY": "k", "DEEPINFRA_TOKEN": "k"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_configuration_examples_are_valid(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corporate-ca.pem").touch()
    for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL):
        assert snapshot_of(block, **ENV)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_are_shown_exist(page: Path) -> None:
    for command in re.findall(r"(?:`|bin/|^)freehold ([a-z]+)", page.read_text(), re.MULTILINE):
        assert command in COMMANDS, command
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"`make ([a-z-]+)", page.read_text()):
        assert target in targets, target
