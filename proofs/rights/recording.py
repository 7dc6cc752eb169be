"""Makes the stack do all that it can, and records every decision of IAM."""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import urllib3

from cloud.iam.authorization import DECISIONS
from cloud.iam.hooks import Decision
from dataset import open_source
from local import data, run, stack
from local.api import CONTENT_TYPES
from local.home import HOME, ROOT, LocalError
from proofs.drills import runs, stopping
from proofs.drills.drill_cloud import DrillCloud, connect
from proofs.promises import Report
from proofs.rights import hosting
from proofs.rights.replay import RecordedDecision
from sketchbook import BREEDS
from sketchbook import write as draw_sketches

FROM_NOTHING = "a run from nothing"
_BREEDS = {name: BREEDS[name] for name in ("Dalmatian", "Doberman", "Samoyed")}
_COUNTS = {"train": 12, "valid": 6, "test": 6}  # enough to tell the drawn breeds apart


class Recording:
    """The decisions of IAM since the recording began, and the part of the recording in which each was made."""

    def __init__(self, home: Path) -> None:
        self._file = home / "cloud" / DECISIONS
        self._parts: list[tuple[str, int]] = []

    def discard(self) -> None:
        """Delete the decisions that an earlier proof left in this folder; call it before the cloud starts."""
        self._file.unlink(missing_ok=True)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Begin a part. It lasts until the next part begins."""
        self._parts.append((name, self.length()))
        yield

    def length(self) -> int:
        """Return the number of decisions."""
        return len(self._lines())

    def decisions(self, begin: int = 0) -> list[Decision]:
        """Return the decisions from an index on, in their order."""
        return [Decision(**json.loads(line)) for line in self._lines()[begin:]]

    def unique_decisions(self) -> list[RecordedDecision]:
        """Return the decisions, where equal ones are returned once for each part."""
        parts = self._parts or [("", 0)]
        decisions, unique = self.decisions(), dict[str, RecordedDecision]()
        ends = [begin for _, begin in parts[1:]] + [len(decisions)]
        for (name, begin), end in zip(parts, ends, strict=True):
            for decision in decisions[begin:end]:
                unique.setdefault(json.dumps([name, *decision]), RecordedDecision(decision, name))
        return list(unique.values())

    def _lines(self) -> list[str]:
        return self._file.read_text().splitlines() if self._file.exists() else []


def photos() -> Path:
    """Return a folder of few photos, which is drawn on first use."""
    folder = HOME / "photos"
    if not folder.exists():
        draw_sketches(folder, seed=5, counts=_COUNTS, breeds=_BREEDS, size=160)
    return folder


def record(recording: Recording, port: int, report: Report) -> DrillCloud:
    """Make the stack do everything once that it is made for, and everything that it must refuse.

    Raises:
        LocalError: something did not end as expected.
    """
    recording.discard()
    with recording.part("the first run"):
        code = run.run(str(photos()), None, port)
        report.promise("the first run is promoted", code == run.PROMOTED)
        cloud = connect(photos())
    with recording.part("the API"):
        report.figures["api"] = _call_api(cloud)
    with recording.part("alarms"):
        _raise_alarms(cloud)
    with recording.part("a refused challenger"):
        event = json.loads((ROOT / "events" / "pipeline-refused.json").read_text())
        execution = cloud.await_end(cloud.start(cloud.deployed.pipeline_arn, {"dataset": _dataset_key(), **event}))
        output = json.loads(execution.get("output", "{}"))
        report.promise("a challenger is refused", output.get("status") == "refused")
    with recording.part("a bad smoke test"):
        _run_drill(runs.bad_smoke, cloud, report)
    with recording.part("two starts and a lock that was left"):
        _run_drill(runs.double_start, cloud, report)
    with recording.part("stopped runs"):
        _stop_runs(cloud)
    with recording.part("stopped updates"):
        _stop_updates(cloud)
    # After the stopped training, which deletes what the first run left; each of these deletes what the one before left.
    with recording.part("trainings on EC2"):
        _train_on_ec2(cloud, report)
    _host_by_function(recording, cloud, report)
    with recording.part("teardown"):
        _run_drill(runs.teardown, cloud, report)
    with recording.part("a stopped first function"):
        hosting.stop_first_function(cloud, report)
    with recording.part("a stopped creation"):
        _stop_at(cloud, "AwaitProduction", {"promote": 1})
    with recording.part("locks that were left"):
        _leave_locks(cloud, report)
    with recording.part("a lease that ends"):
        _let_the_lease_end(cloud)
    with recording.part("teardown of everything"):
        clear(cloud)
    with recording.part("the API without a model"):  # It looks for an endpoint, for the pointer and for a function.
        report.promise("without a model the API answers 503", _ask(cloud) == 503)
    with recording.part(FROM_NOTHING):
        report.promise("a run from nothing is promoted", run_from_nothing(cloud)["status"] == "SUCCEEDED")
    return cloud


def _host_by_function(recording: Recording, cloud: DrillCloud, report: Report) -> None:
    """Let a function serve in place of the endpoint, change what it keeps warm, and let an endpoint serve again."""
    with recording.part("a function that fails"):
        hosting.fail(cloud, report)
    with recording.part("a first function"):
        hosting.serve_by_function(cloud, report)
        hosting.reserve(cloud)
    with recording.part("a stopped update of a function"):
        hosting.stop_new_version(cloud, report, _dataset_key())
    with recording.part("a function that is kept warm"):
        hosting.keep_warm(cloud, report)
    with recording.part("a function that was to be warm no more"):
        hosting.stop_keeping_warm(cloud, report)
    with recording.part("instances in place of a function"):
        hosting.serve_by_instances(cloud, report)


def clear(cloud: DrillCloud) -> None:
    """Run teardown of everything.

    Raises:
        LocalError: it failed.
    """
    cloud.wait(lambda: not runs.lock_holder(cloud), "the lock", 120)
    execution = cloud.await_end(cloud.start(cloud.deployed.teardown_arn, {"everything": True}))
    if execution["status"] != "SUCCEEDED":
        raise LocalError(
            f"teardown of everything ended as {execution['status']}: {execution.get('cause')}; see cloud.log"
        )


def run_from_nothing(cloud: DrillCloud) -> dict[str, Any]:
    """Run the whole pipeline when only the stack and its images are left, and return the ended execution."""
    archive = data.prepare(photos()).archive
    cloud.client("s3").upload_file(str(archive), cloud.deployed.bucket, "datasets/photos.zip")
    # Another key and other hyperparameters prevent that a finished training is reused.
    request = {"dataset": "datasets/photos.zip", "hyperparameters": {"epochs": 5}}
    return cloud.await_end(cloud.start(cloud.deployed.pipeline_arn, request))


def _run_drill(drill: Callable[[DrillCloud, Report], None], cloud: DrillCloud, report: Report) -> None:
    """Run a drill, and add its promises to those of the proof."""
    drill_report = Report(drill.__name__)
    drill(cloud, drill_report)
    report.include_promises(drill_report)


def _dataset_key() -> str:
    return data.prepare(photos()).key


def _call_api(cloud: DrillCloud) -> dict[str, int]:
    """Return the statuses of each method of the API with and without the key, and of photos in the bucket."""
    url, pool = cloud.deployed.api_url, urllib3.PoolManager(retries=False)
    api, s3 = cloud.client("apigateway"), cloud.client("s3")
    (api_id,) = (each["id"] for each in api.get_rest_apis()["items"] if f"/{each['id']}/" in url)
    statuses = {}
    for resource in api.get_resources(restApiId=api_id)["items"]:
        path = re.sub(r"{.*?}", "page.js", resource["path"])
        for method in resource.get("resourceMethods", {}):
            for key in ("", cloud.deployed.api_key):
                headers = {"x-api-key": key, "content-type": "image/jpeg"}
                body = cloud.photo if method == "POST" else None
                verb = "DELETE" if method == "ANY" else method
                answer = pool.request(verb, url.removesuffix("/classify") + path, body=body, headers=headers)
                statuses[f"{method} {path} {'with' if key else 'without'} key"] = answer.status
    for suffix, folder in product(CONTENT_TYPES, ("one", "two")):
        for name in (f"uploads/{folder}/photo{suffix}", f"uploads/{folder}/photo{suffix.upper()}", f"uploads/{folder}"):
            s3.put_object(Bucket=cloud.deployed.bucket, Key=name, Body=cloud.photo)
            answer = pool.request("POST", url, json={"s3": name}, headers={"x-api-key": cloud.deployed.api_key})
            statuses[name] = answer.status
    return statuses


def _ask(cloud: DrillCloud) -> int:
    """Return the status of the API's answer to a photo."""
    headers = {"x-api-key": cloud.deployed.api_key, "content-type": "image/jpeg"}
    answer = urllib3.request("POST", cloud.deployed.api_url, body=cloud.photo, headers=headers, retries=False)
    return answer.status


