"""Deploys and deletes the stack with the SAM CLI."""

import os
import shutil
import sys

from local import stack
from local.home import ROOT, LocalError
from proofs.aws_smoke.account import FOLDER, Account, Options
from proofs.aws_smoke.cost import INSTANCES

_RUNTIMES = ("python3.13", "python3.12", "python3.14")  # allowed by the template; the best first


def deploy(account: Account, name: str, options: Options) -> None:
    """Build and deploy the stack."""
    parameters = {
        "EndpointName": name,
        "TrainingInstanceType": options.training_instance_type,
        "TrainingInstanceCount": str(INSTANCES),
        "ServingInstanceType": options.serving_instance_type,
        "LogRetentionDays": "1",
        "PythonRuntime": _runtime(account),
    }
    overrides = ("--parameter-overrides", *(f"{key}={value}" for key, value in parameters.items()))
    build = FOLDER / "build"
    _sam(account, "build", "--build-dir", str(build), *overrides)
    _sam(
        account,
        "deploy",
        *("--stack-name", name, "--template-file", str(build / "template.yaml")),
        # SAM names artifacts by their content. Without a prefix, sam delete would delete those of other stacks too.
        *("--s3-prefix", name, "--no-confirm-changeset", *overrides),
    )


def delete(account: Account, name: str) -> None:
    """Delete the stack."""
    _sam(account, "delete", "--stack-name", name, "--region", account.region, "--no-prompts")


def _runtime(account: Account) -> str:
    if account.url:  # The laptop cloud runs functions with the interpreter of this program.
        return f"python{sys.version_info.major}.{sys.version_info.minor}"
    for runtime in _RUNTIMES:
        if shutil.which(runtime):
            return runtime
    raise LocalError(f"sam build needs one of {', '.join(_RUNTIMES)} on the PATH")


def _sam(account: Account, command: str, *arguments: str) -> None:
    log = FOLDER / f"sam-{command}.log"
    environment = {**os.environ, "AWS_DEFAULT_REGION": account.region}
    # Without this option, deploy would look for the configuration beside the built template.
    config = ("--config-file", str(ROOT / "samconfig.toml"))
    stack.finish(stack.sam(command, *config, *arguments, env=environment, log=log), log)
