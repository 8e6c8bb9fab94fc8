"""The bundle for machines without a network: it is whole, says what is in it, and installs and serves where there is no way out."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import jsonschema_rs
import pytest

from conftest import ROOT
from freehold import __version__


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle") / "freehold"
    subprocess.run([sys.executable, ROOT / "tools/bundle.py", out], check=True, cwd=ROOT)
    return out


def test_it_installs_and_serves_without_any_way_out(bundle: Path, tmp_path: Path) -> None:
    """And nothing tries to find one: no name is looked up, no packet is sent to anybody else. That an attempt would be seen is seen."""
    run = subprocess.run(
        [sys.executable, Path(__file__).parent / "in_airgap.py", bundle, tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode == 77:
        pytest.skip("network namespaces are not allowed here")
    assert run.returncode == 0, run.stderr[-3000:]
    seen = json.loads(run.stdout)
    assert seen["version"] == f"freehold {__version__}"
    assert "builtin" in seen["said"]
    assert seen["answer"]
    assert seen["doctor"][0] == 0, seen["doctor"][1]
    assert "All is well" in seen["doctor"][1]
    assert seen["check"] == 0
    assert seen["addresses"] == ["127.0.0.1"]
    assert seen["after_an_attempt"] == ["192.0.2.1"]


def test_every_file_has_its_digest_and_a_changed_one_is_not_installed(bundle: Path, tmp_path: Path) -> None:
    listed = dict(reversed(line.split("  ")) for line in (bundle / "SHA256SUMS").read_text().splitlines())
    there = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}
    assert set(listed) == there - {"SHA256SUMS"}
    assert all(hashlib.sha256((bundle / name).read_bytes()).hexdigest() == digest for name, digest in listed.items())
    victim = next((bundle / "wheels").glob("starlette-*.whl"))
    whole = victim.read_bytes()
    victim.write_bytes(whole + b"x")
    run = subprocess.run([bundle / "install.sh", tmp_path / "x"], capture_output=True, text=True, check=False)
    victim.write_bytes(whole)
    assert run.returncode != 0
    assert not (tmp_path / "x").exists()


def test_the_bill_lists_each_wheel_once_with_its_licence(bundle: Path) -> None:
    bill = json.loads((bundle / "sbom.cdx.json").read_text())
    parts = [bill["metadata"]["component"], *bill["components"]]
    wheels = sorted((bundle / "wheels").glob("*.whl"))
    assert len(parts) == len(wheels)
    assert {part["hashes"][0]["content"] for part in parts} == {
        hashlib.sha256(one.read_bytes()).hexdigest() for one in wheels
    }
    assert [part["name"] for part in parts if not part.get("licenses")] == []
    assert len({part["bom-ref"] for part in parts}) == len(parts)
    shape = {  # what CycloneDX 1.6 asks for of what stands here
        "type": "object",
        "required": ["bomFormat", "specVersion"],
        "properties": {
            "bomFormat": {"const": "CycloneDX"},
            "serialNumber": {"pattern": "^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
            "version": {"type": "integer", "minimum": 1},
            "components": {
                "items": {"required": ["type", "name"], "properties": {"type": {"enum": ["application", "library"]}}}
            },
        },
    }
    assert jsonschema_rs.is_valid(shape, bill)