def _train_on_ec2(cloud: DrillCloud, report: Report) -> None:
    """Train on EC2 on spot and on demand, and twice in vain; the gate refuses the models."""
    refused = json.loads((ROOT / "events" / "pipeline-refused.json").read_text())
    whole, damaged = _dataset_key(), _upload_damaged(cloud)
    for dataset, spot, epochs, status in (
        (whole, True, 3, "SUCCEEDED"),
        (whole, False, 4, "SUCCEEDED"),
        (damaged, True, 3, "FAILED"),
        (damaged, True, 4, "FAILED"),
    ):
        request = {"dataset": dataset, **refused, "train_on": "ec2", "spot": spot}
        request["hyperparameters"] = {"epochs": epochs}
        execution = cloud.await_end(cloud.start(cloud.deployed.pipeline_arn, request))
        words = f"a training of {epochs} epochs on EC2 with {dataset.rpartition('/')[2]} ends as {status}"
        report.promise(words, execution["status"] == status)
        if status == "FAILED":
            report.promise("the failure names the class", "has 0 photos in train/" in execution.get("cause", ""))
            cloud.wait(lambda: not runs.lock_holder(cloud), "the lock", 120)


def _upload_damaged(cloud: DrillCloud) -> str:
    """Upload photos of which the training cannot read any of one class, and return their key."""
    source, packed = open_source(photos()), io.BytesIO()
    label = source.listing.classes[0]
    with zipfile.ZipFile(packed, "w") as archive:
        for photo in source.listing.photos:
            is_damaged = (photo.split, photo.label) == ("train", label)
            archive.writestr(photo.path, photo.path if is_damaged else source.read(photo))
    key = "datasets/damaged.zip"
    cloud.client("s3").put_object(Bucket=cloud.deployed.bucket, Key=key, Body=packed.getvalue())
    return key


