"""How the notebook is opened or run, and what environment its kernel has."""

import os
from pathlib import Path

import pytest

from cloud.core import root_key
from local import notebook
from local.home import LocalError
from local.laptop import Laptop

JUPYTER = """#!/bin/sh
echo "$AWS_ENDPOINT_URL $@" > "$(dirname "$SAGEMAKER_USER_CONFIG_OVERRIDE")/called"
exit 7
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the runner, and a stand-in for Jupyter that writes down how it was called."""
    monkeypatch.setattr(notebook, "HOME", tmp_path / "home")
    monkeypatch.setattr(notebook, "ENVIRONMENT", tmp_path / "environment")
    jupyter = tmp_path / "environment/bin/jupyter"
    jupyter.parent.mkdir(parents=True)
    jupyter.write_text(JUPYTER)
    jupyter.chmod(0o755)
    (tmp_path / "home").mkdir()
    root_key.make(tmp_path / "home")
    return tmp_path / "home"


def test_kernels_talk_to_the_laptop_cloud_and_report_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    variables = notebook.environment(Laptop(4711, 1, files=home))
    assert variables["AWS_ENDPOINT_URL"] == "http://localhost:4711"
    assert "AWS_PROFILE" not in variables
    assert variables["PATH"].split(os.pathsep)[0] == str(notebook.ENVIRONMENT / "bin")
    assert "TelemetryOptOut: true" in Path(variables["SAGEMAKER_USER_CONFIG_OVERRIDE"]).read_text()


def test_jupyter_listens_on_loopback_and_its_exit_code_is_kept(home: Path) -> None:
    assert notebook.open_notebook(Laptop(4711, 1, files=home), run=False) == 7
    called = (home / "called").read_text().split()
    assert called[:3] == ["http://localhost:4711", "lab", "--ip=127.0.0.1"]
    assert called[-1] == str(notebook.NOTEBOOK)


def test_the_output_of_a_run_stays_out_of_the_project(home: Path) -> None:
    assert notebook.open_notebook(Laptop(4711, 1, files=home), run=True) == 7
    called = (home / "called").read_text().split()
    assert "--execute" in called
    assert f"--output-dir={home}" in called


def test_a_missing_jupyter_is_told(home: Path) -> None:
    (notebook.ENVIRONMENT / "bin/jupyter").unlink()
    with pytest.raises(LocalError, match="`make notebook` installs it"):
        notebook.open_notebook(Laptop(4711, 1, files=home), run=True)
