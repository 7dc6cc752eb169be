"""Open ``examples/kennel.ipynb`` in a browser against the laptop cloud, or run it without one."""

import os
import subprocess
from pathlib import Path

from local.console import say
from local.home import HOME, ROOT, LocalError
from local.laptop import Laptop

NOTEBOOK = ROOT / "examples" / "kennel.ipynb"
ENVIRONMENT = ROOT / ".tools" / "notebook"  # where the Makefile installs examples/requirements.lock
# The SDK reports its use to AWS unless its configuration says otherwise.
_SDK_CONFIG = "SchemaVersion: '1.0'\nSageMaker:\n  PythonSDK:\n    Modules:\n      TelemetryOptOut: true\n"


def open_notebook(cloud: Laptop, run: bool) -> int:
    """Open the notebook in Jupyter Lab, or run all its cells and keep their output in ``.kennel/``.

    Args:
        cloud: the laptop cloud that the notebook talks to.
        run: run it instead of opening it.

    Returns:
        Jupyter's exit code.

    Raises:
        LocalError: Jupyter is not installed.
    """
    jupyter = ENVIRONMENT / "bin" / "jupyter"
    if not jupyter.exists():
        raise LocalError(f"{os.path.relpath(jupyter)} is missing; `make notebook` installs it")
    command = _run_command(jupyter) if run else _lab_command(jupyter)
    code = subprocess.run(command, env=environment(cloud), check=False).returncode
    if run and not code:
        say(f"the notebook with its output: {os.path.relpath(HOME / NOTEBOOK.name)}")
    return code


def environment(cloud: Laptop) -> dict[str, str]:
    """Return the environment of Jupyter and its kernels: the laptop cloud in place of AWS, nothing reported to AWS."""
    config = HOME / "sagemaker-sdk.yaml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(_SDK_CONFIG)
    return cloud.environment() | {
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(config),
        "PATH": os.pathsep.join([str(ENVIRONMENT / "bin"), os.environ.get("PATH", os.defpath)]),
    }


def _lab_command(jupyter: Path) -> list[str]:
    # Jupyter refuses to start as root without the option; it listens on loopback and asks for the token of its address.
    return [str(jupyter), "lab", "--ip=127.0.0.1", *(["--allow-root"] if os.geteuid() == 0 else []), str(NOTEBOOK)]


def _run_command(jupyter: Path) -> list[str]:
    return [
        *(str(jupyter), "nbconvert", "--execute", "--to=notebook", "--log-level=WARN"),
        *(f"--output-dir={HOME}", str(NOTEBOOK)),
    ]
