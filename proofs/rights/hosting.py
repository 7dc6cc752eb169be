"""Makes the pipeline put the model into a function, take it back in each way that there is, and go back to instances.

Each part begins with what the one before has left. They are as few as use each right that a function needs.
"""

from typing import Any

from local import stack
from proofs.drills import runs, stopping
from proofs.drills.drill_cloud import DrillCloud
from proofs.promises import Report

_ANY_SPEED = {"max_p99_ms": 5000}  # The rights do not depend on how fast this machine is.
_FUNCTION = {"hosting": "function", **_ANY_SPEED}
_INSTANCES = {"hosting": "instances", **_ANY_SPEED}
_WARM = {**_FUNCTION, "provisioned_concurrency": 1}
_RESERVED = 5  # environments; one that is kept warm may become two, and the version that a run tries needs one


def fail(cloud: DrillCloud, report: Report) -> None:
    """Fail the smoke test of a function beside the endpoint that serves: the run itself takes the function back."""
    champion = cloud.champion()
    assert champion
    with runs.wrong_golden_answer(cloud, champion["artifact_uri"]):
        ended = _promote(cloud, report, "a function that answers wrongly fails its run", "FAILED", _FUNCTION)
    report.promise("the failure names the golden photo", "golden photo" in str(ended.get("cause")))
    report.promise("the function that failed is deleted", not _functions(cloud))


def serve_by_function(cloud: DrillCloud, report: Report) -> None:
    """Change from the endpoint to a first function."""
    _promote(cloud, report, "a function serves in place of the endpoint", "SUCCEEDED", _FUNCTION)


def reserve(cloud: DrillCloud) -> None:
    """Let the stack reserve concurrency from the next run on."""
    stack.finish(stack.deploy(cloud.laptop, stack.TEMPLATE, f"ModelReservedConcurrency={_RESERVED}"))


def stop_new_version(cloud: DrillCloud, report: Report, dataset: str) -> None:
    """Stop an update by a new version that is kept warm, behind canary and switch.

    Args:
        cloud: on which a function serves.
        report: receives the promises.
        dataset: key of the photos by which version 1 was trained; the training is reused.
    """
    _stop(cloud, report, "an update of a function", "SmokeThroughApi", {"dataset": dataset, **_WARM})


def keep_warm(cloud: DrillCloud, report: Report) -> None:
    """Keep an environment of the version that serves warm."""
    _promote(cloud, report, "a function is kept warm", "SUCCEEDED", _WARM)


def stop_keeping_warm(cloud: DrillCloud, report: Report) -> None:
    """Stop a run that keeps nothing warm any more and reserves more than before; both are given back."""
    cloud.client("lambda").put_function_concurrency(
        FunctionName=f"{cloud.endpoint}-model", ReservedConcurrentExecutions=_RESERVED - 1
    )
    _stop(cloud, report, "a run that keeps nothing warm", "MakeFunctionUrl", {"promote": 1, **_FUNCTION})


def serve_by_instances(cloud: DrillCloud, report: Report) -> None:
    """Change back to an endpoint."""
    _promote(cloud, report, "an endpoint serves in place of the function", "SUCCEEDED", _INSTANCES)
    report.promise("the function that served is deleted", not _functions(cloud))


def stop_first_function(cloud: DrillCloud, report: Report) -> None:
    """Stop a run with a function where nothing serves, after the hosting pointer and before the champion pointer."""
    _stop(cloud, report, "a first function", "SmokeThroughApi", {"promote": 1, **_FUNCTION})
    report.promise("the first function of a stopped run is deleted", not _functions(cloud))


def _promote(cloud: DrillCloud, report: Report, words: str, status: str, request: dict[str, Any]) -> dict[str, Any]:
    """Deploy version 1, promise how that ends, and return the ended execution."""
    ended = cloud.await_end(cloud.promote(**request))
    if ended["status"] != "SUCCEEDED":
        report.log(f"{words}: it ended as {ended['status']}: {ended.get('error')}: {ended.get('cause')}")
    report.promise(words, ended["status"] == status)
    return ended


def _stop(cloud: DrillCloud, report: Report, what: str, state: str, request: dict[str, Any]) -> None:
    _, wrong = stopping.stopped(cloud, state, request)
    for each in wrong:
        report.log(f"{what}, which was to be stopped at {state}: {each}")
    report.promise(f"{what} is stopped at {state} and taken back", not wrong)


def _functions(cloud: DrillCloud) -> list[str]:
    """Return the name of the model's function in a list; an empty one if there is none."""
    pages = cloud.client("lambda").get_paginator("list_functions").paginate()
    names = [each["FunctionName"] for page in pages for each in page["Functions"]]
    return [name for name in names if name == f"{cloud.endpoint}-model"]