def _raise_alarms(cloud: DrillCloud) -> None:
    """Set an alarm, which notifies the topic, and reset it."""
    cloudwatch, alarm = cloud.client("cloudwatch"), f"{cloud.endpoint}-no-capacity"
    for state in ("ALARM", "OK"):
        cloudwatch.set_alarm_state(AlarmName=alarm, StateValue=state, StateReason="the proof")


def _stop_runs(cloud: DrillCloud) -> None:
    """Stop one run during training and two with staging. An event rule then starts teardown, which cleans up."""
    sagemaker, states = cloud.client("sagemaker"), cloud.client("stepfunctions")

    def checkpoints() -> set[str]:
        """Return the keys of the trainings' checkpoints; the features beside them have other names."""
        pages = (
            cloud.client("s3")
            .get_paginator("list_objects_v2")
            .paginate(Bucket=cloud.deployed.bucket, Prefix="checkpoints/")
        )
        return {
            key for key in pages.search("Contents[].Key") if key and "/features-" not in key and key.endswith(".pt")
        }

    of_earlier_runs = checkpoints()

    def is_training() -> bool:
        """Whether a job trains; it begins with deleting what runs that have finished left beside their features."""
        jobs = sagemaker.list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"]
        return bool(jobs) and not of_earlier_runs & checkpoints()

    def has_staging() -> bool:
        return bool(sagemaker.list_endpoints(NameContains=f"{cloud.endpoint}-")["Endpoints"])

    # So many epochs last longer than the wait for the moment to stop.
    new_training = {"dataset": _dataset_key(), "reuse": False, "hyperparameters": {"epochs": 10_000}}
    rests = "hold-at-Smoke-"  # So staging is there until the run is stopped.
    for request, condition, name in (
        (new_training, is_training, ""),
        ({"promote": 1}, has_staging, rests),
        ({"promote": 1}, has_staging, rests),
    ):
        execution_arn = cloud.start(cloud.deployed.pipeline_arn, request, name)
        cloud.wait(condition, "the moment to stop the run", 60)
        states.stop_execution(executionArn=execution_arn)
        cloud.wait(lambda: not runs.lock_holder(cloud), "the teardown after the stopped run", 120)


