"""Make a bundle that installs Freehold on a machine without any network: wheels, their digests, a list of what is in it (CycloneDX), and how to install it.

python tools/bundle.py OUT
"""

from __future__ import annotations

import datetime
import email.parser
import hashlib
import json
import platform
import shutil
import subprocess
import sys
import tarfile
import uuid
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "deploy/docker/extras.lock")
INSTALL = """#!/bin/sh
# Installs Freehold from this folder alone: ./install.sh [/opt/freehold]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
to=${1:-/opt/freehold}
case $to in /*) ;; *) to=$PWD/$to ;; esac
cd "$here"
sha256sum --check --quiet SHA256SUMS
python=${PYTHON:-python3}
"$python" -c 'import platform, sys; made = ("MADE_FOR"); here = f"{sys.version_info[0]}.{sys.version_info[1]} {platform.machine()}"; sys.exit(here != made and f"These wheels are for Python {made}, and this is {here}: set PYTHON=")'
"$python" -m venv "$to"
"$to/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --find-links wheels --require-hashes -r locked.txt
"$to/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps wheels/freehold-*.whl
"$to/bin/freehold" --version
"""


def main(out: Path) -> None:
    if out.exists() and not (out / "SHA256SUMS").is_file():
        sys.exit(f"{out} is there, and is no bundle: nothing is removed")
    shutil.rmtree(out, ignore_errors=True)
    wheels = out / "wheels"
    wheels.mkdir(parents=True)
    for lock in LOCKS:
        pip("download", "--require-hashes", "--only-binary=:all:", "-d", str(wheels), "-r", lock)
    pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), ".")
    (out / "locked.txt").write_text("\n".join((ROOT / lock).read_text() for lock in LOCKS))
    (out / "sbom.cdx.json").write_text(json.dumps(bill(sorted(wheels.glob("*.whl"))), indent=1) + "\n")
    made_for = f"{sys.version_info[0]}.{sys.version_info[1]} {platform.machine()}"
    (out / "install.sh").write_text(INSTALL.replace("MADE_FOR", made_for))
    (out / "install.sh").chmod(0o755)
    shutil.copy(ROOT / "LICENSE", out)
    shutil.copytree(ROOT / "deploy", out / "deploy")
    files = sorted(path for path in out.rglob("*") if path.is_file())
    (out / "SHA256SUMS").write_text("".join(f"{digest(path)}  {path.relative_to(out)}\n" for path in files))
    archive = out.with_name(out.name + ".tar")
    with tarfile.open(archive, "w") as tar:
        tar.add(out, arcname=out.name, filter=plain)
    print(
        f"{archive.relative_to(ROOT) if archive.is_relative_to(ROOT) else archive}: {archive.stat().st_size / 2**20:.0f} MiB, sha256 {digest(archive)}"
    )


def pip(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", arguments[0], "-q", "--disable-pip-version-check", *arguments[1:]],
        cwd=ROOT,
        check=True,
    )


def bill(wheels: list[Path]) -> dict[str, Any]:
    """A software bill of materials (CycloneDX 1.6) of what the wheels themselves say."""
    parts = [part(path) for path in wheels]
    own = next(one for one in parts if one["name"] == "freehold")
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "component": {**own, "type": "application"},
        },
        "components": [one for one in parts if one is not own],
    }


def part(wheel: Path) -> dict[str, Any]:
    with zipfile.ZipFile(wheel) as zipped:
        name = next(name for name in zipped.namelist() if name.endswith(".dist-info/METADATA"))
        said = email.parser.BytesParser().parsebytes(zipped.read(name), headersonly=True)
    title, version = str(said["Name"]).lower().replace("_", "-"), str(said["Version"])
    licence = (
        said["License-Expression"]
        or next(
            (one.rpartition(" :: ")[2] for one in said.get_all("Classifier", []) if one.startswith("License ::")), None
        )
        or said["License"]
    )
    told: dict[str, Any] = {
        "type": "library",
        "bom-ref": f"pkg:pypi/{title}@{version}",
        "name": title,
        "version": version,
        "purl": f"pkg:pypi/{title}@{version}",
        "hashes": [{"alg": "SHA-256", "content": digest(wheel)}],
    }
    if said["License-Expression"]:
        told["licenses"] = [{"expression": said["License-Expression"]}]
    elif licence:
        told["licenses"] = [{"license": {"name": str(licence).splitlines()[0][:200]}}]
    return told


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Nobody's in particular."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/freehold-bundle").absolute())
