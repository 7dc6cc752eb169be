"""Follow an execution live: its states with their times, and the lines that its jobs log meanwhile."""

import json
import re
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from dataset import OTHER, SPLITS
from dataset.faults import sentences
from local.console import Screen
from local.laptop import Cloud

_POLL_SECONDS = 0.3
_SHORT_SECONDS = 0.1  # A state that takes less is printed only if its document has something to say.
# The states of a training: one starts the job, the others wait for its end. They are printed as one step, "Train".
_TRAINING = ("Train", "TrainInVpc", "AwaitTraining", "DescribeTraining", "CheckTraining")
_TRAINING_ENDS = ("PinModel", "TrainingFailed", "SpendingLimitReached")
_ON_EC2 = "TrainOnEc2"
# How the names of states begin that are repeated until something is there or gone, or that only keep order.
_LOOK_UPS = ("Find", "Describe", "Define", "Forget", "ReadEc2")
_JOB_LOGS = {
    **dict.fromkeys((*_TRAINING, *_TRAINING_ENDS), "/aws/sagemaker/TrainingJobs"),
    "Evaluate": "/aws/sagemaker/ProcessingJobs",
    _ON_EC2: "/aws/batch/job",
}
_SAME_TRAINING = "it had the same image, photos, hyperparameters, weights and instances"
_UNKNOWN_PRICE = ", price not known"
_SUMMARIES = {
    "BuildTrainingImage": "built the image that trains, because its code or packages are new",
    "BuildImages": "built the images that evaluate and serve, because their code or packages are new",
    "Search": "training jobs of their own try hyperparameters",
    "SearchInVpc": "training jobs of their own try hyperparameters",
    "UpdateProduction": "the endpoint changes to the new model while it serves",
    "PutScalingPolicy": "the endpoint scales with its load",
    "PutBurstPolicy": "a burst of requests adds several instances at once",
    "CreateLiveAlias": "the function can be asked",
    "ShiftCanary": "a tenth of the requests goes to the new version of the function",
    "SwitchAlias": "all requests go to the new version of the function",
    "PointToFunction": "the API asks the function from now on",
    "PointToInstances": "the API asks the endpoint from now on",
    "DeleteOldEndpoint": "the endpoint goes, because the function has proven itself",
    "DeleteOldFunction": "the function goes, because the endpoint has proven itself",
    "SmokeThroughApi": "the API answered the golden photos as expected",
    "SmokeThroughChangedApi": "the API answered the golden photos as expected",
    "Promote": "the new model is the champion",
    "TakeBackHosting": "what served before answers again",
    "RestoreProduction": "the endpoint goes back to the champion",
    "RemoveStaging": "staging is deleted after the failure",
    "RejectChallenger": "the reason is kept with the registered model",
    "RejectModel": "the reason is kept with the registered model",
    "ReleaseLockAfterFailure": "the next run may start",
    "WriteReceipt": "what the run cost is written",
    "WriteFailureReceipt": "what the run cost is written",
}
_PROGRESS = re.compile(
    r"^(?P<what>[a-z ]+?) (?P<done>\d+)/(?P<all>\d+) photos_per_s=(?P<rate>[\d.]+) eta_s=(?P<eta>[\d.]+)"
)


# The line of a trial of a search, see ``trial_line`` in training/trials.py.
_TRIAL = re.compile(
    r"^trial=(?P<number>\S+) epochs=\S+ (trial_top1=(?P<top1>\S+) trial_loss=\S+ )?cpu_s=\S+ (?P<values>[^(]*) "
    r"\((?P<ended>.*)\)$"
)
_GOES_ON = "(goes on)"  # how the line of a trial ends that is still trained


@dataclass
class Visit:
    """One stay of the execution in a state; times are in seconds since the epoch."""

    name: str
    type: str
    entered: float
    left: float | None = None
    output: Any = None

    @property
    def seconds(self) -> float:
        """Seconds that the stay took, or has taken so far."""
        return (self.left or time.time()) - self.entered


@dataclass(frozen=True)
class Outcome:
    """How an execution ended.

    Attributes:
        status: as Step Functions gives it: SUCCEEDED, FAILED, ABORTED or TIMED_OUT.
        output: the output of a successful execution, else empty.
        error: the error's name if it failed.
        cause: the reason in words if it failed.
        states: the total seconds in each state, in the order of first entry.
        receipt: what the run cost; empty if there is no receipt.
    """

    status: str
    output: dict[str, Any]
    error: str
    cause: str
    states: list[dict[str, Any]] = field(default_factory=list)
    receipt: dict[str, Any] = field(default_factory=dict)


