"""Step Functions' API, functions that die, and SDK integrations, with a real client and real functions."""

import io
import json
import zipfile
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.laptop import ROLE, Cloud
from tests.integration.machines import PASS, create, definition, ended, output, run, task

DYING = """
import os, sys, time

def handler(event, context):
    if event == "slow":
        time.sleep(9)
    if event == "nan":
        return {"a": float("nan")}
    if event == "exit":
        sys.exit(3)
    if event == "killed":
        os.kill(os.getpid(), 9)
    os._exit(int(event))
"""


@pytest.fixture(scope="module")
def states(cloud: Cloud) -> Any:
    return cloud.client("stepfunctions")


@pytest.fixture(scope="module")
def dying(cloud: Cloud) -> str:
    """Name of a function that ends in the way that its event says."""
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("app.py", DYING)
    cloud.client("lambda").create_function(
        FunctionName="dying",
        Runtime="python3.11",
        Handler="app.handler",
        Role=ROLE,
        Timeout=1,
        Code={"ZipFile": code.getvalue()},
    )
    return "dying"


def refusal(call: Any, **request: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**request)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_an_execution_is_started_once(states: Any) -> None:
    arn = create(states, definition(W={"Type": "Wait", "Seconds": 400, "End": True}))
    request = {"stateMachineArn": arn, "name": "once", "input": '{"a":1}'}
    first, second = states.start_execution(**request), states.start_execution(**request)
    assert (first["executionArn"], first["startDate"]) == (second["executionArn"], second["startDate"])
    exists = ("ExecutionAlreadyExists", f"Execution Already Exists: '{first['executionArn']}'")
    assert refusal(states.start_execution, **request | {"input": "{}"}) == exists
    states.stop_execution(executionArn=first["executionArn"])
    assert ended(states, first["executionArn"])["status"] == "ABORTED"
    assert refusal(states.start_execution, **request) == exists


def test_names_and_inputs_are_checked(states: Any) -> None:
    arn = create(states, definition(P=PASS))
    assert refusal(states.start_execution, stateMachineArn=arn, name="bad name*")[0] == "InvalidName"
    assert refusal(states.start_execution, stateMachineArn=arn, name="a" * 81)[0] == "ValidationException"
    assert (
        refusal(states.start_execution, stateMachineArn=arn, input='"' + "a" * 262_143 + '"')[0]
        == "ValidationException"
    )
    found = refusal(states.create_state_machine, name="a<b", definition=json.dumps(definition(P=PASS)), roleArn=ROLE)
    assert found == ("InvalidName", "Invalid Name: 'a<b'")
    largest = states.start_execution(stateMachineArn=arn, input='"' + "a" * 262_142 + '"')["executionArn"]
    assert ended(states, largest)["status"] == "SUCCEEDED"


@pytest.mark.parametrize(
    ("event", "error", "message"),
    [
        ("127", "Runtime.ExitError", "Runtime exited with error: exit status 127"),
        ("exit", "Runtime.ExitError", "Runtime exited with error: exit status 3"),
        ("0", "Runtime.ExitError", "Runtime exited without providing a reason"),
        ("killed", "Runtime.ExitError", "Runtime exited with error: signal: killed"),
        ("slow", "Sandbox.Timedout", "Task timed out after 1.00 seconds"),
    ],
)
def test_a_function_that_dies_tells_how(states: Any, dying: str, event: str, error: str, message: str) -> None:
    done = run(states, definition(T=task("lambda:invoke", {"FunctionName": dying, "Payload": event})))
    assert (done["status"], done["error"]) == ("FAILED", error)
    cause = json.loads(done["cause"])
    assert list(cause) == ["errorType", "errorMessage"]
    assert cause["errorMessage"].endswith(f" Error: {message}")


def test_a_function_that_returns_nan_fails_its_task(states: Any, dying: str) -> None:
    done = run(states, definition(T=task("lambda:invoke", {"FunctionName": dying, "Payload": "nan"})))
    assert (done["status"], done["error"]) == ("FAILED", "States.Runtime")


def test_a_function_whose_name_is_null_fails_its_task(states: Any) -> None:
    catch = [{"ErrorEquals": ["States.TaskFailed"], "Next": "Caught"}]
    state = task("lambda:invoke", {"FunctionName": "{% null %}"}, Catch=catch, Next="Caught")
    found = output(states, definition(T=state, Caught={"Type": "Succeed"}))
    assert found == {
        "Error": "Lambda.SdkClientException",
        "Cause": "Unable to marshall request to JSON: FunctionName cannot be null",
    }


def test_a_table_is_read_and_a_missing_service_can_be_caught(states: Any, cloud: Cloud) -> None:
    tables = cloud.client("dynamodb")
    tables.create_table(
        TableName="dogs",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    tables.put_item(TableName="dogs", Item={"id": {"S": "rex"}})
    found = output(
        states, definition(T=task("aws-sdk:dynamodb:getItem", {"TableName": "dogs", "Key": {"id": {"S": "rex"}}}))
    )
    assert found["Item"] == {"id": {"S": "rex"}}
    catch = [{"ErrorEquals": ["Rds.RdsException"], "Next": "Caught"}]
    state = task("aws-sdk:rds:startDBInstance", {"DbInstanceIdentifier": "d"}, Catch=catch, Next="Caught")
    assert "The laptop cloud has no" in output(states, definition(T=state, Caught={"Type": "Succeed"}))["Cause"]


def test_s3_tells_of_encryption_and_checksums(states: Any, s3: Any) -> None:
    target = {"Bucket": "kennel", "Key": "states/a"}
    put = output(states, definition(T=task("aws-sdk:s3:putObject", {**target, "Body": "text data"})))
    assert put == {
        "ChecksumCRC32": "KUmHvQ==",
        "ChecksumType": "FULL_OBJECT",
        "ETag": '"2b5df3712557f503a9977a8ea893b2c9"',
        "ServerSideEncryption": "AES256",
    }
    s3.put_object(**target, Body=b"text data")
    got = output(states, definition(T=task("aws-sdk:s3:getObject", target)))
    assert (got.pop("LastModified")[-1], got) == (
        "Z",
        {
            "AcceptRanges": "bytes",
            "Body": "text data",
            "ContentLength": 9,
            "ContentType": "binary/octet-stream",
            "ETag": '"332eec544317a6d340b8e77da7fe54ad"',
            "Metadata": {},
            "ServerSideEncryption": "AES256",
        },
    )
    listed = output(states, definition(T=task("aws-sdk:s3:listObjectsV2", {"Bucket": "kennel", "Prefix": "states/"})))
    assert "." not in listed["Contents"][0]["LastModified"]


def test_numbers_are_written_as_java_does(states: Any) -> None:
    machine = definition(P={"Type": "Pass", "Output": {"a": "{% 1e-7 %}", "b": "{% [1/0] %}", "c": 0.1}, "End": True})
    assert run(states, machine)["output"] == '{"a":1.0E-7,"b":["Infinity"],"c":0.1}'
