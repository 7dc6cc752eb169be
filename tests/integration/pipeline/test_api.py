"""The prediction API as deployed: its routes, keys, quotas, both doors, its document and its page."""

import json
import re
import time
from pathlib import Path
from typing import Any

import boto3
import pytest
import schemathesis
import urllib3
from hypothesis import HealthCheck, given, settings
from playwright.sync_api import expect
from schemathesis.specs.openapi.checks import positive_data_acceptance

from dataset import breed_name
from tests.integration import function_url
from tests.integration.chromium import chromium
from tests.integration.laptop import eventually
from tests.integration.pipeline.kennel import BREEDS_USED, Kennel, policy_document, revoked


def test_api_names_breeds(kennel: Kennel) -> None:
    files = sorted(str(path) for path in (kennel.photos / "test").rglob("*.jpg"))
    command = kennel.local("classify", "--json", *files)
    lines = [json.loads(line) for line in command.stdout.splitlines()]
    assert [line["file"] for line in lines] == files
    correct = [line["breed"] == breed_name(Path(line["file"]).parent.name) for line in lines]
    assert sum(correct) / len(correct) == pytest.approx(kennel.record["evaluation"]["challenger"]["top1"], abs=0.001)
    assert lines[0]["top"][0]["breed"] == lines[0]["breed"]
    assert lines[0]["probability"] == pytest.approx(lines[0]["top"][0]["probability"])


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("corrupt.jpg", b"\xff\xd8\xff\xe0 cut off", "image"),
        ("empty.png", b"", "empty"),
        ("words.txt", b"no photo", "is no JPEG, PNG or WebP photo"),
        ("huge.jpg", b"\xff\xd8\xff" + bytes(4_600_000), "bytes"),
    ],
)
def test_api_refuses_what_is_no_photo_with_a_sentence(
    kennel: Kennel, tmp_path: Path, name: str, body: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(body)
    command = kennel.local("classify", "--json", str(tmp_path / name))
    answer = json.loads(command.stdout)
    assert command.returncode == 1
    assert 400 <= answer["status"] < 500
    assert words in answer["error"]


def ask(
    kennel: Kennel, path: str, method: str = "GET", key: str | None = "", body: bytes | None = None, kind: str = ""
) -> tuple[int, dict[str, Any], Any]:
    """Ask the REST API and return the answer's status, document and headers.

    Args:
        kennel: the cloud.
        path: the path below the stage.
        method: the HTTP method.
        key: the API key; "" for the key of the stack, None for no key.
        body: the request's body.
        kind: its content type.
    """
    url = kennel.record["api"]["url"].removesuffix("/classify") + path
    headers = {"content-type": kind} if kind else {}
    if key is not None:
        headers["x-api-key"] = key or kennel.record["api"]["key"]
    answer = urllib3.request(method, url, body=body, headers=headers, retries=False, timeout=60)
    return answer.status, answer.json(), answer.headers


def classify_object(kennel: Kennel, location: str) -> tuple[int, dict[str, Any], Any]:
    return ask(kennel, "/classify", "POST", body=json.dumps({"s3": location}).encode(), kind="application/json")


def test_api_lists_its_breeds_health_and_routes(kennel: Kennel) -> None:
    assert ask(kennel, "/breeds")[:2] == (200, {"breeds": ["Dalmatian", "Doberman", "Samoyed"]})
    assert ask(kennel, "/health", key=None)[:2] == (200, {"status": "serving"})
    assert set(ask(kennel, "/openapi.json")[1]["paths"]) == {"/classify", "/breeds", "/health", "/openapi.json"}


def test_api_has_one_public_stage(kennel: Kennel) -> None:
    stages = kennel.client("apigateway").get_stages(restApiId=kennel.outputs()["ApiId"])["item"]
    assert [each["stageName"] for each in stages] == ["v1"]


def test_api_keeps_to_its_document(kennel: Kennel) -> None:
    """Schemathesis sends requests that the document allows and requests that it does not allow."""
    api = {"base_url": kennel.record["api"]["url"].removesuffix("/classify")}
    api["headers"] = {"x-api-key": kennel.record["api"]["key"]}
    excluded = [positive_data_acceptance]  # No schema can describe which bytes are a photo.

    def check(case: schemathesis.Case) -> None:
        checked.append(case.operation.label)
        case.call_and_validate(**api, excluded_checks=excluded)

    checked: list[str] = []
    limits = settings(
        max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=[*HealthCheck]
    )
    for operation in schemathesis.openapi.from_dict(ask(kennel, "/openapi.json")[1]).get_all_operations():
        limits(given(case=operation.ok().as_strategy())(check))()
    assert set(checked) == {"POST /classify", "GET /breeds", "GET /health", "GET /openapi.json"}


def test_function_of_the_api_is_small(kennel: Kennel) -> None:
    function = kennel.client("lambda").get_function_configuration(FunctionName="kennel-classify")
    assert 1_000_000 < function["CodeSize"] < 5_000_000


def test_photo_in_the_bucket_is_named_as_if_it_were_sent(kennel: Kennel) -> None:
    photo, bucket = next((kennel.photos / "test").rglob("*.jpg")).read_bytes(), kennel.outputs()["BucketName"]
    for key in ("uploads/rex.jpg", "uploads/rex.txt", "uploads/C.Jpg", "uploads/rex", "elsewhere/C.jPeG"):
        kennel.client("s3").put_object(Bucket=bucket, Key=key, Body=photo)
    prediction = ask(kennel, "/classify", "POST", body=photo, kind="image/jpeg")[1]
    assert classify_object(kennel, "uploads/rex.jpg")[:2] == (200, prediction)
    assert classify_object(kennel, f"s3://{bucket}/uploads/rex.jpg")[:2] == (200, prediction)
    for key in ("uploads/C.Jpg", "uploads/rex"):
        assert classify_object(kennel, key)[:2] == (200, prediction)
    assert classify_object(kennel, "uploads/rex.txt")[0] == 400
    for key in ("uploads/ida.jpg", "elsewhere/C.jPeG", kennel.dataset):  # Callers learn nothing of other photos.
        status, answer = classify_object(kennel, key)[:2]
        assert (status, answer["detail"]) == (404, "there is no such photo") if key != kennel.dataset else status == 400


@pytest.mark.parametrize(
    ("path", "method", "key", "status"),
    [
        ("/classify", "POST", None, 403),
        ("/classify", "POST", "no-such-key", 403),
        ("/classify/", "POST", None, 403),
        ("/breeds", "GET", None, 403),
        ("/openapi.json", "GET", None, 403),
        ("/elsewhere", "GET", None, 403),
        ("/elsewhere", "GET", "", 404),
        ("/classify", "GET", "", 405),
        ("/", "POST", "", 404),
    ],
)
def test_api_refuses_with_a_problem_document(
    kennel: Kennel, path: str, method: str, key: str | None, status: int
) -> None:
    answered, document, headers = ask(kennel, path, method, key)
    assert (answered, document["status"], headers["Content-Type"]) == (status, status, "application/problem+json")
    assert document["correlation_id"]


def test_key_beyond_its_quota_is_told_to_wait(kennel: Kennel) -> None:
    gateway, outputs = kennel.client("apigateway"), kennel.outputs()
    key = gateway.create_api_key(name="guest", enabled=True)
    stages = [{"apiId": outputs["ApiId"], "stage": "v1"}]
    plan = gateway.create_usage_plan(name="guests", apiStages=stages, quota={"limit": 1, "period": "DAY"})
    gateway.create_usage_plan_key(usagePlanId=plan["id"], keyId=key["id"], keyType="API_KEY")
    assert ask(kennel, "/breeds", key=key["value"])[0] == 200
    status, document, headers = ask(kennel, "/breeds", key=key["value"])
    assert (status, headers["Retry-After"]) == (429, "3600")
    assert document["detail"] == "the daily quota of the key is used up"


def test_endpoints_log_has_a_refused_photo_under_the_callers_correlation_id(kennel: Kennel) -> None:
    photo = next((kennel.photos / "test").rglob("*.jpg")).read_bytes()
    status, document, _ = ask(kennel, "/classify", "POST", body=photo[: len(photo) // 2], kind="image/jpeg")
    assert status == 400
    logs, pattern = kennel.client("logs"), f'"{document["correlation_id"]}"'
    query = {"logGroupName": "/aws/sagemaker/Endpoints/kennel", "filterPattern": pattern}
    [event] = eventually(lambda: logs.filter_log_events(**query)["events"], bool)
    assert json.loads(event["message"])["error"] == "UnreadableImage"


def test_services_call_the_functions_url_with_signed_requests(kennel: Kennel) -> None:
    url, iam = kennel.outputs()["FunctionUrl"], kennel.client("iam")
    function = "arn:aws:lambda:us-east-1:000000000000:function:kennel-classify:live"
    trust = {"Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": "sts:AssumeRole"}
    both = ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"]
    answers = {}
    for name, actions in {"service": both, "stranger": ["s3:GetObject"]}.items():
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy_document(trust))["Role"]["Arn"]
        rights = {"Effect": "Allow", "Action": actions, "Resource": function}
        iam.put_role_policy(RoleName=name, PolicyName="may", PolicyDocument=policy_document(rights))
        session = kennel.client("sts").assume_role(RoleArn=role, RoleSessionName=name)["Credentials"]
        client = boto3.client(
            "lambda",
            endpoint_url=f"http://localhost:{kennel.port}",
            region_name="us-east-1",
            aws_access_key_id=session["AccessKeyId"],
            aws_secret_access_key=session["SecretAccessKey"],
            aws_session_token=session["SessionToken"],
        )
        answers[name] = function_url.ask(client, f"{url}breeds")
        photo = next((kennel.photos / "test").rglob("*.jpg")).read_bytes()
        answers[f"{name}'s photo"] = function_url.ask(
            client, f"{url}classify", "POST", photo, **{"Content-Type": "image/jpeg"}
        )
    statuses = {name: status for name, (status, _, _) in answers.items()}
    assert statuses == {"service": 200, "service's photo": 200, "stranger": 403, "stranger's photo": 403}
    assert answers["service"][1] == ask(kennel, "/breeds")[1]
    assert answers["service's photo"][1]["top"]
    assert function_url.ask(kennel.client("lambda"), f"{url}health", signed=False)[0] == 403


def test_page_answers_a_newcomer(kennel: Kennel) -> None:
    started = time.monotonic()
    with chromium() as browser:
        page = browser.new_page()
        page.goto(kennel.record["api"]["page"])
        page.get_by_role("button", name="A drawn dalmatian").click()
        page.get_by_label("API key", exact=True).fill(kennel.record["api"]["key"])
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("listitem")).to_have_count(len(BREEDS_USED))
        # Which one is first is up to the model, and another test may have promoted one that trained for two epochs.
        expect(page.get_by_role("listitem").first).to_contain_text(re.compile("|".join(BREEDS_USED)))
    print(f"run {kennel.record['seconds']} s, browser and first answer {time.monotonic() - started:.1f} s")


def test_api_predicts_nothing_without_the_right_to_invoke_the_endpoint(kennel: Kennel) -> None:
    photo = str(next((kennel.photos / "test").rglob("*.jpg")))
    with revoked(kennel, "ClassifyFunctionRole", "sagemaker:InvokeEndpoint"):
        assert kennel.local("classify", "--json", photo).returncode == 1
    assert kennel.local("classify", "--json", photo).returncode == 0
