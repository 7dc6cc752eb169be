"""All that the stack is made to do, and every question to IAM that comes of it."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import urllib3

from cloud.iam.authorization import DECISIONS
from cloud.iam.hooks import Decision
from local import data, run, stack
from local.api import CONTENT_TYPES
from local.home import HOME, ROOT, LocalError
from proofs.drills import runs
from proofs.drills.report import Report
from proofs.drills.stage import Stage
from proofs.rights.replay import Asked
from sketchbook import BREEDS
from sketchbook import write as draw_sketches

ANEW = "a run from nothing"
_BREEDS = {name: BREEDS[name] for name in ("Dalmatian", "Doberman", "Samoyed")}
_COUNTS = {"train": 12, "valid": 6, "test": 6}  # enough to tell cartoons apart


class Recording:
    """What IAM was asked since the recording began, and during what."""

    def __init__(self, home: Path) -> None:
        self._file = home / "cloud" / DECISIONS
        self._parts: list[tuple[str, int]] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """All that is asked from now on is asked during this part."""
        self._parts.append((name, self.length()))
        yield

    def length(self) -> int:
        """How many decisions there are."""
        return len(self._lines())

    def decisions(self, begin: int = 0) -> list[Decision]:
        """From one on, in order."""
        return [Decision(**json.loads(line)) for line in self._lines()[begin:]]

    def asked(self) -> list[Asked]:
        """Each question once for each part that it was asked in."""
        parts = self._parts or [("", 0)]
        decisions, found = self.decisions(), dict[str, Asked]()
        ends = [begin for _, begin in parts[1:]] + [len(decisions)]
        for (name, begin), end in zip(parts, ends, strict=True):
            for decision in decisions[begin:end]:
                found.setdefault(json.dumps([name, *decision]), Asked(decision, name))
        return list(found.values())

    def _lines(self) -> list[str]:
        return self._file.read_text().splitlines() if self._file.exists() else []


def photos() -> Path:
    """A folder of few photos, drawn at first use."""
    folder = HOME / "photos"
    if not folder.exists():
        draw_sketches(folder, seed=5, counts=_COUNTS, breeds=_BREEDS, size=160)
    return folder


def record(recording: Recording, port: int, report: Report) -> Stage:
    """Let everything happen once that the stack is there for, and what it must refuse.

    Raises:
        LocalError: something did not come to its end.
    """
    with recording.part("the first run"):
        code = run.run(str(photos()), None, port)
        report.promise("the first run is promoted", code == run.PROMOTED)
        laptop = run.running()
        photo = next(iter(sorted((photos() / "test").rglob("*.jpg")))).read_bytes()
        stage = Stage(laptop, HOME, stack.describe(laptop), photo)
    with recording.part("the API"):
        report.figures["api"] = _ask_api(stage)
    with recording.part("alarms"):
        _raise_alarms(stage)
    with recording.part("a refused challenger"):
        wishes = json.loads((ROOT / "events" / "pipeline-refused.json").read_text())
        ended = stage.ended(stage.start(stage.deployed.pipeline_arn, {"dataset": _dataset(), **wishes}))
        report.promise("a challenger is refused", json.loads(ended.get("output", "{}")).get("status") == "refused")
    with recording.part("a bad smoke test"):
        _play(runs.bad_smoke, stage, report)
    with recording.part("two starts and a lock that was left"):
        _play(runs.double_start, stage, report)
    with recording.part("stopped runs"):
        _stop_runs(stage)
    with recording.part("teardown"):
        _play(runs.teardown, stage, report)
    with recording.part("locks that were left"):
        _leave_locks(stage, report)
    with recording.part("a lease that ends"):
        _let_the_lease_end(stage)
    with recording.part("teardown of everything"):
        clear(stage)
    with recording.part(ANEW):
        report.promise("a run from nothing is promoted", run_anew(stage)["status"] == "SUCCEEDED")
    return stage


def clear(stage: Stage) -> None:
    """Tear everything down.

    Raises:
        LocalError: something is left.
    """
    stage.wait(lambda: not runs.lock(stage), "the end of what was going on", 120)
    ended = stage.ended(stage.start(stage.deployed.teardown_arn, {"everything": True}))
    if ended["status"] != "SUCCEEDED":
        raise LocalError(f"teardown of everything ended as {ended['status']}: {ended.get('cause')}; see cloud.log")


def run_anew(stage: Stage) -> dict[str, Any]:
    """A whole run where nothing is left but the stack and its images; how it ended."""
    archive = data.prepare(photos()).archive
    stage.laptop.client("s3").upload_file(str(archive), stage.deployed.bucket, "photos.zip")
    wishes = {"dataset": "photos.zip", "hyperparameters": {"epochs": 5}}  # another place and another training
    return stage.ended(stage.start(stage.deployed.pipeline_arn, wishes))


def _play(drill: Callable[[Stage, Report], None], stage: Stage, report: Report) -> None:
    """A drill, whose promises are the proof's as well."""
    played = Report(drill.__name__)
    drill(stage, played)
    report.promises |= played.promises


