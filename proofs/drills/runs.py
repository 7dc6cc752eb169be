"""Runs that go wrong, or come at the wrong time."""

import contextlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

from local import stack
from local.home import LocalError
from proofs.drills.report import Report
from proofs.drills.stage import Stage
from proofs.drills.traffic import Traffic, through_api

_RATE = 4  # requests/s at the API while something else is tried


def bad_smoke(stage: Stage, report: Report) -> None:
    """A model that answers otherwise than it was evaluated gets no further than staging."""
    before, champion = stage.described(), stage.champion()
    assert before
    assert champion
    with (
        _wrong_answers(stage, champion["artifact_uri"]),
        Traffic(through_api(stage.deployed, stage.photo), _RATE) as load,
    ):
        report.say("one known answer of the version is changed, and the version is deployed once more")
        ended = stage.ended(stage.promote())
        report.say(f"the run ended as {ended['status']}: {ended.get('error')}: {ended.get('cause')}")
    with contextlib.suppress(LocalError):  # an endpoint takes a while to go
        stage.wait(lambda: not _left_of_staging(stage), "the end of staging", 60)
    after, left = stage.described(), _left_of_staging(stage)
    report.figures = {"requests": len(load.samples), "failed_requests": len(load.failed), "left_behind": left}
    report.promise(
        "the execution FAILED and says which photo", ended["status"] == "FAILED" and "golden photo" in ended["cause"]
    )
    report.promise("no request failed", bool(load.samples) and not load.failed)
    report.promise(
        "the champion serves as before", bool(after and after["EndpointConfigName"] == before["EndpointConfigName"])
    )
    report.promise("the pointer names it still", stage.champion() == champion)
    report.promise("nothing half-made is left", not left)
    report.promise("the lock is free", not lock(stage))


def double_start(stage: Stage, report: Report) -> None:
    """One run at a time, and a lock whose holder is gone holds nobody up."""
    first = stage.promote()
    stage.wait(lambda: bool(lock(stage)), "the first run's lock", 60)
    report.say("a run has the lock; another is started")
    second = stage.ended(stage.promote())
    report.say(f"it ended as {second['status']}: {second.get('error')}: {second.get('cause')}")
    report.promise(
        "the second run says RunInProgressError", "RunInProgressError" in (second.get("error"), second.get("cause"))
    )
    seconds = (second["stopDate"] - second["startDate"]).total_seconds()
    report.figures["refused_after_seconds"] = round(seconds, 2)
    report.promise("it names the run that has the lock", first in second.get("cause", ""))
    report.promise("the first run is not disturbed", stage.ended(first)["status"] == "SUCCEEDED")
    gone = first.rsplit(":", 1)[0] + ":never-was"
    stage.laptop.client("ssm").put_parameter(Name=f"/{stack.STACK}/lock", Value=gone, Type="String")
    report.say("a lock is left by a run that does not exist; a run is started")
    report.promise("a stale lock is taken over", stage.ended(stage.promote())["status"] == "SUCCEEDED")
    report.promise("the lock is free", not lock(stage))


def teardown(stage: Stage, report: Report) -> None:
    """Deletes all that costs by the hour, not from under a run, and as often as one likes."""
    machine = stage.deployed.teardown_arn
    running = stage.promote()
    stage.wait(lambda: (stage.described() or {}).get("EndpointStatus") == "Updating", "the update", 120)
    refused = stage.ended(stage.start(machine, {}))
    report.say(f"during an update teardown ended as {refused['status']}: {refused.get('error')}")
    report.promise("nothing is taken from under a run", refused.get("error") == "RunInProgressError")
    report.promise("that run ends well", stage.ended(running)["status"] == "SUCCEEDED")
    for turn in ("what serves", "nothing"):
        ended = stage.ended(stage.start(machine, {}))
        said = json.loads(ended.get("output") or "{}")
        report.say(f"teardown of {turn} ended as {ended['status']} and says it deleted {said}")
        report.figures[f"teardown of {turn}"] = said
        report.promise(f"teardown of {turn} ends well", ended["status"] == "SUCCEEDED")
    sagemaker = stage.laptop.client("sagemaker")
    left = [
        *(each["EndpointName"] for each in sagemaker.list_endpoints()["Endpoints"]),
        *(each["EndpointConfigName"] for each in sagemaker.list_endpoint_configs()["EndpointConfigs"]),
        *(each["ModelName"] for each in sagemaker.list_models()["Models"]),
        *(each["ResourceId"] for each in _targets(stage)),
        *(each["Name"] for each in stage.laptop.client("scheduler").list_schedules()["Schedules"]),
    ]
    report.figures["left_behind"] = left
    report.promise("it says what it deleted", stage.endpoint in report.figures["teardown of what serves"]["endpoints"])
    report.promise("nothing is left", not left)
    report.promise("no champion is named", stage.champion() is None)
    status = through_api(stage.deployed, stage.photo)()
    report.promise("the API answers 503 while there is no endpoint", status == 503)


@contextmanager
def _wrong_answers(stage: Stage, artifact_uri: str) -> Iterator[None]:
    """The known answers of an artifact, one of them wrong for a while."""
    bucket, _, key = artifact_uri.removeprefix("s3://").partition("/")
    place = {"Bucket": bucket, "Key": key.replace("/artifact/model.tar.gz", "/report/golden/golden.json")}
    s3 = stage.laptop.client("s3")
    known = s3.get_object(**place)["Body"].read()
    answers = json.loads(known)
    answers[0]["class"] = "999.Nobody"
    s3.put_object(**place, Body=json.dumps(answers).encode())
    try:
        yield
    finally:
        s3.put_object(**place, Body=known)


def _left_of_staging(stage: Stage) -> list[str]:
    sagemaker = stage.laptop.client("sagemaker")
    return [
        *(each["EndpointName"] for each in sagemaker.list_endpoints(NameContains="-s")["Endpoints"]),
        *(each["EndpointConfigName"] for each in sagemaker.list_endpoint_configs(NameContains="-s")["EndpointConfigs"]),
    ]


def _targets(stage: Stage) -> list[dict[str, str]]:
    scaling = stage.laptop.client("application-autoscaling")
    found: list[dict[str, str]] = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    return found


def lock(stage: Stage) -> str:
    """Who holds the run lock; empty when it is free."""
    ssm = stage.laptop.client("ssm")
    try:
        return str(ssm.get_parameter(Name=f"/{stack.STACK}/lock")["Parameter"]["Value"])
    except ssm.exceptions.ParameterNotFound:
        return ""
