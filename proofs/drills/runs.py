"""Drills with runs that fail, or that start while another run is active."""

import contextlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from local import stack
from local.home import LocalError
from proofs.drills.drill_cloud import DrillCloud
from proofs.promises import Report

_RATE = 4  # requests/s at the API during a drill


def bad_smoke(cloud: DrillCloud, report: Report) -> None:
    """Deploy a model whose answers differ from its evaluation. It must not get further than staging."""
    champion = cloud.champion()
    if champion is None or not champion["model_package_arn"].endswith("/1"):  # Version 1 is the one that is deployed.
        cloud.await_end(cloud.promote())
    before, champion = cloud.describe_endpoint(), cloud.champion()
    assert before
    assert champion
    with (
        wrong_golden_answer(cloud, champion["artifact_uri"]),
        cloud.load_api(_RATE) as traffic,
    ):
        report.log("the answer of one golden photo of the version is changed, and the version is deployed again")
        execution = cloud.await_end(cloud.promote())
        report.log(_how_it_ended("the run", execution))
    with contextlib.suppress(LocalError):  # Deleting an endpoint takes a while. The promise below reports what is left.
        cloud.wait(lambda: not _staging_resources(cloud), "the end of staging", 60)
    after, left = cloud.describe_endpoint(), _staging_resources(cloud)
    report.figures = {"requests": len(traffic.samples), "failed_requests": len(traffic.failed), "left_behind": left}
    report.promise(
        "the execution fails and names the golden photo",
        execution["status"] == "FAILED" and "golden photo" in execution["cause"],
    )
    report.promise("no request failed", bool(traffic.samples) and not traffic.failed)
    report.promise(
        "the champion serves as before", bool(after and after["EndpointConfigName"] == before["EndpointConfigName"])
    )
    report.promise("the champion pointer is unchanged", cloud.champion() == champion)
    report.promise("nothing of staging is left", not left)
    report.promise("the lock is free", not lock_holder(cloud))


def double_start(cloud: DrillCloud, report: Report) -> None:
    """Start a run while another is active, and a run after another that left its lock."""
    first = cloud.promote()
    cloud.wait(lambda: bool(lock_holder(cloud)), "the first run's lock", 60)
    report.log("a run has the lock; another is started")
    second = cloud.await_end(cloud.promote())
    report.log(_how_it_ended("the second run", second))
    report.promise(
        "the second run fails with RunInProgressError",
        "RunInProgressError" in (second.get("error"), second.get("cause")),
    )
    seconds = (second["stopDate"] - second["startDate"]).total_seconds()
    report.figures["refused_after_seconds"] = round(seconds, 2)
    report.promise("its error names the run that has the lock", first in second.get("cause", ""))
    _promise_success(cloud, report, "the first run succeeds", first)
    missing = first.rsplit(":", 1)[0] + ":never-was"
    cloud.client("ssm").put_parameter(Name=f"/{stack.STACK}/lock", Value=missing, Type="String")
    report.log("the lock is given to a run that does not exist; a run is started")
    _promise_success(cloud, report, "a stale lock is taken over", cloud.promote())
    report.promise("the lock is free", not lock_holder(cloud))


def teardown(cloud: DrillCloud, report: Report) -> None:
    """Start teardown during a run, after it, and once more when nothing is left."""
    machine = cloud.deployed.teardown_arn
    running = cloud.promote()
    cloud.wait(lambda: cloud.endpoint_status() == "Updating", "the update", 120)
    refused = cloud.await_end(cloud.start(machine, {}))
    report.log(f"during an update teardown ended as {refused['status']}: {refused.get('error')}")
    report.promise("teardown is refused during a run", refused.get("error") == "RunInProgressError")
    _promise_success(cloud, report, "that run succeeds", running)
    for target, words in (("what serves", "the first teardown"), ("nothing", "a second teardown")):
        execution = cloud.await_end(cloud.start(machine, {}))
        deleted = json.loads(execution.get("output") or "{}")
        report.log(f"{words} ended as {execution['status']} and deleted {deleted}")
        report.figures[f"teardown of {target}"] = deleted
        report.promise(f"{words} succeeds", execution["status"] == "SUCCEEDED")
    sagemaker = cloud.client("sagemaker")
    left = [
        *(each["EndpointName"] for each in sagemaker.list_endpoints()["Endpoints"]),
        *(each["EndpointConfigName"] for each in sagemaker.list_endpoint_configs()["EndpointConfigs"]),
        *(each["ModelName"] for each in sagemaker.list_models()["Models"]),
        *(each["ResourceId"] for each in _scalable_targets(cloud)),
        *(each["Name"] for each in cloud.client("scheduler").list_schedules()["Schedules"]),
    ]
    report.figures["left_behind"] = left
    endpoints = report.figures["teardown of what serves"]["endpoints"]
    report.promise("the first teardown says that it deleted the endpoint", cloud.endpoint in endpoints)
    report.promise("nothing is left", not left)
    report.promise("the champion pointer names no champion", cloud.champion() is None)
    status = cloud.to_api()()
    report.promise("the API answers 503 while there is no endpoint", status == 503)


def lock_holder(cloud: DrillCloud) -> str:
    """Return the ARN of the execution that has the run lock; empty when the lock is free."""
    ssm = cloud.client("ssm")
    try:
        return str(ssm.get_parameter(Name=f"/{stack.STACK}/lock")["Parameter"]["Value"])
    except ssm.exceptions.ParameterNotFound:
        return ""


def _promise_success(cloud: DrillCloud, report: Report, words: str, execution_arn: str) -> None:
    """Wait for an execution, promise that it succeeds, and log its error and cause where it does not."""
    ended = cloud.await_end(execution_arn)
    if ended["status"] != "SUCCEEDED":
        report.log(_how_it_ended(execution_arn, ended))
    report.promise(words, ended["status"] == "SUCCEEDED")


def _how_it_ended(subject: str, execution: dict[str, Any]) -> str:
    return f"{subject} ended as {execution['status']}: {execution.get('error')}: {execution.get('cause')}"


@contextmanager
def wrong_golden_answer(cloud: DrillCloud, artifact_uri: str) -> Iterator[None]:
    """Change the answer of one of an artifact's golden photos until the block ends."""
    bucket, _, key = artifact_uri.removeprefix("s3://").partition("/")
    location = {"Bucket": bucket, "Key": key.replace("/artifact/model.tar.gz", "/report/golden/golden.json")}
    s3 = cloud.client("s3")
    original = s3.get_object(**location)["Body"].read()
    answers = json.loads(original)
    answers[0]["class"] = "999.Nobody"
    s3.put_object(**location, Body=json.dumps(answers).encode())
    try:
        yield
    finally:
        s3.put_object(**location, Body=original)


def _staging_resources(cloud: DrillCloud) -> list[str]:
    sagemaker = cloud.client("sagemaker")
    return [
        *(each["EndpointName"] for each in sagemaker.list_endpoints(NameContains="-s")["Endpoints"]),
        *(each["EndpointConfigName"] for each in sagemaker.list_endpoint_configs(NameContains="-s")["EndpointConfigs"]),
    ]


def _scalable_targets(cloud: DrillCloud) -> list[dict[str, str]]:
    scaling = cloud.client("application-autoscaling")
    targets: list[dict[str, str]] = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    return targets