def follow(cloud: Cloud, execution_arn: str, jobs: str, poll_seconds: float = _POLL_SECONDS) -> Outcome:
    """Print the execution's progress until it ends.

    Args:
        cloud: the cloud that runs it.
        execution_arn: the execution.
        jobs: the prefix of its jobs' names; the log groups hold other jobs too.
        poll_seconds: seconds between two looks; AWS throttles callers that ask too often.
    """
    states = cloud.client("stepfunctions")
    logs, printed, waiting = _JobLogs(cloud, jobs), set[int](), _WaitingJob(cloud)
    with Screen() as screen:
        while True:
            execution = states.describe_execution(executionArn=execution_arn)
            visits = _visits(states, execution_arn)
            for index in [index for index in range(len(visits)) if index not in printed]:
                _print_lines(screen, logs.new_lines(visits[index]))
                if visits[index].left is not None:  # It will not change any more, so it is printed once.
                    _print_visit(screen, visits, index)
                    printed.add(index)
            if execution["status"] != "RUNNING":
                break
            if working := next((visit for visit in visits if visit.left is None and _is_shown(visit)), None):
                if working.name == _ON_EC2:
                    _print_lines(screen, waiting.new_reasons(visits))
                name = "Train" if working.name == _ON_EC2 else working.name
                screen.passing(f"  {name:<24}{working.seconds:7.1f} s  {logs.progress or '…'}")
            elif search := next(
                (visit for visit in visits if visit.left is None and visit.name == "AwaitSearch"), None
            ):
                begin = max(visit.entered for visit in visits if visit.name in ("Search", "SearchInVpc"))
                screen.passing(f"  {'Search':<24}{search.entered + search.seconds - begin:7.1f} s  …")
            elif any(visit.left is None and visit.name in _TRAINING for visit in visits):
                screen.passing(f"  {'Train':<24}{_training_seconds(visits):7.1f} s  {logs.progress or '…'}")
            time.sleep(poll_seconds)
    return Outcome(
        execution["status"],
        json.loads(execution.get("output") or "{}"),
        execution.get("error", ""),
        execution.get("cause", ""),
        _total_seconds(visits),
        _receipt(json.loads(execution.get("output") or "{}"), visits),
    )


def _receipt(output: dict[str, Any], visits: list[Visit]) -> dict[str, Any]:
    """Return the receipt of a run; that of a failed one, which has no output, is what its state has written."""
    written = [visit.output for visit in visits if visit.name == "WriteFailureReceipt" and visit.output]
    receipt = output.get("receipt") or (written[-1].get("receipt") if written else None) or {}
    return receipt if "lines" in receipt else {}


def _visits(states: Any, execution_arn: str) -> list[Visit]:
    """Return every stay so far in the order of entry; the branches of a Parallel state are interleaved."""
    visits: list[Visit] = []
    staying: dict[str, Visit] = {}  # State names are unique within a definition.
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
            if left.type == "Parallel":  # A branch failed: the states that its siblings were in have ended too.
                for name in [name for name, visit in staying.items() if visit.entered >= left.entered]:
                    staying.pop(name).left = moment
    return visits


def _is_shown(visit: Visit) -> bool:
    """Whether the state gets a line: only tasks do, and of these not the checks of a waiting loop."""
    return visit.type == "Task" and not visit.name.startswith(_LOOK_UPS) and visit.name not in _TRAINING


def _training_seconds(visits: list[Visit]) -> float:
    return sum(visit.seconds for visit in visits if visit.name in _TRAINING)


def _print_visit(screen: Screen, visits: list[Visit], index: int) -> None:
    visit = visits[index]
    if visit.name.startswith("Describe") and visit.output and visit.output.get("status") == "InService":
        # The endpoint is ready: print the whole loop that waited for it as one step.
        which = visit.name.removeprefix("Describe")
        waited = sum(v.seconds for v in visits[: index + 1] if v.name in (f"Await{which}", f"Create{which}"))
        screen.step(which, f"{waited:.1f} s", "in service")
    elif visit.name == _ON_EC2:
        screen.step("Train", f"{visit.seconds:.1f} s", "on one machine of EC2")
    elif visit.name in _TRAINING_ENDS:
        if not any(each.name == _ON_EC2 for each in visits):
            screen.step("Train", f"{_training_seconds(visits[:index]):.1f} s", "")
    elif visit.name == "ReuseTraining" and visit.output:
        screen.step("Train", "reused", visit.output["job"])
        screen.line(f'{_SAME_TRAINING}; {{"reuse": false}} trains again', indent=6)
    elif _is_shown(visit) and ((summary := _summary(visit)) or visit.seconds >= _SHORT_SECONDS):
        screen.step(visit.name, f"{visit.seconds:.1f} s", summary)


