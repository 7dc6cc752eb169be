"""The server's image as a Lambda function on the laptop cloud: it answers as the server does, or refuses to start."""

import base64
import http.client
import json
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import forged_photos as forged
from tests.integration.colours import Server, coloured_artifact, photo
from tests.integration.laptop import ROLE, Cloud, await_function
from tests.integration.photo_functions import IMAGE, build_server, coloured_model

PHOTOS = {
    "red": photo("red"),
    "mixed": photo((90, 120, 60)),
    "costly": forged.flat_png(2000, 1500),
    "text": b"no photo",
    "cut": photo("blue")[:60],
    "too many pixels": forged.flat_png(4100, 4000),
    "too many scans": forged.repeated_scans(1000, 3000),
}
KEY = "runs/function/model.tar.gz"
Ask = Callable[..., tuple[Any, str]]


@pytest.fixture(scope="module")
def model(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a function with the coloured model, which lies in the bucket under a newer, other version."""
    archive, manifest = coloured_model(tmp_path_factory.mktemp("function"))
    s3 = cloud.client("s3")
    bucket = f"function-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    put = s3.put_object(Bucket=bucket, Key=KEY, Body=archive)
    s3.put_object(Bucket=bucket, Key=KEY, Body=b"another model")
    return {
        "KENNEL_ARTIFACT": f"s3://{bucket}/{KEY}",
        "KENNEL_ARTIFACT_VERSION": put["VersionId"],
        "KENNEL_MANIFEST": manifest,
    }


@pytest.fixture(scope="module")
def ask(cloud: Cloud, model: dict[str, str]) -> Iterator[Ask]:
    """Make functions from the server's image, one for each set of variables, and ask them."""
    build_server(cloud)
    client = cloud.client("lambda")
    names: dict[str, str] = {}

    def invoke(event: Any, role: str = ROLE, **variables: str) -> tuple[Any, str]:
        key = json.dumps([role, variables])
        if key not in names:
            names[key] = f"photo-{uuid.uuid4().hex[:8]}"
            client.create_function(
                FunctionName=names[key],
                PackageType="Image",
                Code={"ImageUri": IMAGE},
                ImageConfig={"EntryPoint": ["python", "-m", "serving.function"]},
                Role=role,
                MemorySize=1769,
                Timeout=60,
                Environment={"Variables": model | variables},
            )
            await_function(client, names[key])
        response = client.invoke(FunctionName=names[key], LogType="Tail", Payload=json.dumps(event))
        return json.load(response["Payload"]), base64.b64decode(response["LogResult"]).decode()

    yield invoke
    for name in names.values():
        client.delete_function(FunctionName=name)


def event_of(content: bytes) -> dict[str, str]:
    return {"photo": base64.b64encode(content).decode(), "correlation_id": "c-1"}


def url_event_of(content: bytes) -> dict[str, Any]:
    """Return the event of a request to the function's URL, without what the function does not read."""
    context = {"http": {"method": "POST", "sourceIp": "127.0.0.1"}}
    body = base64.b64encode(content).decode()
    return {
        "version": "2.0",
        "rawPath": "/classify",
        "requestContext": context,
        "body": body,
        "isBase64Encoded": True,
    }


def test_function_answers_as_the_server_does(ask: Ask, tmp_path: Path) -> None:
    """The first answer comes from a cold start, those after it from the same process, also those by its URL."""
    (tmp_path / "net").mkdir()
    server = Server(coloured_artifact(tmp_path / "net"), tmp_path / "model")
    server.connect().close()
    logs = []
    try:
        for name, content in PHOTOS.items():
            connection = http.client.HTTPConnection("127.0.0.1", server.port)
            connection.request("POST", "/invocations", content, {"Content-Type": "image/jpeg"})
            response = connection.getresponse()
            document = json.loads(response.read())
            answer, log = ask(event_of(content))
            logs.append(log)
            assert answer == {"status": response.status, "body": document}, name
            by_url, _ = ask(url_event_of(content))
            assert by_url["statusCode"] == response.status, name
            if response.status == 200:
                assert json.loads(by_url["body"]) == document
            connection.close()
    finally:
        server.process.kill()
        server.process.communicate()
    assert [("Init Duration" in log) for log in logs] == [True] + [False] * (len(PHOTOS) - 1)
    assert '"event": "loaded", "model_version": "colours-1"' in logs[0]
    assert '"correlation_id": "c-1"' in logs[-1]  # A refusal has a line of its own.
    assert ask({"describe": "breeds"})[0] == {"status": 200, "body": {"breeds": ["Red", "Green", "Blue"]}}
    sampled = "c-2;traceparent=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    answer, log = ask({**event_of(PHOTOS["red"]), "correlation_id": sampled})
    assert answer["status"] == 200
    assert '"correlation_id": "c-2", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"' in log


@pytest.mark.parametrize(
    ("variables", "kind", "words"),
    [
        ({"KENNEL_MANIFEST": "0" * 64}, "Model.ArtifactError", "is not the model that was judged: the SHA-256 of its"),
        ({"KENNEL_ARTIFACT_VERSION": ""}, "Model.ArtifactError", "not a readable model archive"),
        ({"KENNEL_ARTIFACT": "s3://kennel/nothing"}, "Model.BucketError", "s3://kennel/nothing"),
        ({"KENNEL_MANIFEST": ""}, "Model.FunctionSettingsError", "KENNEL_MANIFEST is ''"),
    ],
)
def test_function_with_another_model_does_not_start(
    ask: Ask, model: dict[str, str], variables: dict[str, str], kind: str, words: str
) -> None:
    answer, log = ask(event_of(PHOTOS["red"]), **variables)
    assert answer["errorType"] == kind
    assert words in answer["errorMessage"]
    if "the SHA-256 of its" in words:
        assert model["KENNEL_MANIFEST"] in answer["errorMessage"]
    assert re.search(rf"INIT_REPORT .*\tPhase: init\tStatus: error\tError Type: {kind}", log)


def test_function_reads_with_the_rights_of_its_own_role(cloud: Cloud, ask: Ask) -> None:
    role = cloud.make_role(f"photo-{uuid.uuid4().hex[:8]}", {"Effect": "Allow", "Action": "s3:List*", "Resource": "*"})
    answer, _ = ask(event_of(PHOTOS["red"]), role)
    assert answer["errorType"] == "Model.BucketError"
    assert "S3 answered 403 AccessDenied" in answer["errorMessage"]
