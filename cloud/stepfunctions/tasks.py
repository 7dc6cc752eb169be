"""Tasks of state machines: their permissions, and the optimized integrations, which fail with AWS's error names."""

import contextlib
import functools
import json
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from cloud.core import emulator
from cloud.core.protocol import ApiError, JsonApi
from cloud.iam import authorization, permissions
from cloud.stepfunctions import functions, hooks, integrations
from cloud.stepfunctions.executions import StatesError, StoppableWork
from cloud.stepfunctions.history import in_unicode, text_of
from cloud.stepfunctions.interpreter import Json, Task

_SAGEMAKER = "arn:aws:states:::sagemaker:"
_CODEBUILD = "arn:aws:states:::codebuild:"
_BATCH = "arn:aws:states:::batch:"
_PUBLISH = "arn:aws:states:::sns:publish"
_INVOKE = "arn:aws:states:::lambda:invoke"
_FUNCTION = "arn:aws:lambda:"
_JSON = {"Content-Type": "application/x-amz-json-1.1", "Connection": "keep-alive"}
_JOB_POLL_SECONDS = 0.2
_BUILD_POLL_SECONDS = 0.1
_TERMINAL = ("Completed", "Failed", "Stopped")
_ENDED = ("SUCCEEDED", "FAILED")  # the last statuses of Batch's jobs
_STARTED_BY = {"name": "MANAGED_BY_AWS", "value": "STARTED_BY_STEP_FUNCTIONS"}
_MAPS = ("Parameters", "Tags")  # members of a job of Batch whose keys somebody chose
# By service: the error of an optimized integration when IAM denies the call. The names are those of the older AWS SDK
# for Java.
_DENIED = {
    "batch": ("Batch.AWSBatchException", "AWSBatch", "AccessDeniedException"),
    "codebuild": ("CodeBuild.AWSCodeBuildException", "AWSCodeBuild", "AccessDeniedException"),
    "lambda": ("Lambda.AWSLambdaException", "AWSLambda", "AccessDeniedException"),
    "sagemaker": ("SageMaker.AmazonSageMakerException", "AmazonSageMaker", "AccessDeniedException"),
    "sns": ("SNS.AuthorizationErrorException", "AmazonSNS", "AuthorizationError"),
}
_STATUS = {"AWSBatch": 403, "AWSCodeBuild": 400, "AWSLambda": 403, "AmazonSageMaker": 400, "AmazonSNS": 403}
_SNS_ERRORS = (  # the codes that the older SDK names; all others are its general exception
    *("AuthorizationError", "EndpointDisabled", "InternalError", "InvalidParameter", "InvalidParameterValue"),
    *("KMSAccessDenied", "KMSDisabled", "KMSInvalidState", "KMSNotFound", "KMSOptInRequired", "KMSThrottling"),
    *("NotFound", "PlatformApplicationDisabled"),
)
_NO_KEY = ("SNS.KMSAccessDeniedException", "AmazonSNS", "KMSAccessDenied")


CallBatch = Callable[[str, dict[str, Any]], dict[str, Any]]


def install(sagemaker: JsonApi, batch: CallBatch, authorizer: authorization.Authorizer) -> None:
    """Run state machines as AWS does, with the optimized integrations of SageMaker, Batch, CodeBuild and SNS.

    Args:
        sagemaker: SageMaker's API.
        batch: Carries out an operation of Batch on a request in the API's own form; raises ApiError.
        authorizer: Provides the scope of a task's permissions.
    """
    hooks.run_state_machines(functools.partial(_authorize, authorizer))
    hooks.add_task(_SAGEMAKER, functools.partial(_call_sagemaker_task, sagemaker))
    hooks.add_task(_CODEBUILD, _start_build)
    hooks.add_task(_BATCH, functools.partial(_submit_job, batch))
    hooks.add_task(_PUBLISH, _publish)
    hooks.add_task(_INVOKE, _invoke)
    hooks.add_task(_FUNCTION, _call_function)


def _authorize(authorizer: authorization.Authorizer, role: str, execution: str, resource: str, arguments: Any) -> None:
    """Check that a task's request can be made, and that a state machine's role has every permission that it needs.

    Raises:
        StatesError: A required argument is null, the role lacks a permission, or the laptop cloud does not know the
            task's permissions.
    """
    if problem := integrations.null_problem(resource, arguments):
        raise _failed_by_null(resource, *problem)
    try:
        if resource.startswith(_FUNCTION):  # The resource is the function itself.
            resource, arguments = _INVOKE, {"FunctionName": resource}
        needed = permissions.for_task(resource, arguments, authorizer.scope())
        authorization.authorize(authorization.assume(role, permissions.STATES, execution[:64]), needed)
    except permissions.UnknownRequestError as error:
        if ":aws-sdk:" in resource:
            raise integrations.missing(resource, str(error)) from None
        raise StatesError("States.Runtime", str(error)) from None
    except authorization.DeniedError as error:
        if ":aws-sdk:" in resource:
            raise integrations.denied(resource, str(error)) from None
        service = resource.split(":")[5]
        name, sdk, code = _NO_KEY if service == "sns" and "perform: kms:" in str(error) else _DENIED[service]
        raise StatesError(name, integrations.older_words(str(error), sdk, _STATUS[sdk], code, {})) from None


