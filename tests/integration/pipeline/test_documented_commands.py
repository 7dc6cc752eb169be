"""The documents' commands for AWS, run literally against the laptop cloud with the variables that ``make up`` prints.

tests/slow/test_documented_commands.py runs those that deploy, change or delete the stack.
"""

import re
import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.documented import QUICK, ROOT, Shell, commands, filled, key_of
from tests.integration.pipeline.kennel import DEPLOYED, Kennel, Rerun, run_local

TEST_STATE = """aws stepfunctions test-state --definition '{"Type": "Pass", "End": true}' --query status"""


def values(kennel: Kennel, printed: str) -> dict[str, str]:
    """Return the values of the documents' placeholders, from the stack's outputs and what ``make up`` printed."""
    outputs = kennel.outputs()
    return {
        "BUCKET": outputs["BucketName"],
        "PIPELINE_ARN": outputs["PipelineArn"],
        "TEARDOWN_ARN": outputs["TeardownArn"],
        "EXECUTION_ARN": first_execution(kennel),
        "ALARM_NAME": "kennel-latency",
        "MAX": "2",  # the default of max_instances, which holds already
        "API_KEY_ID": outputs["ApiKeyId"],
        "API_URL": re.findall(r"^API +(\S+)$", printed, re.M)[0],
        "REGION": "us-east-1",
        "ROLE_ARN": "arn:aws:iam::000000000000:role/writes-the-apis-log",
        "<stack>": "kennel",
        "<endpoint>": outputs["EndpointName"],
    }


def first_execution(kennel: Kennel) -> str:
    """Return the ARN of the first run, which promoted its model."""
    states = kennel.client("stepfunctions")
    listed = states.list_executions(stateMachineArn=kennel.outputs()["PipelineArn"], statusFilter="SUCCEEDED")
    return str(min(listed["executions"], key=lambda each: each["startDate"])["executionArn"])


@pytest.fixture(scope="module")
def answers(kennel: Kennel, rerun: Rerun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run each command of QUICK and yield its output; a run that one of them starts has ended.

    ``rerun`` has left a refused version. Of the photos one alone is uploaded, so that such a run ends at Plan.
    """
    assert rerun.code == 3
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("events", "samconfig.toml", "template.yaml", "statemachine"):
        (folder / name).symlink_to(ROOT / name)
    photo = sorted((kennel.photos / "test/008.Samoyed").iterdir())[1]
    (folder / "dogImages/test/008.Samoyed").mkdir(parents=True)
    for copy in ("photo.jpg", "dogImages/test/008.Samoyed/photo.jpg"):
        shutil.copy(photo, folder / copy)
    shutil.make_archive(str(folder / "dogImages"), "zip", folder, "dogImages")
    up = run_local(kennel.home, "up", "--port", str(kennel.port), program=DEPLOYED)
    assert up.returncode == 0, up.stderr
    host = urlsplit(kennel.outputs()["FunctionUrl"]).hostname
    # No name server knows the host of a function's URL on the laptop, so curl connects to the cloud instead.
    (folder / ".curlrc").write_text(f'silent\nconnect-to = "{host}::127.0.0.1:{kennel.port}"\n')
    s3, bucket = kennel.client("s3"), kennel.outputs()["BucketName"]
    s3.upload_file(str(photo), bucket, "uploads/rex.jpg")

    shell, outputs = Shell(folder, home=folder), {}
    for line in re.findall(r"^  ((?:unset|export) .*)$", up.stdout, re.M):
        assert shell.run(line) == (0, "")
    shell.run(f"FUNCTION_URL=http://{host}:{kennel.port}/")
    for command in sorted((c for c in commands() if key_of(c) in QUICK), key=lambda c: list(QUICK).index(key_of(c))):
        code, output = shell.run(filled(command, values(kennel, up.stdout)))
        outputs[key_of(command)] = output if code == 0 else f"exit code {code}: {output}"
        if started := re.search(r'"executionArn": "(.+?)"', output):
            ended = kennel.finish(started[1])
            # It has read what was synchronized: one class, in one split.
            assert (ended["error"], "dataset/" in ended["cause"]) == ("DatasetError", True), ended["cause"]
    outputs[TEST_STATE] = shell.run(f"{TEST_STATE} --role-arn arn:aws:iam::000000000000:role/any")[1]
    shell.close()
    yield outputs
    for key in ("dataset/test/008.Samoyed/photo.jpg", "dogs.zip", "uploads/rex.jpg"):
        s3.delete_object(Bucket=bucket, Key=key)


@pytest.mark.parametrize("command", QUICK)
def test_command_of_the_documents_works_on_the_laptop(answers: dict[str, str], command: str) -> None:
    assert not answers[command].startswith("exit code"), answers[command]
    assert re.search(QUICK[command], answers[command], re.M), answers[command]


def test_operation_with_a_host_prefix_is_answered(answers: dict[str, str]) -> None:
    """TestState would be asked at sync-localhost, but for a variable that ``make up`` prints."""
    assert answers[TEST_STATE] == '"SUCCEEDED"'