def _stop_updates(cloud: DrillCloud) -> None:
    """Stop an update by a new version, and one to another instance type, so that production is taken back."""
    _stop_at(cloud, "PutBurstAlarm", {"dataset": _dataset_key()})
    _stop_at(cloud, "AwaitProduction", {"promote": 1, "serving_instance_type": "ml.c7i.xlarge"})


def _stop_at(cloud: DrillCloud, state: str, request: dict[str, Any]) -> None:
    execution = cloud.start(cloud.deployed.pipeline_arn, request)
    cloud.wait(lambda: state in stopping.entered(cloud, execution), f"the state {state}", 900)
    cloud.client("stepfunctions").stop_execution(executionArn=execution)
    cloud.wait(lambda: not runs.lock_holder(cloud), "the teardown after the stopped run", 900)


def _leave_locks(cloud: DrillCloud, report: Report) -> None:
    """Give the lock to executions that do not exist. A teardown and a run of a missing version must take it over."""
    ssm, deployed = cloud.client("ssm"), cloud.deployed
    takers: list[tuple[str, dict[str, Any]]] = [(deployed.teardown_arn, {}), (deployed.pipeline_arn, {"promote": 2})]
    for machine in (deployed.pipeline_arn, deployed.teardown_arn):
        for number, (taker, request) in enumerate(2 * takers):
            holder = f"{machine.replace(':stateMachine:', ':execution:')}:gone-{number}"
            ssm.put_parameter(Name=f"/{stack.STACK}/lock", Value=holder, Type="String")
            execution = cloud.await_end(cloud.start(taker, request))
            taken = "RunInProgressError" not in (execution.get("error"), execution.get("cause"))
            report.promise(f"{taker.rpartition('-')[2]} takes over the lock of {holder.rsplit(':', 2)[1]}", taken)


def _let_the_lease_end(cloud: DrillCloud) -> None:
    """Deploy a champion without a lease, then with one, and let the lease end at once."""
    scheduler = cloud.client("scheduler")
    for request in ({"lease_hours": 0}, {}):
        cloud.await_end(cloud.promote(**request))
    lease = scheduler.get_schedule(GroupName=stack.STACK, Name=f"{cloud.endpoint}-lease")
    unchanged = {name: lease[name] for name in ("GroupName", "Name", "FlexibleTimeWindow", "Target")}
    now = f"at({datetime.now(UTC):%Y-%m-%dT%H:%M:%S})"
    scheduler.update_schedule(**unchanged, ScheduleExpression=now)
    cloud.wait(lambda: cloud.describe_endpoint() is None, "the end of the lease", 120)
    cloud.wait(lambda: not runs.lock_holder(cloud), "the end of the lease's teardown", 60)