def _failed_by_null(resource: str, message: str, is_sdk: bool) -> StatesError:
    if ":aws-sdk:" in resource:
        return integrations.failed_by_null(resource, message, is_sdk)
    service = resource.split(":")[5]
    name, sdk, _ = _DENIED[service]
    if is_sdk:
        return StatesError(f"{name.partition('.')[0]}.SdkClientException", message)
    general = "SNS.AmazonSNSException" if service == "sns" else name
    code = "ValidationError" if service == "sns" else "ValidationException"
    return StatesError(general, integrations.older_words(message, sdk, 400, code, {}))


def _publish(task: Task) -> Any:
    """Carry out ``sns:publish``, which writes a message that is not text as JSON.

    Errors have the names of the older AWS SDK for Java.
    """
    message = task.arguments["Message"]
    text = message if isinstance(message, str) else text_of(message)
    try:
        answer = integrations.request(task.resource, {**task.arguments, "Message": text}, emulator.answer)
    except integrations.ServiceRefusalError as refusal:
        name = "AmazonSNSException" if refusal.code not in _SNS_ERRORS else f"{refusal.code}Exception"
        cause = integrations.older_words(refusal.message, "AmazonSNS", refusal.status, refusal.code, refusal.headers)
        raise StatesError(f"SNS.{name}", cause) from None
    return integrations.with_metadata(*answer)


def _invoke(task: Task) -> Any:
    """Carry out ``lambda:invoke``, whose result tells of the HTTP answer too."""
    if task.arguments.get("InvocationType", "RequestResponse") != "RequestResponse":
        return _invoke_without_waiting(task)
    name, payload = str(task.arguments["FunctionName"]), task.arguments.get("Payload", {})
    try:
        version, body = functions.invoke(name, payload, task.arguments.get("Qualifier"))
    except functions.FunctionError as error:
        raise StatesError(error.error, text_of(error.body)) from None
    headers = {
        "Connection": "keep-alive",
        "Content-Length": str(len(json.dumps(body, ensure_ascii=False).encode(errors="replace"))),
        "Content-Type": "application/json",
        "X-Amz-Executed-Version": version,
        "x-amzn-Remapped-Content-Length": "0",
        "X-Amzn-Trace-Id": f"root=1-{int(time.time()):x}-{uuid.uuid4().hex[:24]};sampled=0",
    }
    return integrations.with_metadata({"ExecutedVersion": version, "Payload": body, "StatusCode": 200}, 200, headers)


def _invoke_without_waiting(task: Task) -> Any:
    """Carry out ``lambda:invoke`` with the type Event or DryRun: nothing waits for the function's end."""
    arguments = {"Payload": {}, **task.arguments}
    try:
        _, status, headers = integrations.request(task.resource, arguments, emulator.answer)
    except integrations.ServiceRefusalError as refusal:
        words = integrations.older_words(refusal.message, "AWSLambda", refusal.status, refusal.code, refusal.headers)
        name = refusal.code if refusal.code.endswith("Exception") else "AWSLambdaException"
        raise StatesError(f"Lambda.{name}", words) from None
    return integrations.with_metadata({"Payload": {}, "StatusCode": status}, status, headers)


def _call_function(task: Task) -> Any:
    """Carry out a task whose resource is a Lambda function: the result is what the function returns."""
    try:
        result = functions.invoke(task.resource, task.arguments)[1]
    except functions.FunctionError as error:
        raise StatesError(error.error, error.text) from None
    return Json(result, in_unicode(json.dumps(result, ensure_ascii=False)))  # Python's runtime writes JSON with spaces.


def _call_sagemaker_task(api: JsonApi, task: Task) -> dict[str, Any]:
    action, _, pattern = task.resource.removeprefix(_SAGEMAKER).partition(".")
    operation = action[:1].upper() + action[1:]
    answer = integrations.with_metadata(_call_sagemaker(api, operation, task.arguments), 200, _JSON)
    if not pattern:
        return answer
    task.submitted(answer)
    kind = operation.removeprefix("Create")
    return _wait_for_job(api, kind, task.arguments[f"{kind}Name"])


def _wait_for_job(api: JsonApi, kind: str, name: str) -> dict[str, Any]:
    """Wait for a job's end and return its description; stop the job when the task is stopped."""
    while True:
        description = _call_sagemaker(api, f"Describe{kind}", {f"{kind}Name": name})
        status = description[f"{kind}Status"]
        if status in _TERMINAL:
            break
        if StoppableWork.current_is_stopped():
            _stop_job(api, kind, name)
            raise SystemExit  # The thread ends silently, so that no retrier and no catcher runs.
        time.sleep(_JOB_POLL_SECONDS)
    result = {key: _with_milliseconds(key, value) for key, value in description.items()}
    if status != "Completed":
        raise StatesError("States.TaskFailed", text_of(result))
    return result


