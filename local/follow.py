"""Following an execution live: states with their times, and what the jobs say while they work."""

import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from dataset import OTHER, SPLITS
from local.laptop import Cloud

_POLL_SECONDS = 0.3
_SHORT_SECONDS = 0.1  # a state over sooner than this is told only when its document says something
_QUIET_SECONDS = 5.0  # without a terminal, a line of progress at most this often
_JOB_LOGS = {"Train": "/aws/sagemaker/TrainingJobs", "Evaluate": "/aws/sagemaker/ProcessingJobs"}
_SAME = "it had the same code, photos, hyperparameters, weights, image and instances"
_WORTH_TELLING = {
    "BuildImages": "the images of evaluation and server, of new content",
    "UpdateProduction": "the endpoint gets the new model while it serves",
    "PutScalingPolicy": "the endpoint scales with its load",
    "PutBurstPolicy": "and at once with a burst",
    "SmokeThroughApi": "the known photos again, as callers ask",
    "Promote": "the champion pointer moved",
    "RestoreProduction": "the endpoint goes back to the champion",
    "RemoveStaging": "taken away after the failure",
    "RejectChallenger": "the registered model says why",
    "RejectModel": "the registered model says why",
    "ReleaseLockAfterFailure": "the next run may start",
}
_PROGRESS = re.compile(
    r"^(?P<what>[a-z ]+?) (?P<done>\d+)/(?P<all>\d+) photos_per_s=(?P<rate>[\d.]+) eta_s=(?P<eta>[\d.]+)"
)


@dataclass
class Visit:
    """One stay in one state of a type; times in seconds since the epoch."""

    name: str
    type: str
    entered: float
    left: float | None = None
    output: Any = None

    @property
    def seconds(self) -> float:
        """How long the stay took (so far)."""
        return (self.left or time.time()) - self.entered


@dataclass(frozen=True)
class Outcome:
    """How an execution ended.

    status: Step Functions' own word, SUCCEEDED, FAILED, ABORTED or TIMED_OUT.
    states: seconds in each state in the order of first entry, loops added up.
    """

    status: str
    output: dict[str, Any]
    error: str
    cause: str
    states: list[dict[str, Any]] = field(default_factory=list)


class Screen:
    """Lines on a terminal, the last of which may be rewritten; plain lines elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._open = False
        self._spoke = time.monotonic()

    def line(self, text: str) -> None:
        """A line that stays."""
        print(f"\r\033[K{text}" if self._open else text, flush=True)
        self._open, self._spoke = False, time.monotonic()

    def passing(self, text: str) -> None:
        """A line that the next one replaces."""
        if self._live:
            print(f"\r\033[K{text[:110]}", end="", flush=True)
            self._open = True
        elif time.monotonic() - self._spoke >= _QUIET_SECONDS:
            print(text, flush=True)
            self._spoke = time.monotonic()


def follow(cloud: Cloud, execution_arn: str, jobs: str, poll_seconds: float = _POLL_SECONDS) -> Outcome:
    """Print the execution's progress until it ends.

    Args:
        cloud: where it runs.
        execution_arn: the execution.
        jobs: what the names of its jobs begin with; the logs hold those of other jobs too.
        poll_seconds: how often to look; AWS throttles who looks too often.
    """
    states = cloud.client("stepfunctions")
    screen, logs, told = Screen(), _JobLogs(cloud, jobs), set[int]()
    while True:
        ended = states.describe_execution(executionArn=execution_arn)
        visits = _visits(states, execution_arn)
        for index in [index for index in range(len(visits)) if index not in told]:
            _tell_lines(screen, logs.new_lines(visits[index]))
            if visits[index].left is not None:  # it never changes any more, so it is told once
                _tell_visit(screen, visits, index)
                told.add(index)
        if working := next((visit for visit in visits if visit.left is None and _is_told(visit)), None):
            screen.passing(f"  {working.name:<24}{working.seconds:6.1f} s  {logs.progress or '…'}")
        if ended["status"] != "RUNNING":
            return Outcome(
                ended["status"],
                json.loads(ended.get("output") or "{}"),
                ended.get("error", ""),
                ended.get("cause", ""),
                _added_up(visits),
            )
        time.sleep(poll_seconds)


def _visits(states: Any, execution_arn: str) -> list[Visit]:
    """Every stay so far, in the order of entry; branches of a Parallel state have theirs between each other's."""
    visits: list[Visit] = []
    staying: dict[str, Visit] = {}  # names are unique in a whole definition
    pages = states.get_paginator("get_execution_history").paginate(executionArn=execution_arn)
    for event in (event for page in pages for event in page["events"]):
        moment = event["timestamp"].timestamp()
        if details := event.get("stateEnteredEventDetails"):
            visit = Visit(details["name"], event["type"].removesuffix("StateEntered"), moment)
            staying[visit.name] = visit
            visits.append(visit)
        elif (details := event.get("stateExitedEventDetails")) and (left := staying.pop(details["name"], None)):
            left.left = moment
            left.output = json.loads(details.get("output") or "null")
            if left.type == "Parallel":  # where a branch failed, and where its siblings were stopped
                for name in [name for name, visit in staying.items() if visit.entered >= left.entered]:
                    staying.pop(name).left = moment
    return visits


def _is_told(visit: Visit) -> bool:
    """Tasks are worth a line; choices, passes and each turn of a waiting loop are not."""
    return visit.type == "Task" and not visit.name.startswith("Describe")