def _dataset() -> str:
    return data.prepare(photos()).key


def _ask_api(stage: Stage) -> dict[str, int]:
    """Statuses of each method of the API with and without the key, and of photos that lie in the bucket."""
    url, pool = stage.deployed.api_url, urllib3.PoolManager(retries=False)
    api, s3 = stage.laptop.client("apigateway"), stage.laptop.client("s3")
    (number,) = (each["id"] for each in api.get_rest_apis()["items"] if f"/{each['id']}/" in url)
    found = {}
    for resource in api.get_resources(restApiId=number)["items"]:
        path = re.sub(r"{.*?}", "page.js", resource["path"])
        for method in resource.get("resourceMethods", {}):
            for key in ("", stage.deployed.api_key):
                headers = {"x-api-key": key, "content-type": "image/jpeg"}
                body = stage.photo if method == "POST" else None
                verb = "DELETE" if method == "ANY" else method
                answer = pool.request(verb, url.removesuffix("/classify") + path, body=body, headers=headers)
                found[f"{method} {path} {'with' if key else 'without'} key"] = answer.status
    for suffix, folder in product(CONTENT_TYPES, ("one", "two")):
        for name in (f"{folder}/photo{suffix}", f"{folder}/photo{suffix.upper()}"):
            s3.put_object(Bucket=stage.deployed.bucket, Key=name, Body=stage.photo)
            answer = pool.request("POST", url, json={"s3": name}, headers={"x-api-key": stage.deployed.api_key})
            found[name] = answer.status
    return found


def _raise_alarms(stage: Stage) -> None:
    """An alarm tells the topic; its state is put back."""
    cloudwatch, alarm = stage.laptop.client("cloudwatch"), f"{stage.endpoint}-no-capacity"
    for state in ("ALARM", "OK"):
        cloudwatch.set_alarm_state(AlarmName=alarm, StateValue=state, StateReason="the proof")


def _stop_runs(stage: Stage) -> None:
    """A run is stopped in its training, two while they have staging; the rule's teardown takes away what they left."""
    sagemaker, states = stage.laptop.client("sagemaker"), stage.laptop.client("stepfunctions")

    def trains() -> bool:
        return bool(sagemaker.list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"])

    def has_staging() -> bool:
        return bool(sagemaker.list_endpoints(NameContains=f"{stage.endpoint}-")["Endpoints"])

    anew = {"dataset": _dataset(), "reuse": False}
    for request, under_way in ((anew, trains), ({"promote": 1}, has_staging), ({"promote": 1}, has_staging)):
        running = stage.start(stage.deployed.pipeline_arn, request)
        stage.wait(under_way, "the run to get so far", 60)
        states.stop_execution(executionArn=running)
        stage.wait(lambda: not runs.lock(stage), "the end of what the run left", 120)


def _leave_locks(stage: Stage, report: Report) -> None:
    """Locks of executions that are gone are taken over by a teardown, and by a run that then finds nothing approved."""
    ssm, deployed = stage.laptop.client("ssm"), stage.deployed
    takers: list[tuple[str, dict[str, Any]]] = [(deployed.teardown_arn, {}), (deployed.pipeline_arn, {"promote": 2})]
    for machine in (deployed.pipeline_arn, deployed.teardown_arn):
        for number, (taker, request) in enumerate(2 * takers):
            holder = f"{machine.replace(':stateMachine:', ':execution:')}:gone-{number}"
            ssm.put_parameter(Name=f"/{stack.STACK}/lock", Value=holder, Type="String")
            ended = stage.ended(stage.start(taker, request))
            taken = "RunInProgressError" not in (ended.get("error"), ended.get("cause"))
            report.promise(f"{taker.rpartition('-')[2]} takes over the lock of {holder.rsplit(':', 2)[1]}", taken)


def _let_the_lease_end(stage: Stage) -> None:
    """A champion is put back, first without a lease, then with one that ends at once."""
    scheduler = stage.laptop.client("scheduler")
    for wishes in ({"lease_hours": 0}, {}):
        stage.ended(stage.promote(**wishes))
    lease = scheduler.get_schedule(GroupName=stack.STACK, Name=f"{stage.endpoint}-lease")
    kept = ("GroupName", "Name", "FlexibleTimeWindow", "Target")
    now = f"at({datetime.now(UTC):%Y-%m-%dT%H:%M:%S})"
    scheduler.update_schedule(**{name: lease[name] for name in kept}, ScheduleExpression=now)
    stage.wait(lambda: stage.described() is None, "the end of the lease", 120)
    stage.wait(lambda: not runs.lock(stage), "the end of its teardown", 60)
