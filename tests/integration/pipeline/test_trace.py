"""A request that is traced by its caller is followed through the logs of the deployed stack."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import urllib3

from local import trace
from local.home import LocalError
from tests.integration import function_url
from tests.integration.laptop import eventually
from tests.integration.pipeline.kennel import Kennel

PARENT = "00f067aa0ba902b7"


def classify(kennel: Kennel, trace_id: str, flags: str = "01") -> Any:
    """Send a photo to the REST API as a part of a trace, and return the answer."""
    photo = next((kennel.photos / "test").rglob("*.jpg")).read_bytes()
    headers = {"x-api-key": kennel.record["api"]["key"], "traceparent": f"00-{trace_id}-{PARENT}-{flags}"}
    return urllib3.request("POST", kennel.record["api"]["url"], body=photo, headers=headers, retries=False, timeout=60)


def follow(kennel: Kennel, capsys: pytest.CaptureFixture[str], name: str) -> list[dict[str, Any]]:
    """Return what the command says about a request or a trace."""
    capsys.readouterr()
    assert trace.trace(kennel.laptop, name, hours=1, as_json=True) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def settled(kennel: Kennel, capsys: pytest.CaptureFixture[str], name: str, number: int = 1) -> list[dict[str, Any]]:
    """Follow a trace until the model server's lines, which are some time late, have arrived."""

    def look() -> list[dict[str, Any]]:
        try:
            return follow(kennel, capsys, name)
        except LocalError:
            return []

    return eventually(look, lambda found: len(found) == number and all(each["attempts"][-1]["where"] for each in found))


def test_each_request_of_a_trace_is_followed_from_both_doors_to_the_model(
    kennel: Kennel, capsys: pytest.CaptureFixture[str]
) -> None:
    trace_id, photo = os.urandom(16).hex(), next((kennel.photos / "test").rglob("*.jpg")).read_bytes()
    answer = classify(kennel, trace_id)
    sent = {"Content-Type": "image/jpeg", "traceparent": f"00-{trace_id}-{PARENT}-01", "tracestate": "secret=1"}
    url = f"{kennel.outputs()['FunctionUrl']}classify"
    status, document, headers = function_url.ask(kennel.client("lambda"), url, "POST", photo, **sent)
    assert (answer.status, status) == (200, 200)
    by_key, by_signature = settled(kennel, capsys, trace_id, 2)

    assert (by_key["door"], by_key["correlation_id"]) == ("REST API", answer.headers["x-amz-apigw-id"])
    assert by_key["correlation_id"] == answer.headers["x-correlation-id"]
    assert (by_signature["door"], by_signature["correlation_id"]) == ("function's URL", headers["x-correlation-id"])
    for found in (by_key, by_signature):
        assert (found["ids"]["trace_id"], found["ids"]["parent_id"]) == (trace_id, PARENT)
        (attempt,) = found["attempts"]
        assert attempt["model"]["trace_id"] == trace_id
        assert attempt["model"]["parent_id"] == attempt["span_id"] != PARENT
        assert attempt["where"].startswith("main/i-")
        spans = {step["name"]: (step["start_ms"], step["start_ms"] + step["milliseconds"]) for step in found["steps"]}
        for inner, outer in (
            ("attempt 1", "ask the model"),
            ("model server", "attempt 1"),
            ("network", "model server"),
        ):
            assert spans[outer][0] - 0.2 <= spans[inner][0] <= spans[inner][1] <= spans[outer][1] + 0.2
        versions = found["versions"]
        assert versions["model_version"] == document["model_version"]
        package = kennel.client("sagemaker").describe_model_package(ModelPackageName=versions["model_package"])
        assert package["CustomerMetadataProperties"]["run"] == versions["model_version"]
        assert versions["image"] == package["InferenceSpecification"]["Containers"][0]["Image"]
        assert (versions["function_version"], len(versions["function_sha256"])) == ("1", 44)
    assert "secret" not in json.dumps([by_key, by_signature])


def test_request_that_is_not_sampled_leaves_its_ids_alone(kennel: Kennel, capsys: pytest.CaptureFixture[str]) -> None:
    trace_id = os.urandom(16).hex()
    assert classify(kennel, trace_id, flags="00").status == 200
    (found,) = follow(kennel, capsys, trace_id)
    assert [step["name"] for step in found["steps"]][-1:] == ["function"] or found["milliseconds"] >= 1000
    assert found["ids"]["trace_id"] == trace_id


def test_lost_instance_is_seen_as_attempts_that_failed(kennel: Kennel, capsys: pytest.CaptureFixture[str]) -> None:
    cloud, trace_id = kennel.drill_cloud(), os.urandom(16).hex()
    assert classify(kennel, trace_id).status == 200
    (before,) = settled(kennel, capsys, trace_id)
    for pid in cloud.instance_pids():
        os.kill(pid, signal.SIGKILL)
    trace_id = os.urandom(16).hex()
    assert classify(kennel, trace_id).status == 200
    (found,) = settled(kennel, capsys, trace_id)
    *failed, last = found["attempts"]
    assert failed
    assert all(each["error"] and not each["where"] for each in failed)
    assert [each["number"] for each in found["attempts"]] == list(range(1, len(failed) + 2))
    assert (last["error"], last["where"] != before["attempts"][0]["where"]) == ("", True)
    assert len({each["span_id"] for each in found["attempts"]}) == len(failed) + 1


def test_command_draws_a_refusal_and_says_where_it_looked_for_what_is_not_there(kennel: Kennel, tmp_path: Path) -> None:
    url, headers = kennel.record["api"]["url"], {"x-api-key": kennel.record["api"]["key"]}
    refused = urllib3.request("POST", url, body=b"no photo", headers=headers, retries=False)
    (tmp_path / "answer.json").write_bytes(refused.data)
    command = kennel.local("trace", str(tmp_path / "answer.json"))
    assert command.returncode == 0, command.stderr
    assert "  POST /classify  415  " in command.stdout
    assert "read the photo" in command.stdout
    stranger = urllib3.request("POST", url, body=b"no photo", retries=False)
    command = kennel.local("trace", stranger.headers["x-amz-apigw-id"])
    assert (command.returncode, command.stdout) == (1, "")
    assert "searched: /aws/lambda/kennel-classify, " in command.stderr
    assert "unless the stack has ApiAccessLog=true" in command.stderr