def _call_sagemaker(api: JsonApi, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        return api.call(operation, arguments)
    except ApiError as error:
        limit = error.code == "ResourceLimitExceeded"
        name = "ResourceLimitExceededException" if limit else "AmazonSageMakerException"
        cause = integrations.older_words(error.message, "AmazonSageMaker", 400, error.code, {})
        raise StatesError(f"SageMaker.{name}", cause) from None


def _stop_job(api: JsonApi, kind: str, name: str) -> None:
    with contextlib.suppress(ApiError):  # The job may have ended by itself meanwhile.
        api.call(f"Stop{kind}", {f"{kind}Name": name})


def _with_milliseconds(key: str, value: Any) -> Any:
    """Return a member with its times in epoch milliseconds, as in the result of a ``.sync`` task."""
    if isinstance(value, dict):
        return {name: _with_milliseconds(name, item) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_milliseconds(key, item) for item in value]
    if isinstance(value, float) and (key.endswith("Time") or key == "Timestamp"):
        return round(value * 1000)
    return value


def _start_build(task: Task) -> dict[str, Any]:
    """Carry out ``codebuild:startBuild``; with ``.sync``, wait, and stop the build when the task is stopped."""
    build = _call_codebuild("StartBuild", _change_case(task.arguments, str.lower))["build"]
    started: dict[str, Any] = integrations.with_metadata(_change_case({"build": build}, str.upper), 200, _JSON)
    if not task.resource.endswith(".sync"):
        return started
    task.submitted(started)
    while build["buildStatus"] == "IN_PROGRESS":
        if StoppableWork.current_is_stopped():
            _call_codebuild("StopBuild", {"id": build["id"]})
            raise SystemExit  # The thread ends silently, so that no retrier and no catcher runs.
        time.sleep(_BUILD_POLL_SECONDS)
        build = _call_codebuild("BatchGetBuilds", {"ids": [build["id"]]})["builds"][0]
    answer: dict[str, Any] = _change_case({"build": build}, str.upper)
    if build["buildStatus"] != "SUCCEEDED":
        raise StatesError("States.TaskFailed", text_of(answer))
    return answer


def _call_codebuild(operation: str, request: Mapping[str, Any]) -> Any:
    try:
        return emulator.call_json("codebuild", f"CodeBuild_20161006.{operation}", request)
    except emulator.CallError as error:
        raise StatesError("CodeBuild.AWSCodeBuildException", str(error)) from None


def _submit_job(call: CallBatch, task: Task) -> dict[str, Any]:
    """Carry out ``batch:submitJob``; with ``.sync``, wait, and terminate the job when the task is stopped."""
    request = integrations.to_request(task.resource, task.arguments)
    if task.resource.endswith(".sync"):  # Step Functions marks the jobs that it waits for.
        overrides = request.setdefault("containerOverrides", {})
        overrides["environment"] = [*overrides.get("environment", []), _STARTED_BY]
    answer = _call_batch(call, "SubmitJob", request)
    submitted = integrations.with_metadata(_upper_members(answer), 200, _JSON)
    if not task.resource.endswith(".sync"):
        return submitted
    task.submitted(submitted)
    while (job := _call_batch(call, "DescribeJobs", {"jobs": [answer["jobId"]]})["jobs"][0])["status"] not in _ENDED:
        if StoppableWork.current_is_stopped():
            reason = "Terminated by Step Functions: the task was stopped"
            _call_batch(call, "TerminateJob", {"jobId": answer["jobId"], "reason": reason})
            raise SystemExit  # The thread ends silently, so that no retrier and no catcher runs.
        time.sleep(_JOB_POLL_SECONDS)
    result = _upper_members(job)
    if job["status"] != "SUCCEEDED":
        raise StatesError("States.TaskFailed", text_of(result))
    return result


def _call_batch(call: CallBatch, operation: str, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return call(operation, request)
    except ApiError as error:
        cause = integrations.older_words(error.message, "AWSBatch", 400, error.code, {})
        raise StatesError(f"Batch.{error.code}", cause) from None


def _upper_members(value: Any) -> dict[str, Any]:
    """Write members' names with a capital and in the order of the alphabet, as results of ``.sync`` have them."""
    changed: dict[str, Any] = _change_case({key: value[key] for key in sorted(value)}, str.upper)
    changed.update(
        {name: value[name[:1].lower() + name[1:]] for name in _MAPS if name in changed}
    )  # Their keys are data.
    return changed


def _change_case(value: Any, case: Callable[[str], str]) -> Any:
    """Change the first letter of all members' names: Step Functions writes it in upper case, CodeBuild in lower."""
    if isinstance(value, dict):
        return {case(name[:1]) + name[1:]: _change_case(item, case) for name, item in value.items()}
    return [_change_case(item, case) for item in value] if isinstance(value, list) else value
