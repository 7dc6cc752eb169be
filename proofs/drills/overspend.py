"""The drill about spending: neither a run nor the month spends more than it may, and nobody who asks notices."""

import contextlib
import json
import os
import re
import time
from typing import Any

import prices
from local import stack
from local.data import prepare, sketches
from local.home import LocalError
from local.mailbox import subscribed
from prices import per_million
from proofs.drills.drill_cloud import DrillCloud
from proofs.promises import Report

_SECONDS = 60  # of training that the first run can pay; the cloud's clock is the real one for jobs
_EPOCHS = 10_000  # more than that time is enough for
_RATE = 4  # requests/s at the API while the month's limit is passed
_WITHIN = 360  # seconds of the cloud's clock from the moment at which the limit is passed until its mail is there
_LOCKED = 180  # seconds until the lock of a tick that a deployment has ended counts no more
_MARGIN = 0.001  # dollars that the month's limit is above what is spent, about half a minute of one instance


def overspend(cloud: DrillCloud, report: Report) -> None:
    """Let a run reach its max_dollars, then let the stack reach its MonthlyDollars under load."""
    _run(cloud, report)
    _month(cloud, report)


def _run(cloud: DrillCloud, report: Report) -> None:
    """Start a run that can pay a minute of training, and the same run with more money."""
    request = {"dataset": prepare(sketches()).key, "reuse": False, "hyperparameters": {"epochs": _EPOCHS}}
    refused = cloud.await_end(cloud.start(cloud.deployed.pipeline_arn, {**request, "max_dollars": 0.01}))
    said = refused.get("cause", "")
    report.log(f"with one cent: {refused.get('error')}: {said}")
    report.promise("a run that could not pay its fixed parts is refused with their list", "evaluation $" in said)
    least = re.search(r"give at least ([\d.]+)", said)
    if not least:
        raise LocalError(f"Plan did not say what a run needs at least: {said}")
    first = cloud.start(cloud.deployed.pipeline_arn, {**request, "max_dollars": float(least[1])})
    ended = cloud.await_end(first)
    reached = _last_epoch(cloud, _job(cloud, first))
    report.log(f"with ${least[1]}: {ended.get('error')}: {ended.get('cause')}; the training reached epoch {reached}")
    if not 0 < reached < _EPOCHS:
        raise LocalError(f"the training reached epoch {reached} of {_EPOCHS} in its time, so nothing is shown")
    report.promise("the run fails with SpendingLimitError", ended.get("error") == "SpendingLimitError")
    report.promise("its error says how to go on", "larger max_dollars" in ended.get("cause", ""))
    words = _log(cloud, _job(cloud, first))
    report.promise("the training ended by itself, with a sentence", "training: stopped by SIGTERM" in words)
    second = cloud.start(cloud.deployed.pipeline_arn, {**request, "max_dollars": float(least[1]) + 2})
    ended = cloud.await_end(second, 1800)
    resumed = re.search(r"resumed from epoch (\d+)", _log(cloud, _job(cloud, second)))
    begun = int(resumed[1]) if resumed else 0
    report.figures |= {"epoch reached with the least money": reached, "epoch resumed from with more": begun}
    report.log(f"with $2 more: {ended['status']}, resumed from epoch {begun}")
    report.promise("the same run with more money goes on from the checkpoint", begun == reached)
    report.promise("and ends as a success", ended["status"] == "SUCCEEDED")


