"""The results and errors of integrations, in the form that AWS recorded."""

import re
from typing import Any

import pytest

from cloud.core import emulator
from cloud.lambdas import hooks
from cloud.stepfunctions import integrations, tasks
from cloud.stepfunctions.executions import StatesError
from cloud.stepfunctions.interpreter import Task

MISSING = b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"


def answering(status: int, headers: dict[str, str], body: bytes) -> Any:
    return lambda *_: (status, headers, body)


def test_a_result_tells_of_the_http_answer() -> None:
    result = integrations.with_metadata({"Z": 1}, 200, {"Content-Type": "text/xml", "x-amzn-requestid": "r"})
    metadata = result["SdkHttpMetadata"]
    assert list(result) == ["SdkHttpMetadata", "SdkResponseMetadata", "Z"]
    assert result["SdkResponseMetadata"] == {"RequestId": "r"}
    assert metadata["HttpStatusCode"] == 200
    assert metadata["HttpHeaders"].keys() == {"Content-Type", "Date", "x-amzn-RequestId"}
    assert metadata["AllHttpHeaders"] == {name: [value] for name, value in metadata["HttpHeaders"].items()}


def test_an_object_is_read_as_text() -> None:
    send = answering(200, {"content-length": "9", "content-type": "binary/octet-stream"}, b"text data")
    found = integrations.call_sdk("arn:aws:states:::aws-sdk:s3:getObject", {"Bucket": "b", "Key": "k"}, send)
    assert (found["Body"], found["ContentLength"]) == ("text data", 9)
    send = answering(200, {}, b"\xff\x00")
    found = integrations.call_sdk("arn:aws:states:::aws-sdk:s3:getObject", {"Bucket": "b", "Key": "k"}, send)
    assert found["Body"] == "\ufffd\x00"
    assert "SdkHttpMetadata" not in found  # only the optimized integrations have it


@pytest.mark.parametrize(
    ("body", "written", "checksum"),
    [
        ("text data", b'"text data"', "KUmHvQ=="),
        ({"Dict": "Value"}, b'{"Dict":"Value"}', "hnEfWw=="),
        (False, b"false", "K81oMA=="),
        (0, b"0", "9NvfIQ=="),
        ("é", b'"\xc3\xa9"', ""),
    ],
)
def test_an_objects_content_is_written_in_json(body: Any, written: bytes, checksum: str) -> None:
    """The first four are recorded."""
    sent: list[Any] = []

    def send(*request: Any) -> Any:
        sent.extend(request)
        return 200, {"etag": '"e"'}, b""

    arguments = {"Bucket": "b", "Key": "a b/é", "Body": body}
    result = integrations.call_sdk("arn:aws:states:::aws-sdk:s3:putObject", arguments, send)
    checksum = checksum or result["ChecksumCRC32"]
    assert result == {"ChecksumCRC32": checksum, "ChecksumType": "FULL_OBJECT", "ETag": '"e"'}
    _, method, path, headers, content, _ = sent
    assert (method, path, content) == ("PUT", "/b/a b/é", written)
    assert headers["content-type"] == "text/plain; charset=UTF-8"


@pytest.mark.parametrize(
    ("resource", "arguments", "answer", "error", "cause"),
    [
        (
            "aws-sdk:s3:getObject",
            {"Bucket": "b", "Key": "k"},
            (404, {"x-amz-request-id": "q", "x-amz-id-2": "x"}, MISSING),
            "S3.NoSuchKeyException",
            "The specified key does not exist. (Service: S3, Status Code: 404, Request ID: q, Extended Request ID: x)",
        ),
        (
            "aws-sdk:s3:headObject",
            {"Bucket": "b", "Key": "k"},
            (404, {"x-amz-request-id": "q", "x-amz-id-2": "x"}, b""),
            "S3.NoSuchKeyException",
            "null (Service: S3, Status Code: 404, Request ID: q, Extended Request ID: x)",
        ),
        (
            "aws-sdk:ssm:getParameter",
            {"Name": "n"},
            (400, {"x-amzn-requestid": "q"}, b'{"__type": "ParameterNotFound", "message": "no"}'),
            "Ssm.ParameterNotFoundException",
            "no (Service: Ssm, Status Code: 400, Request ID: q)",
        ),
    ],
)
def test_an_error_names_service_status_and_request(
    resource: str, arguments: dict[str, Any], answer: tuple[int, dict[str, str], bytes], error: str, cause: str
) -> None:
    with pytest.raises(StatesError) as failed:
        integrations.call_sdk(f"arn:aws:states:::{resource}", arguments, answering(*answer))
    assert (failed.value.error, failed.value.cause) == (error, cause)