def _summary(visit: Visit) -> str:
    """Return what came of a state, in a few words; empty if there is nothing to say."""
    output = visit.output if isinstance(visit.output, dict) else {}
    if visit.name == "Plan" and output.get("promotion"):
        return f"version {output['promotion']['version']} will serve again"
    if visit.name == "Plan" and output.get("dataset"):
        dataset, quote = output["dataset"], output["quote"]
        photos = " / ".join(f"{dataset['counts'][split]:,}" for split in SPLITS) + " photos"
        if num_other := dataset["counts"].get(OTHER):
            photos += f" and {num_other:,} without a dog"
        if own := output.get("own_model"):
            kind = f"a {own['backbone']} that was" if own["backbone"] else "a model that was"
            return (
                f"{dataset['num_classes']} breeds, {photos}; {kind} trained elsewhere{_builds(output)}{_left(dataset)}"
            )
        if output["training"]["reused"]:
            return f"{dataset['num_classes']} breeds, {photos}; trained before{_builds(output)}{_left(dataset)}"
        price = _an_hour(quote["training_per_hour"])
        count = output["training"]["instance_count"]
        instances = f"training on {count} instance{'s' if count > 1 else ''}{price}"
        if output["training"]["ec2"]:
            saved = f", {quote['training_saved']:.0%} less than on SageMaker" if quote["training_saved"] else ""
            kind = "spot" if output["training"]["spot"] else "on demand"
            instances = f"training on 1 {output['training']['instance_type']} of EC2 ({kind}){price}{saved}"
        search = f"; {tuning['reason']}" if (tuning := output.get("tuning")) else ""
        return f"{dataset['num_classes']} breeds, {photos}; {instances}{_builds(output)}{search}{_left(dataset)}"
    if visit.name == "RankTrials" and output.get("again"):
        return f"the best are trained again with other seeds, in {output['again']['trials']} jobs"
    if visit.name == "RankTrials" and output.get("hyperparameters"):
        return "the winner: " + ", ".join(f"{name} {value}" for name, value in output["hyperparameters"].items())
    if visit.name == "Gate" and "reason" in output:
        return f"{output['decision']}: {output['reason']}"
    if visit.name in ("Smoke", "SmokeFunction") and "num_photos" in output:
        return f"{output['num_photos']} golden photos were answered as expected, {output['latency_ms']:.1f} ms each"
    if visit.name == "Measure" and "measurement" in output:
        return _capacity(output)
    if visit.name == "MeasureFunction" and "sizes" in output:
        size = next(each for each in output["sizes"] if each["memory_mb"] == output["memory_mb"])
        cold = f"; {statistics.median(size['cold_ms']) / 1000:.1f} s when it starts cold" if size["cold_ms"] else ""
        return f"{size['memory_mb']:,} MB, {size['warm_p50_ms']:.0f} ms a photo{cold}"
    if visit.name == "ChooseHosting" and "reason" in output:
        return str(output["reason"])
    return _SUMMARIES.get(visit.name, "")


def _builds(run: dict[str, Any]) -> str:
    """Return which images the run builds first, and what that takes on AWS; empty if they all exist."""
    builds = [build for build in (run["images"]["training_build"], run["images"]["serving_build"]) if build]
    if not builds:
        return ""
    quote, targets = run["quote"], [target for build in builds for target in build["targets"]]
    price = _UNKNOWN_PRICE if quote["build"] is None else f", ${quote['build']:.2f} on AWS"
    what = f"{len(targets)} images" if len(targets) > 1 else "1 image"
    return f"; builds {what}: {quote['build_minutes']:.0f} minutes{price}"


def _an_hour(dollars: float | None) -> str:
    return _UNKNOWN_PRICE if dollars is None else f", ${dollars:.2f} an hour on AWS" if dollars else ""


def _left(dataset: dict[str, Any]) -> str:
    """Return what Plan says about files that are left out; empty if there are none."""
    words = sentences([*dataset.get("unreadable", []), *dataset.get("left_out", [])])
    if number := dataset.get("not_compared"):
        words.append(f"photos whose size another split has, too, and that were not compared: {number:,}")
    return f"; left out: {'; '.join(words)}" if words else ""


def _capacity(scaling: dict[str, Any]) -> str:
    one, measured = scaling["capacity"][0], scaling["measurement"]
    dollars = one["dollars_per_million"]["function_url"]
    price = f", ${dollars:.2f} per million photos of 100 KB with everything" if dollars else ""
    source = f" (measured by run {measured['run']})" if scaling["reused"] else ""
    return (
        f"plans {one['requests_per_second']:.0f} requests/s per instance, which can answer "
        f"{measured['knee_per_second']:.0f} in time{price}{source}"
    )


