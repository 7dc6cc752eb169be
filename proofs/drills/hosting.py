"""Drill: what answers changes under load, from instances to a function and back, and a bad version is taken back."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from local import stack
from local.home import LocalError
from proofs.drills.deployment import add_figures
from proofs.drills.drill_cloud import DrillCloud
from proofs.drills.stopping import dataset_of, entered
from proofs.promises import Report

_RATE = 2  # requests/s at the API; those that meet the bad version wait for two starts of it
_SECONDS = 1800  # longest time of a run; it waits for followers and for baking times


def change_hosting(cloud: DrillCloud, report: Report) -> None:
    """Serve by a function instead of the endpoint, take a bad version back, and serve by an endpoint again."""
    with cloud.load_api(_RATE) as traffic, _watch(cloud) as gaps:
        report.log(f"{_RATE} requests/s at the API; version 1 is deployed as a function")
        _promise(cloud, report, "the change to a function succeeds", cloud.promote(hosting="function"), "SUCCEEDED")
        _promise_served(cloud, report, "function")
        _promise_gone(cloud, report, "the endpoint", lambda: cloud.describe_endpoint() is None)

        _take_back_bad_version(cloud, report)

        report.log("version 1 is deployed on instances again")
        change = cloud.promote(hosting="instances")
        _promise(cloud, report, "the change back to instances succeeds", change, "SUCCEEDED")
        _promise_served(cloud, report, "instances")
        _promise_gone(cloud, report, "the function", lambda: _live(cloud) is None)
    add_figures(report, traffic)
    report.promise("no request failed", bool(traffic.samples) and not traffic.failed)
    report.promise("there was no moment at which nothing served", not gaps)


def _take_back_bad_version(cloud: DrillCloud, report: Report) -> None:
    """Deploy a version that cannot start any more when it gets its first requests: its artifact is deleted by then."""
    before = _live(cloud)
    execution = cloud.start(cloud.deployed.pipeline_arn, {"dataset": dataset_of(cloud), "hosting": "function"})
    cloud.wait(lambda: "ShiftCanary" in entered(cloud, execution), "the canary", _SECONDS)
    _delete_artifact(cloud)
    report.log("a tenth of the requests goes to a new version, whose artifact is deleted")
    ended = _promise(cloud, report, "a bad version fails its run", execution, "FAILED")
    report.promise("the run says which alarm rang", "canary" in str(ended.get("cause")))
    report.promise("the version before has all requests again", _live(cloud) == before)
    _promise_served(cloud, report, "function")


def _promise(cloud: DrillCloud, report: Report, words: str, execution: str, status: str) -> dict[str, Any]:
    ended = cloud.await_end(execution, _SECONDS)
    seconds = (ended["stopDate"] - ended["startDate"]).total_seconds()
    report.log(f"{words}: it ended as {ended['status']} after {seconds:.0f} s {ended.get('cause') or ''}".rstrip())
    report.promise(words, ended["status"] == status)
    return ended


def _promise_served(cloud: DrillCloud, report: Report, hosting: str) -> None:
    found = _pointer(cloud)
    report.promise(f"callers are answered by the {hosting}", found == hosting)


def _promise_gone(cloud: DrillCloud, report: Report, name: str, is_gone: Callable[[], bool]) -> None:
    """Promise that what served before is deleted. SageMaker goes on deleting an endpoint after the run has ended."""
    with suppress(LocalError):
        cloud.wait(is_gone, f"the end of {name}", 300)
    report.promise(f"{name} is gone when the other one has proven itself", is_gone())


def _pointer(cloud: DrillCloud) -> str:
    answer = cloud.client("ssm").get_parameter(Name=f"/{stack.STACK}/hosting")
    return str(answer["Parameter"]["Value"])


def _live(cloud: DrillCloud) -> dict[str, Any] | None:
    """Return which versions the function's alias has, with their weights; None without function or alias."""
    functions = cloud.client("lambda")
    try:
        alias = functions.get_alias(FunctionName=f"{cloud.endpoint}-model", Name="live")
    except functions.exceptions.ResourceNotFoundException:
        return None
    return {
        "version": alias["FunctionVersion"],
        "weights": alias.get("RoutingConfig", {}).get("AdditionalVersionWeights") or {},
    }


def _delete_artifact(cloud: DrillCloud) -> None:
    """Delete the version of the artifact that the newest version of the function gets when it starts."""
    functions = cloud.client("lambda")
    pages = functions.get_paginator("list_versions_by_function").paginate(FunctionName=f"{cloud.endpoint}-model")
    versions = [each for page in pages for each in page["Versions"] if each["Version"] != "$LATEST"]
    newest = max(versions, key=lambda each: int(each["Version"]))
    settings = newest["Environment"]["Variables"]
    bucket, _, key = settings["KENNEL_ARTIFACT"].removeprefix("s3://").partition("/")
    cloud.client("s3").delete_object(Bucket=bucket, Key=key, VersionId=settings["KENNEL_ARTIFACT_VERSION"])


@contextmanager
def _watch(cloud: DrillCloud) -> Iterator[list[str]]:
    """Yield a list to which is added each moment at which what callers are sent to did not serve."""
    gaps, stopped = list[str](), threading.Event()

    def watch() -> None:
        while not stopped.wait(0.5):
            pointer = _pointer(cloud)
            serves = _live(cloud) is not None if pointer == "function" else cloud.num_instances() > 0
            if not serves and _pointer(cloud) == pointer:  # It may have moved between the two questions.
                gaps.append(json.dumps({"pointer": pointer, "endpoint": cloud.endpoint_status()}))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield gaps
    finally:
        stopped.set()
        watcher.join()
