"""What runs Freehold elsewhere: checked against what reads it, as far as that can be had without a cluster or an engine."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from conftest import ROOT, snapshot_of
from freehold.cli.up import command as up

DEPLOY = ROOT / "deploy"
MANIFESTS = list(yaml.safe_load_all((DEPLOY / "kubernetes/freehold.yaml").read_text()))
COMPOSE = yaml.safe_load((DEPLOY / "docker/compose.yaml").read_text())


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda one: one["kind"] + " " + one["metadata"]["name"])
@pytest.mark.parametrize("version", ["1.31", "1.34", "1.37"])
def test_kubernetes_takes_each_manifest(manifest: dict[str, Any], version: str) -> None:
    """By the API's own schemas, strictly: an unknown field is an error."""
    kubernetes_validate.validate(manifest, version, strict=True)


def config_of(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The configuration with its secrets where a test can put them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "postgres").write_text("postgres://u:p@db.example.com/freehold?sslmode=verify-full&sslrootcert=/ca.pem")
    (tmp_path / "nodes").write_text("s" * 64)
    text = re.sub(r"file:[^\"]*postgres[^\"]*", "file:postgres", text)
    return snapshot_of(re.sub(r"file:[^\"]*nodes[^\"]*", "file:nodes", text))


def test_the_configurations_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in (MANIFESTS[0]["data"]["freehold.toml"], COMPOSE["configs"]["freehold"]["content"]):
        assert config_of(text, tmp_path, monkeypatch).nodes is not None


def test_what_is_started_is_a_command_that_there_is() -> None:
    docker = (DEPLOY / "docker/Dockerfile").read_text()
    default = re.search(r'CMD \["up", (.*)\]', docker)
    assert default is not None
    unit = (DEPLOY / "systemd/freehold.service").read_text()
    pod = MANIFESTS[1]["spec"]["template"]["spec"]["containers"][0]["args"][1:]
    known = {option for one in up.params for option in (*one.opts, *one.secondary_opts)}
    for words in (
        re.findall(r'"([^"]+)"', default.group(1)),
        re.search(r"freehold up (.*)", unit).group(1).split(),
        pod,
    ):  # type: ignore[union-attr]
        assert {word for word in words if word.startswith("--")} <= known


def test_pods_and_containers_may_do_nothing_that_they_need_not() -> None:
    """What the restricted pod security standard asks for, and a read-only root."""
    pod = MANIFESTS[1]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for name in ("node1", "node2"):
        service = COMPOSE["services"][name]
        assert (service["read_only"], service["cap_drop"], service["security_opt"]) == (
            True,
            ["ALL"],
            ["no-new-privileges:true"],
        )
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "ports" not in COMPOSE["services"]["postgres"]
    assert COMPOSE["services"]["postgres"]["networks"] == ["inside"]
    docker = (DEPLOY / "docker/Dockerfile").read_text()
    assert re.findall(r"^USER (.*)$", docker, re.MULTILINE) == ["65532:65532"]
    assert docker.count("--require-hashes") == 2


def test_everything_that_the_image_copies_is_there_and_let_through() -> None:
    docker, let = (DEPLOY / "docker/Dockerfile").read_text(), (DEPLOY / "docker/Dockerfile.dockerignore").read_text()
    allowed = {line[1:] for line in let.splitlines() if line.startswith("!")}
    for words in re.findall(r"^COPY (?!--from)(.*)$", docker, re.MULTILINE):
        for source in words.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source in allowed


def test_nobody_has_more_time_to_end_than_what_ends_it_waits() -> None:
    """Draining takes `[server] drain` (30 s): whoever stops it waits longer."""
    drain = snapshot_of("").server.drain
    assert MANIFESTS[1]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > drain
    assert int(COMPOSE["services"]["node1"]["stop_grace_period"].removesuffix("s")) > drain
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[method-assign, assignment]
    unit.read(DEPLOY / "systemd/freehold.service")
    assert int(unit["Service"]["TimeoutStopSec"]) > drain


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_takes_the_unit_and_finds_it_closed(tmp_path: Path) -> None:
    program = tmp_path / "freehold"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "freehold.service"
    unit.write_text(
        (DEPLOY / "systemd/freehold.service").read_text().replace("/opt/freehold/bin/freehold", str(program))
    )
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    told = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=25", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout[-500:]
