"""SageMaker and Application Auto Scaling as tasks of state machines, with AWS's error names."""

import contextlib
import json
import time
from collections.abc import Iterable
from typing import Any

from local.cloud import ministack
from local.cloud.api import ApiError, JsonApi

_PREFIX = "arn:aws:states:::sagemaker:"
_POLL_SECONDS = 0.2
_TERMINAL = ("Completed", "Failed", "Stopped")
# What no service model names becomes the service's general exception.
_GENERAL_CODES = ("ValidationException", "UnknownOperationException", "InternalFailure")


def install(sagemaker: JsonApi) -> None:
    """Let state machines call SageMaker (optimized and ``aws-sdk:``) and Application Auto Scaling."""
    ministack.follow_executions()
    ministack.add_task(_PREFIX, lambda resource, arguments: _task(sagemaker, resource, arguments))
    ministack.add_sdk_service("sagemaker", "sagemaker", "SageMaker", "SageMaker")
    ministack.add_sdk_service(
        "applicationautoscaling",
        "application-autoscaling",
        "AnyScaleFrontendService",
        "ApplicationAutoScaling",
    )
    for sdk_name, model, prefix in (
        ("sagemaker", "sagemaker", "SageMaker"),
        ("applicationautoscaling", "application-autoscaling", "ApplicationAutoScaling"),
        ("ssm", "ssm", "Ssm"),
    ):
        modelled = [shape.name for shape in ministack.service_model(model).error_shapes]
        ministack.rename_sdk_errors(sdk_name, sdk_error_names(modelled, prefix))


def sdk_error_names(modelled: Iterable[str], prefix: str) -> dict[str, str]:
    """Names of errors in Step Functions by the service's codes.

    They are the class names of AWS's Java SDK: ``ResourceInUse`` is ResourceInUseException there,
    and what the service model does not name is the general ``<prefix>Exception``.
    """
    general = dict.fromkeys(_GENERAL_CODES, f"{prefix}Exception")
    return general | {code: f"{code.removesuffix('Exception')}Exception" for code in modelled}


def _task(api: JsonApi, resource: str, arguments: dict[str, Any]) -> dict[str, Any]:
    action, _, pattern = resource.removeprefix(_PREFIX).partition(".")
    operation = action[:1].upper() + action[1:]
    answer = _call(api, operation, arguments)
    if not pattern:
        return answer
    if pattern != "sync" or operation not in ("CreateTrainingJob", "CreateProcessingJob"):
        raise ministack.task_error("States.Runtime", f"The laptop cloud has no {resource}")
    kind = operation.removeprefix("Create")
    return _wait(api, kind, arguments[f"{kind}Name"])


def _wait(api: JsonApi, kind: str, name: str) -> dict[str, Any]:
    """Wait for a job's end; stop it when nobody waits for the task any more."""
    while True:
        description = _call(api, f"Describe{kind}", {f"{kind}Name": name})
        status = description[f"{kind}Status"]
        if status in _TERMINAL:
            break
        if ministack.task_is_over():
            _stop(api, kind, name)
            # The thread that is left over ends here, silently: retries and catchers of a stopped
            # execution must not run.
            raise SystemExit
        time.sleep(_POLL_SECONDS)
    result = {key: _millis(key, value) for key, value in description.items()}
    if status != "Completed":
        raise ministack.task_error("States.TaskFailed", json.dumps(result))
    return result


def _call(api: JsonApi, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        return api.call(operation, arguments)
    except ApiError as error:
        limit = error.code == "ResourceLimitExceeded"
        name = "ResourceLimitExceededException" if limit else "AmazonSageMakerException"
        cause = f"{error.message} (Service: AmazonSageMaker; Error Code: {error.code})"
        raise ministack.task_error(f"SageMaker.{name}", cause) from None


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