def _month(cloud: DrillCloud, report: Report) -> None:
    """Deploy a limit that is passed within minutes, and send photos meanwhile."""
    _deploy(cloud, 100_000)
    before, counted = _meter(cloud), time.monotonic()
    spent = sum(before["months"][max(before["months"])].values())
    limit = round(spent + _MARGIN, 4)
    target = _target(cloud)
    if target["MaxCapacity"] <= target["MinCapacity"]:
        raise LocalError("the endpoint does not scale, so nothing can be capped")
    with subscribed(cloud.laptop, cloud.deployed.topic_arn) as mails, cloud.load_api(_RATE) as traffic:
        _deploy(cloud, limit)
        report.log(f"${spent:.4f} are spent this month by the meter, and MonthlyDollars is {limit:g}; photos are sent")
        # An instance costs by the real clock. The limit that is deployed counts from the end of the deployment.
        passed = max(time.monotonic(), counted + _MARGIN / _per_second(cloud))
        with contextlib.suppress(LocalError):  # The promises below say what is missing.
            cloud.wait(lambda: any("is reached" in each["Subject"] for each in mails), "the mail", 600)
        seconds = max(0.0, time.monotonic() - passed) * float(os.environ["KENNEL_TIME_SCALE"])
        capped = _target(cloud)
        refused = cloud.await_end(cloud.start(cloud.deployed.pipeline_arn, {}))
        back = cloud.await_end(cloud.promote())
        report.log(f"mail after {seconds:.0f} s: {[each['Subject'] for each in mails]}")
        report.log(f"a new run: {refused.get('error')}: {refused.get('cause')}; a promotion: {back['status']}")
    still = _target(cloud)
    report.figures |= {
        "seconds until the mail": round(seconds),
        "requests": len(traffic.samples),
        "failed_requests": len(traffic.failed),
        "range before and after": [[each["MinCapacity"], each["MaxCapacity"]] for each in (target, capped)],
    }
    has_mail = any("is reached" in each["Subject"] for each in mails)
    report.promise(f"the mail is there within {_WITHIN} s of the cloud's clock", has_mail and seconds <= _WITHIN)
    report.promise("scaling is held at the smallest number", capped["MaxCapacity"] == capped["MinCapacity"])
    report.promise("no new run starts", refused.get("error") == "SpendingLimitError")
    report.promise("an earlier version may be brought back", back["status"] == "SUCCEEDED")
    report.promise("which does not lift the cap", still["MaxCapacity"] == still["MinCapacity"])
    report.promise("no request failed", bool(traffic.samples) and not traffic.failed)
    report.promise("what serves goes on serving", cloud.endpoint_status() == "InService")
    _deploy(cloud, limit + 100)
    _meter(cloud)
    report.promise("a raised limit lifts the cap", _target(cloud)["MaxCapacity"] == target["MaxCapacity"])
    _deploy(cloud, 0)
    report.promise("without a limit runs start again", cloud.await_end(cloud.promote())["status"] == "SUCCEEDED")


def _deploy(cloud: DrillCloud, dollars: float) -> None:
    stack.finish(stack.deploy(cloud.laptop, stack.TEMPLATE, f"MonthlyDollars={dollars:g}"))


def _meter(cloud: DrillCloud) -> dict[str, Any]:
    """Let the meter count now, and return its document.

    While a tick of the schedule counts, another one returns nothing; a deployment may end a tick that holds the lock.
    """
    deadline = time.monotonic() + _LOCKED
    while True:
        answer = cloud.client("lambda").invoke(FunctionName=f"{stack.STACK}-meter", Payload=b"{}")
        document: dict[str, Any] = json.loads(answer["Payload"].read())
        if document and "FunctionError" not in answer:
            return document
        if document or time.monotonic() > deadline:
            raise LocalError(f"the meter did not count: {document}")
        time.sleep(1)


def _per_second(cloud: DrillCloud) -> float:
    """Return what the instances of production cost in a second, with their volumes, in dollars."""
    config = cloud.client("sagemaker").describe_endpoint_config(
        EndpointConfigName=(cloud.describe_endpoint() or {})["EndpointConfigName"]
    )
    instance_type = config["ProductionVariants"][0]["InstanceType"]
    volume = per_million.volume(instance_type, 1) or 0.0
    return cloud.num_instances() * (prices.known(f"hosting/{instance_type}") + volume) / 3600


def _target(cloud: DrillCloud) -> dict[str, Any]:
    scaling = cloud.client("application-autoscaling")
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    return dict(target)


def _job(cloud: DrillCloud, execution: str) -> str:
    """Return the name of a run's training job, from the document that Plan wrote."""
    history = cloud.client("stepfunctions").get_execution_history(executionArn=execution, maxResults=1000)["events"]
    exits = [each["stateExitedEventDetails"] for each in history if "stateExitedEventDetails" in each]
    return str(json.loads(next(each["output"] for each in exits if each["name"] == "Plan"))["training"]["job_name"])


def _log(cloud: DrillCloud, job: str) -> str:
    return (cloud.home / "cloud" / "training-jobs" / job / "algo-1.log").read_text()


def _last_epoch(cloud: DrillCloud, job: str) -> int:
    """Return the last epoch that a training has printed; 0 if it has none."""
    return max((int(each) for each in re.findall(r"epoch=(\d+)", _log(cloud, job))), default=0)
