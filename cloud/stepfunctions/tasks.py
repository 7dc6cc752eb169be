"""State machines: what IAM lets them do, and their optimized integrations, with AWS's error names."""

import contextlib
import functools
import json
import time
from typing import Any

from cloud.core.protocol import ApiError, JsonApi
from cloud.iam import authorization, permissions
from cloud.stepfunctions import hooks, integrations
from cloud.stepfunctions.executions import Part, StatesError

_PREFIX = "arn:aws:states:::sagemaker:"
_POLL_SECONDS = 0.2
_TERMINAL = ("Completed", "Failed", "Stopped")
# What optimized integrations call a denial: their service's exceptions in the older SDK.
_DENIED = {
    "codebuild": ("CodeBuild.AWSCodeBuildException", "AWSCodeBuild", "AccessDeniedException"),
    "lambda": ("Lambda.AWSLambdaException", "AWSLambda", "AccessDeniedException"),
    "sagemaker": ("SageMaker.AmazonSageMakerException", "AmazonSageMaker", "AccessDeniedException"),
    "sns": ("SNS.AuthorizationErrorException", "AmazonSNS", "AuthorizationError"),
}
_NO_KEY = ("SNS.KMSAccessDeniedException", "AmazonSNS", "KMSAccessDenied")


def install(sagemaker: JsonApi, gate: authorization.Gate) -> None:
    """Run state machines as AWS does, and let them call SageMaker's and SNS' optimized integrations."""
    hooks.run_state_machines(functools.partial(_authorize, gate))
    hooks.add_task(_PREFIX, lambda resource, arguments: _task(sagemaker, resource, arguments))
    hooks.add_task("arn:aws:states:::sns:publish", _publish)


def _authorize(gate: authorization.Gate, role: str, execution: str, resource: str, arguments: Any) -> None:
    """Ask IAM whether a state machine's role allows all that AWS does for a task.

    Raises:
        StatesError: it does not.
    """
    try:
        needed = permissions.of_task(resource, arguments, gate.place())
        authorization.authorize(authorization.assume(role, permissions.STATES, execution[:64]), needed)
    except permissions.UnknownRequestError as error:
        raise StatesError("States.Runtime", str(error)) from None
    except authorization.DeniedError as error:
        if ":aws-sdk:" in resource:
            raise integrations.denied(resource, str(error)) from None
        service = resource.split(":")[5]
        name, sdk, code = _NO_KEY if service == "sns" and "perform: kms:" in str(error) else _DENIED[service]
        raise StatesError(name, f"{error} (Service: {sdk}; Error Code: {code})") from None


def _publish(_resource: str, arguments: dict[str, Any]) -> Any:
    """``sns:publish``, which writes a message that is not text as JSON; errors have the older SDK's names."""
    message = arguments["Message"]
    text = message if isinstance(message, str) else json.dumps(message)
    try:
        return hooks.call_sdk("arn:aws:states:::aws-sdk:sns:publish", {**arguments, "Message": text})
    except StatesError as error:
        name = error.error.replace("Sns.SnsException", "SNS.AmazonSNSException").replace("Sns.", "SNS.")
        raise StatesError(name, error.cause) from None


def _task(api: JsonApi, resource: str, arguments: dict[str, Any]) -> dict[str, Any]:
    action, _, pattern = resource.removeprefix(_PREFIX).partition(".")
    operation = action[:1].upper() + action[1:]
    answer = _call(api, operation, arguments)
    kind = operation.removeprefix("Create")
    return _wait(api, kind, arguments[f"{kind}Name"]) if pattern else answer


def _wait(api: JsonApi, kind: str, name: str) -> dict[str, Any]:
    """Wait for a job's end; stop it when nobody waits for the task any more."""
    while True:
        description = _call(api, f"Describe{kind}", {f"{kind}Name": name})
        status = description[f"{kind}Status"]
        if status in _TERMINAL:
            break
        if Part.current_is_over():
            _stop(api, kind, name)
            # The thread that is left over ends here, silently: retries and catchers of a stopped
            # execution must not run.
            raise SystemExit
        time.sleep(_POLL_SECONDS)
    result = {key: _millis(key, value) for key, value in description.items()}
    if status != "Completed":
        raise StatesError("States.TaskFailed", json.dumps(result))
    return result


def _call(api: JsonApi, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        return api.call(operation, arguments)
    except ApiError as error:
        limit = error.code == "ResourceLimitExceeded"
        name = "ResourceLimitExceededException" if limit else "AmazonSageMakerException"
        cause = f"{error.message} (Service: AmazonSageMaker; Error Code: {error.code})"
        raise StatesError(f"SageMaker.{name}", cause) from None


def _stop(api: JsonApi, kind: str, name: str) -> None:
    with contextlib.suppress(ApiError):  # it may have ended by itself just now
        api.call(f"Stop{kind}", {f"{kind}Name": name})


def _millis(key: str, value: Any) -> Any:
    """Times as Step Functions gives them in a ``.sync`` result: epoch milliseconds."""
    if isinstance(value, dict):
        return {name: _millis(name, item) for name, item in value.items()}
    if isinstance(value, list):
        return [_millis(key, item) for item in value]
    if isinstance(value, float) and (key.endswith("Time") or key == "Timestamp"):
        return round(value * 1000)
    return value
