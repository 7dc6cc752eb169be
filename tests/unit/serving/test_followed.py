"""``python -m local trace`` reads what the programs write: prediction function, server and the model's function."""

import base64
import importlib
import io
import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from classify.hosting import Hosting
from classify.model_function import FunctionModel
from local.trace_lines import Groups, Line
from local.trace_steps import Followed, followed
from serving.model import ServedModel
from serving.photo_function import PhotoFunction
from serving.server import CORRELATION_HEADER, make_app
from serving.telemetry import JsonLines
from tests.prediction_function import imported
from tests.unit.functions.events import rest_event
from tests.unit.serving.conftest import COLOURS, photo
from tests.unit.serving.test_photo_function import archive, function, manifest  # noqa: F401  (fixtures)
from tests.unit.serving.test_server import Client

GROUPS = Groups.of("kennel", "dogs")
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PHOTO = photo(COLOURS["001.Red_setter"], 800)


def written(app: Any, caplog: pytest.LogCaptureFixture, group: str) -> list[Line]:
    """Return the lines of the log as CloudWatch has them; those of the model go into ``group``."""
    lines = []
    for record in caplog.records:
        if record.name == "kennel.serving":
            lines.append(Line(group, "the model's", 1000 * record.created, json.loads(JsonLines().format(record))))
        elif record.getMessage() in ("request", "asking again"):
            document = json.loads(app.logger.registered_formatter.format(record))
            lines.append(Line(GROUPS.function, "2026/11/30/[7]0a1b", 1000 * record.created, document))
    return lines


def ask(app: Any, caplog: pytest.LogCaptureFixture, group: str, flags: str) -> Followed:
    """Send a photo with a ``traceparent`` to the prediction function, and follow it through what was logged."""
    caplog.clear()
    body = base64.b64encode(PHOTO).decode()
    event = rest_event("POST", "/classify", body, True, {"traceparent": f"00-{TRACE}-{PARENT}-{flags}"})
    context = SimpleNamespace(function_name="f", memory_limit_in_mb=512, invoked_function_arn="a", aws_request_id="i")
    context.get_remaining_time_in_millis = lambda: 28_000
    assert app.handler(event, context)["statusCode"] == 200
    return followed(written(app, caplog, group), GROUPS)


def test_request_to_the_server_is_followed_with_its_attempts(
    model: ServedModel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, failures = Client(make_app(model)), [503]

    def invoke_endpoint(**sent: Any) -> dict[str, Any]:
        if failures and failures.pop():
            error: Any = {"Error": {"Code": "ServiceUnavailable"}, "ResponseMetadata": {"HTTPStatusCode": 503}}
            raise ClientError(error, "InvokeEndpoint")
        answer = client.post(sent["Body"], sent["ContentType"], **{CORRELATION_HEADER: sent["CustomAttributes"]})
        return {"Body": io.BytesIO(answer.content)}

    with imported("classify.app") as (app, patch):
        patch.setattr("classify.routes.hosting.model.runtime", SimpleNamespace(invoke_endpoint=invoke_endpoint))
        caplog.set_level(logging.INFO)
        found = ask(app, caplog, GROUPS.endpoint, "01")
        assert [(each.number, bool(each.error), each.where) for each in found.attempts] == [
            (1, True, ""),
            (2, False, "the model's"),
        ]
        assert found.attempts[1].model["parent_id"] == found.attempts[1].span_id
        assert found.ids == {"trace_id": TRACE, "parent_id": PARENT, "function_request_id": "i"}
        versions = {"model_version": model.artifact.card.version, "function_version": "7", "instance": "the model's"}
        assert found.versions == versions
        names = [step.name for step in found.steps]
        assert names == [
            *("function", "read the photo", "make it smaller", "ask the model", "attempt 1", "attempt 2"),
            *("model server", "wait for a core", "decode", "network"),
        ]
        assert [step.name for step in ask(app, caplog, GROUPS.endpoint, "00").steps] == ["function"]


def test_request_to_the_models_function_is_followed(
    function: PhotoFunction,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Lambda:
        def post(self, _target: str, body: bytes, _headers: Any) -> Any:
            content = function.invoke(body, 60, "request-2")
            return SimpleNamespace(status_code=200, headers={}, content=content, text=content.decode())

    with imported("classify.app") as (app, patch):
        models = {"function": lambda: FunctionModel(Lambda(), "dogs-model")}  # type: ignore[arg-type]
        patch.setattr(importlib.import_module("classify.routes"), "hosting", Hosting("function", models, str))
        caplog.set_level(logging.INFO)
        found = ask(app, caplog, GROUPS.model_function, "01")
    (attempt,) = found.attempts
    assert attempt.model["trace_id"] == TRACE
    assert attempt.model["correlation_id"] == found.correlation_id == "request-1"
    assert [step.name for step in found.steps][-4:] == ["model server", "wait for a core", "decode", "network"]
    assert "instance" not in found.versions