def test_an_optimized_integrations_error_has_the_words_of_the_older_sdk() -> None:
    words = integrations.older_words("no", "AWSLambda", 404, "ResourceNotFoundException", {"x-amzn-requestid": "q"})
    assert words == (
        "no (Service: AWSLambda; Status Code: 404; Error Code: ResourceNotFoundException; Request ID: q; Proxy: null)"
    )
    unknown = integrations.older_words("no", "AWSLambda", 404, "E", {})
    assert re.search(r"Request ID: [0-9a-f-]{36};", unknown)


def test_nothing_waits_for_a_function_that_is_invoked_with_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    def answer(*request: Any) -> Any:
        sent.extend(request)
        return 202, {}, b""

    monkeypatch.setattr(emulator, "answer", answer)
    arguments = {"FunctionName": "f", "InvocationType": "Event", "Payload": {"a": 1}}
    result = tasks._invoke(Task("arn:aws:states:::lambda:invoke", arguments, print))
    assert (result["StatusCode"], result["Payload"]) == (202, {})
    assert "ExecutedVersion" not in result
    assert (sent[3]["x-amz-invocation-type"], sent[4]) == ("Event", b'{"a":1}')


@pytest.mark.parametrize(
    ("code", "error"),
    [("ResourceNotFoundException", "Lambda.ResourceNotFoundException"), ("", "Lambda.AWSLambdaException")],
)
def test_an_event_that_lambda_refuses_fails_the_task(monkeypatch: pytest.MonkeyPatch, code: str, error: str) -> None:
    headers = {"x-amzn-errortype": code} if code else {}
    monkeypatch.setattr(emulator, "answer", answering(400, headers, b'{"message": "no"}'))
    with pytest.raises(StatesError) as failed:
        tasks._invoke(Task("arn:aws:states:::lambda:invoke", {"FunctionName": "f", "InvocationType": "Event"}, print))
    assert failed.value.error == error


FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"
TIMED_OUT = {"errorType": "Sandbox.Timedout", "errorMessage": "RequestId: r Error: Task timed out after 1.00 seconds"}
RAISED = {"errorMessage": "no", "errorType": "Bad", "requestId": "r", "stackTrace": []}


@pytest.mark.parametrize(
    ("work", "resource", "body", "cause"),
    [
        (
            tasks._invoke,
            "arn:aws:states:::lambda:invoke",
            TIMED_OUT,
            '{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: r Error: Task timed out after 1.00 seconds"}',
        ),
        (
            tasks._call_function,
            FUNCTION,
            TIMED_OUT,
            '{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: r Error: Task timed out after 1.00 seconds"}',
        ),
        (
            tasks._invoke,
            "arn:aws:states:::lambda:invoke",
            RAISED,
            '{"errorMessage":"no","errorType":"Bad","requestId":"r","stackTrace":[]}',
        ),
        (
            tasks._call_function,
            FUNCTION,
            RAISED,
            '{"errorMessage": "no", "errorType": "Bad", "requestId": "r", "stackTrace": []}',
        ),
    ],
)
def test_a_functions_failure_is_the_cause_as_it_came(
    monkeypatch: pytest.MonkeyPatch, work: Any, resource: str, body: Any, cause: str
) -> None:
    monkeypatch.setattr(hooks, "run_function", lambda *_: ("f", "$LATEST", {"error": True, "body": body}))
    with pytest.raises(StatesError) as failed:
        work(Task(resource, {"FunctionName": "f"}, print))
    assert (failed.value.error, failed.value.cause) == (body["errorType"], cause)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (float("nan"), "NaN"),
        ({"a": [1, {"b": float("inf")}]}, "Infinity"),
        ([float("-inf")], "-Infinity"),
        ('{"a": NaN}', "NaN"),
    ],
)
def test_a_function_cannot_return_what_json_does_not_have(
    monkeypatch: pytest.MonkeyPatch, body: Any, word: str
) -> None:
    monkeypatch.setattr(hooks, "run_function", lambda *_: ("f", "$LATEST", {"body": body}))
    for work, resource in ((tasks._invoke, "arn:aws:states:::lambda:invoke"), (tasks._call_function, FUNCTION)):
        with pytest.raises(StatesError) as failed:
            work(Task(resource, {"FunctionName": "f"}, print))
        assert failed.value.error == "States.Runtime"
        assert failed.value.cause == f"The function's result is no JSON: {word} is no number of JSON"


