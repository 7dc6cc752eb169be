"""The documents' commands that deploy, change and delete the stack, run literally in a copy of this tree.

They run in one order on a laptop cloud of their own, as a reader's would on an account.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local.laptop import Laptop
from tests.documented import ROOT, SLOW, client_environment, commands, filled, key_of
from tests.integration.laptop import Cloud, eventually, start_cloud

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # seconds; six builds, on a machine that may do other work

# docs/aws.md: "with another Python: … and the same below".
PYTHON = f"--parameter-overrides PythonRuntime=python{sys.version_info.major}.{sys.version_info.minor}"
NEEDS_PYTHON = ("sam build", "sam deploy --guided", "sam sync", "sam sync --code")
BOTH = {"function", "machine"}
# A reader changes a function and a state machine before these, and they deploy what is named here.
AFTER_A_CHANGE = {"sam deploy": BOTH, "sam sync": BOTH, "sam sync --code": {"function"}}
REFUSED = ("aws apigateway delete-stage", "aws ecr batch-get-image")  # What they ask for is not there.


def checkout(folder: Path) -> Path:
    """Copy what Git has of this tree, with its changes."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def change(tree: Path) -> None:
    """Change the function of the gate and the definition of teardown, so that there is something to deploy."""
    with (tree / "functions/gate/app.py").open("a") as file:
        file.write("# changed\n")
    definition = tree / "statemachine/teardown.asl.yaml"
    definition.write_text(definition.read_text().replace("Deletes", "Deletes again", 1))


def deployed(cloud: Cloud) -> dict[str, str]:
    """Return what is deployed of the two that ``change`` changes: the hash of the code, and the definition."""
    function = cloud.client("lambda").get_function_configuration(FunctionName="kennel-gate")
    machine = cloud.client("stepfunctions").describe_state_machine(stateMachineArn=values(cloud)["TEARDOWN_ARN"])
    return {"function": function["CodeSha256"], "machine": machine["definition"]}


def await_end(cloud: Cloud, execution: str) -> None:
    """Wait until teardown has succeeded, or a run has failed; nothing was trained that could be promoted."""
    states = cloud.client("stepfunctions")
    ended = eventually(
        lambda: states.describe_execution(executionArn=execution), lambda each: each["status"] != "RUNNING", 120
    )
    assert ended["status"] == ("FAILED" if "-pipeline:" in execution else "SUCCEEDED"), ended


def values(cloud: Cloud) -> dict[str, str]:
    """Return the values of the documents' placeholders; those of a stack that is deployed only when it is."""
    stacks = cloud.client("cloudformation").list_stacks(StackStatusFilter=["CREATE_COMPLETE", "UPDATE_COMPLETE"])
    if "kennel" not in [stack["StackName"] for stack in stacks["StackSummaries"]]:
        return {}
    described = cloud.client("cloudformation").describe_stacks(StackName="kennel")["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
    return {
        "BUCKET": outputs["BucketName"],
        "PIPELINE_ARN": outputs["PipelineArn"],
        "TEARDOWN_ARN": outputs["TeardownArn"],
        "N": "1",
        "API_ID": outputs["ApiId"],
        "SUBNET": "subnet-0",
        "GROUP": "sg-0",
        "REPOSITORY": "none-of-this-name",
        "ROLE": "arn:aws:iam::000000000000:role/job",
    }


def converse(command: str, tree: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Run a command, answer its questions, and return its exit code and output.

    A question that may be answered by "no" alone, as it stands there, is answered by "yes"; others by their default.
    """
    process = subprocess.Popen(
        ["bash", "-c", command],
        cwd=tree,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    output = b""
    while chunk := os.read(process.stdout.fileno(), 1 << 16):
        output += chunk
        if asked := re.search(rb"\[([^\[\]\n]*)\]: $", output):
            is_no = asked[1] == b"y/N" and b"Disable rollback" not in output[-40:]
            process.stdin.write(b"y\n" if is_no else b"\n")
            process.stdin.flush()
    process.stdin.close()
    return process.wait(), output.decode()


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Run each command of SLOW and return its exit code and its output."""
    home, tree = tmp_path_factory.mktemp("home"), checkout(tmp_path_factory.mktemp("checkout"))
    (tree / "model.pth").write_bytes(b"weights")
    cloud = start_cloud(tmp_path_factory.mktemp("cloud") / "home")
    environment = Laptop(cloud.port, cloud.process.pid, files=cloud.home).environment() | client_environment(home)
    done: dict[str, tuple[int, str]] = {}
    try:
        for command in sorted((c for c in commands() if key_of(c) in SLOW), key=lambda c: list(SLOW).index(key_of(c))):
            key, before = key_of(command), dict[str, str]()
            if key in AFTER_A_CHANGE:
                change(tree)
                before = deployed(cloud)
            if key == "sam deploy":
                converse(f"sam build {PYTHON}", tree, environment)
            line = filled(command, values(cloud)) + (f" {PYTHON}" if key in NEEDS_PYTHON else "")
            code, output = done[key] = converse(line, tree, environment)
            assert (code == 0) == (key not in REFUSED), f"{line} ended with {code}:\n{output}"
            assert re.search(SLOW[key], output, re.M), f"{line} printed:\n{output}"
            changed = {name for name, value in before.items() if deployed(cloud)[name] != value}
            assert changed == AFTER_A_CHANGE.get(key, set()), f"{line} changed {changed}:\n{output}"
            if key.startswith("aws stepfunctions start-execution"):
                await_end(cloud, json.loads(output)["executionArn"])
        done["stacks"] = converse("aws cloudformation describe-stacks --stack-name kennel", tree, environment)
    finally:
        cloud.stop()
    return done


def test_commands_of_the_documents_deploy_change_and_delete_the_stack(outputs: dict[str, tuple[int, str]]) -> None:
    assert outputs.keys() - {"stacks"} == SLOW.keys()
    code, output = outputs["stacks"]
    assert code != 0
    assert "does not exist" in output


def test_sync_of_code_names_the_state_machines_that_it_leaves_alone(outputs: dict[str, tuple[int, str]]) -> None:
    """docs/operations.md says so; SAM's StepFunctionsSyncFlow cannot fill their definitions in."""
    assert "DefinitionSubstitutions field is specified" in outputs["sam sync --code"][1]