def _tell_visit(screen: Screen, visits: list[Visit], index: int) -> None:
    visit = visits[index]
    if visit.name.startswith("Describe") and visit.output and visit.output.get("status") == "InService":
        which = visit.name.removeprefix("Describe")  # of the loop that waits for an endpoint, told at its end
        waited = sum(v.seconds for v in visits[: index + 1] if v.name in (f"Await{which}", f"Create{which}"))
        screen.line(f"  {which:<24}{waited:6.1f} s  in service")
    elif visit.name == "ReuseTraining" and visit.output:
        screen.line(f"  {'Train':<24}{'reused':>8}  {visit.output['job']}")
        screen.line(f'      {_SAME}; {{"reuse": false}} trains anew')
    elif _is_told(visit) and ((summary := _summary(visit)) or visit.seconds >= _SHORT_SECONDS):
        screen.line(f"  {visit.name:<24}{visit.seconds:6.1f} s  {summary}".rstrip())


def _summary(visit: Visit) -> str:
    """What a state's document says, in a few words."""
    output = visit.output if isinstance(visit.output, dict) else {}
    if visit.name == "Plan" and output.get("promotion"):
        return f"version {output['promotion']['version']} is to serve again"
    if visit.name == "Plan" and output.get("dataset"):
        found, quote = output["dataset"], output["quote"]
        photos = " / ".join(f"{found['counts'][split]:,}" for split in SPLITS) + " photos"
        if num_other := found["counts"].get(OTHER):
            photos += f" and {num_other:,} without a dog"
        if output["training"]["reused"]:
            return f"{found['num_classes']} breeds, {photos}; trained before"
        price = f", ${quote['training_per_hour']:.2f} an hour on AWS" if quote["training_per_hour"] else ""
        return f"{found['num_classes']} breeds, {photos}; {output['training']['instance_count']} instances{price}"
    if visit.name == "Gate" and "reason" in output:
        return f"{output['decision']}: {output['reason']}"
    if visit.name == "Smoke" and "num_photos" in output:
        return f"{output['num_photos']} known photos answered as known, {output['latency_ms']:.1f} ms each"
    if visit.name == "Measure" and "measurement" in output:
        return _capacity(output)
    return _WORTH_TELLING.get(visit.name, "")


def _capacity(scaling: dict[str, Any]) -> str:
    one, measured = scaling["capacity"][0], scaling["measurement"]
    price = f", ${one['dollars_per_million']:.2f} a million" if one["dollars_per_million"] else ""
    known = f" (measured by run {measured['run']})" if scaling["reused"] else ""
    return (
        f"an instance is given {one['requests_per_second']:.0f} requests/s of the {measured['knee_per_second']:.0f} it "
        f"bears{price}{known}"
    )


def _tell_lines(screen: Screen, lines: list[str]) -> None:
    for line in lines:
        screen.line(f"      {_in_columns(line) if line.startswith('epoch=') else line}")


def _in_columns(epoch: str) -> str:
    said = dict(part.split("=", 1) for part in epoch.split() if "=" in part)
    return (
        f"epoch {said['epoch']:>6}   loss {float(said['train_loss']):.4f}   "
        f"valid top-1 {float(said['valid_top1']):6.1%}   {float(said['photos_per_s']):8,.0f} photos/s   "
        f"{float(said['eta_s']):.0f} s left"
    )


class _JobLogs:
    """What the first instance of the job at work says.

    progress: how far the job's present step is, in words; empty where it does not say.
    """

    def __init__(self, cloud: Cloud, jobs: str) -> None:
        self.progress = ""
        self._logs = cloud.client("logs")
        self._jobs = jobs
        self._seen: dict[str, int] = {}

    def new_lines(self, visit: Visit) -> list[str]:
        """Lines said since the last call, if the state runs a job; lines of progress only set ``progress``."""
        group = _JOB_LOGS.get(visit.name)
        if group is None:
            return []
        lines = []
        for line in self._said(group, visit.entered):
            if match := _PROGRESS.match(line):
                self.progress = (
                    f"{match['what']} {match['done']}/{match['all']}   "
                    f"{float(match['rate']):,.0f} photos/s   {float(match['eta']):.0f} s left"
                )
            else:
                self.progress = ""
                lines.append(line)
        if visit.left is not None:
            self.progress = ""
        return lines

    def _said(self, group: str, since: float) -> Iterator[str]:
        pages = self._logs.get_paginator("describe_log_streams").paginate(
            logGroupName=group, logStreamNamePrefix=self._jobs
        )
        try:
            streams = [stream for page in pages for stream in page["logStreams"]]
        except self._logs.exceptions.ResourceNotFoundException:
            return
        for stream in streams:
            name = stream["logStreamName"]
            if "/algo-1" not in name or stream.get("creationTime", 0) / 1000 < since - 1:
                continue
            stream_key, job_key = f"{group}:{name}", f"{group}:{name.partition('/')[0]}/"
            if stream_key not in self._seen and any(seen.startswith(job_key) for seen in self._seen):
                yield "interrupted: its instances were taken away; it starts again from its checkpoints"
            pages = self._logs.get_paginator("filter_log_events").paginate(logGroupName=group, logStreamNames=[name])
            lines = [event["message"].rstrip() for page in pages for event in page["events"]]
            yield from (line for line in lines[self._seen.get(stream_key, 0) :] if line)
            self._seen[stream_key] = len(lines)


def _added_up(visits: list[Visit]) -> list[dict[str, Any]]:
    seconds: dict[str, float] = {}
    for visit in visits:
        seconds[visit.name] = seconds.get(visit.name, 0.0) + visit.seconds
    return [{"name": name, "seconds": round(spent, 2)} for name, spent in seconds.items()]