STATES = "arn:aws:states:::"
NULL_ITEM = "1 validation error detected: Value null at 'item' failed to satisfy constraint: Member must not be null"


@pytest.mark.parametrize(
    ("resource", "arguments", "error", "cause"),
    [
        (
            "aws-sdk:dynamodb:putItem",
            {"TableName": "t", "Item": None},
            "DynamoDb.DynamoDbException",
            f"{NULL_ITEM} (Service: DynamoDb, Status Code: 400, Request ID: ",
        ),
        (
            "aws-sdk:dynamodb:putItem",
            {"TableName": None, "Item": None},
            "DynamoDb.DynamoDbException",
            "2 validation errors detected: Value null at 'tableName' failed to satisfy constraint: ",
        ),
        (
            "lambda:invoke",
            {"FunctionName": None},
            "Lambda.SdkClientException",
            "Unable to marshall request to JSON: FunctionName cannot be null",
        ),
        (
            "aws-sdk:s3:getObject",
            {"Bucket": None, "Key": "k"},
            "S3.SdkClientException",
            "Unable to marshall request to XML: Parameter 'Bucket' must not be null",
        ),
        (
            "sns:publish",
            {"TopicArn": "t", "Message": None},
            "SNS.AmazonSNSException",
            "1 validation error detected: Value null at 'message' failed to satisfy constraint: Member must not be"
            " null (Service: AmazonSNS; Status Code: 400; Error Code: ValidationError; ",
        ),
        (
            "sagemaker:createTrainingJob",
            {"TrainingJobName": "n", "AlgorithmSpecification": {"TrainingInputMode": None}},
            "SageMaker.AmazonSageMakerException",
            "1 validation error detected: Value null at 'algorithmSpecification.trainingInputMode' failed",
        ),
    ],
)
def test_a_required_argument_that_is_null_is_missed_by_the_service(
    resource: str, arguments: dict[str, Any], error: str, cause: str
) -> None:
    """The first is recorded; the words of the SDK are those of its source."""
    with pytest.raises(StatesError) as failed:
        tasks._authorize(None, "r", "e", f"{STATES}{resource}", arguments)  # type: ignore[arg-type]
    assert (failed.value.error, (failed.value.cause or "")[: len(cause)]) == (error, cause)


def test_other_arguments_that_are_null_are_not_sent() -> None:
    arguments = {"FunctionName": "f", "Qualifier": None, "InvocationType": None, "Payload": {"a": None}}
    assert integrations.null_problem(f"{STATES}lambda:invoke", arguments) is None
    assert integrations.without_nulls(f"{STATES}lambda:invoke", arguments) == {
        "FunctionName": "f",
        "Payload": {"a": None},
    }
    assert integrations.without_nulls(f"{STATES}lambda:invoke", {"FunctionName": "f", "Payload": None}) == {
        "FunctionName": "f",
        "Payload": None,
    }
    nested = {"TrainingJobName": "n", "Tags": [{"Key": "k", "Value": "v"}], "StoppingCondition": {"MaxWait": None}}
    found = integrations.without_nulls(f"{STATES}sagemaker:createTrainingJob", nested)
    assert found["StoppingCondition"] == {}
    function = "arn:aws:lambda:us-east-1:000000000000:function:f"
    assert integrations.without_nulls(function, {"a": None}) == {"a": None}


def test_times_of_s3_have_no_fractions() -> None:
    body = b"<R><Contents><Key>k</Key><LastModified>2026-03-14T01:59:00.123Z</LastModified></Contents></R>"
    found = integrations.call_sdk(f"{STATES}aws-sdk:s3:listObjectsV2", {"Bucket": "b"}, answering(200, {}, body))
    assert found["Contents"] == [{"Key": "k", "LastModified": "2026-03-14T01:59:00Z"}]


def test_a_service_that_the_laptop_has_not_can_be_caught() -> None:
    resource = f"{STATES}aws-sdk:rds:startDBInstance"
    error = integrations.missing(resource, "The laptop cloud has no rds:StartDBInstance")
    assert error.error == "Rds.RdsException"
    assert str(error.cause).startswith("The laptop cloud has no rds:StartDBInstance (Service: Rds, Status Code: 501, ")