def _print_lines(screen: Screen, lines: list[str]) -> None:
    for line in lines:
        screen.line(_readable(line), indent=6)


def _readable(line: str) -> str:
    """Return a line of a job's log as people read it: those of epochs and of trials in columns."""
    if line.startswith("epoch="):
        return _in_columns(line)
    if match := _TRIAL.match(line):
        figures = f"valid top-1 {float(match['top1']):6.1%}   " if match["top1"] else ""
        values = match["values"].replace("=", " ").replace("_", " ")
        return f"trial {match['number']:>7}   {figures}{match['ended']}   {values}"
    return line


def _in_columns(epoch: str) -> str:
    values = dict(part.split("=", 1) for part in epoch.split() if "=" in part)
    return (
        f"epoch {values['epoch']:>6}   loss {float(values['train_loss']):.4f}   "
        f"valid top-1 {float(values['valid_top1']):6.1%}   {float(values['photos_per_s']):8,.0f} photos/s   "
        f"{float(values['eta_s']):.0f} s left"
    )


class _JobLogs:
    """The log of the first instance of the job that is running.

    Attributes:
        progress: how far the job is with its present step, in words; empty if unknown.
    """

    def __init__(self, cloud: Cloud, jobs: str) -> None:
        self.progress = ""
        self._logs = cloud.client("logs")
        self._jobs = jobs
        self._seen: dict[str, int] = {}
        self._begun: dict[str, float] = {}  # by log group, when the first state of its job was entered

    def new_lines(self, visit: Visit) -> list[str]:
        """Return the lines logged since the last call if the state runs a job; progress lines only set ``progress``."""
        group = _JOB_LOGS.get(visit.name)
        if group is None:
            return []
        lines = []
        for line in self._logged(group, self._begun.setdefault(group, visit.entered)):
            if match := _PROGRESS.match(line):
                self.progress = (
                    f"{match['what']} {match['done']}/{match['all']}   "
                    f"{float(match['rate']):,.0f} photos/s   {float(match['eta']):.0f} s left"
                )
            elif line.startswith("trial=") and line.endswith(_GOES_ON):
                self.progress = f"search, {line.partition(' ')[0].replace('=', ' ')}"
            else:
                self.progress = ""
                lines.append(line)
        if visit.left is not None and visit.name not in _TRAINING:  # A training stays in its states in turns.
            self.progress = ""
        return lines

    def _logged(self, group: str, since: float) -> Iterator[str]:
        pages = self._logs.get_paginator("describe_log_streams").paginate(
            logGroupName=group, logStreamNamePrefix=self._jobs
        )
        try:
            streams = [stream for page in pages for stream in page["logStreams"]]
        except self._logs.exceptions.ResourceNotFoundException:
            return
        for stream in streams:
            name = stream["logStreamName"]
            if not ("/algo-1" in name or "/default/" in name) or stream.get("creationTime", 0) / 1000 < since - 1:
                continue
            stream_key, job_key = f"{group}:{name}", f"{group}:{name.partition('/')[0]}/"
            if stream_key not in self._seen and any(seen.startswith(job_key) for seen in self._seen):
                yield "interrupted: its instances were taken away; it starts again from its checkpoints"
            pages = self._logs.get_paginator("filter_log_events").paginate(logGroupName=group, logStreamNames=[name])
            lines = [event["message"].rstrip() for page in pages for event in page["events"]]
            yield from (line for line in lines[self._seen.get(stream_key, 0) :] if line)
            self._seen[stream_key] = len(lines)


class _WaitingJob:
    """The job on EC2 of an execution, which may wait for a machine, or wait in vain."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._told = ""

    def new_reasons(self, visits: list[Visit]) -> list[str]:
        """Return why the job waits, if Batch gives a reason that has not been told yet."""
        plan = next(visit.output["training"] for visit in visits if visit.name == "Plan")
        named = [{"name": "JOB_NAME", "values": [plan["job_name"]]}]
        batch = self._cloud.client("batch")  # Only a training on EC2 needs it.
        jobs = batch.list_jobs(jobQueue=plan["ec2"]["queue"], filters=named)["jobSummaryList"]
        reason = next((job.get("statusReason", "") for job in jobs if job["status"] == "RUNNABLE"), "")
        if not reason or reason == self._told:
            return []
        self._told = reason
        return [f"the job waits for a machine of EC2: {reason}"]


def _total_seconds(visits: list[Visit]) -> list[dict[str, Any]]:
    seconds: dict[str, float] = {}
    for visit in visits:
        seconds[visit.name] = seconds.get(visit.name, 0.0) + visit.seconds
    return [{"name": name, "seconds": round(spent, 2)} for name, spent in seconds.items()]
