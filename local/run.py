"""The main job: from a folder of photos to an endpoint that answers, on this machine."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from dataset import DatasetError
from dataset.layout import named
from local import data, laptop, report, stack
from local.api import Api
from local.follow import Outcome, follow
from local.home import HOME, LAST_RUN, LocalError, write_json
from local.laptop import Laptop
from local.stack import Stack

PROMOTED, FAILED, REFUSED, STOPPED = 0, 1, 3, 130
_CLEANING_SECONDS = 60


def up(port: int) -> tuple[Laptop, Stack]:
    """Start the laptop cloud if need be, and build and deploy the stack.

    Raises:
        LocalError: with the sentence to read.
    """
    with _step("sam build, laptop cloud"):
        build = stack.build()  # both take seconds; side by side they take the longer one's
        try:
            cloud = laptop.start(port)
        except BaseException:
            build.kill()
            build.wait()
            raise
        stack.finish(build)
    with _step("sam deploy"):
        stack.finish(stack.deploy(cloud))
    return cloud, stack.describe(cloud)


def run(data_path: str | None, event_path: str | None, port: int) -> int:
    """One whole run; returns the exit code."""
    started = time.monotonic()
    execution_arn = ""
    cloud: Laptop | None = None
    try:
        event = _read_event(event_path)
        with _alone():
            photos = data.prepare(Path(data_path).expanduser() if data_path else data.sketches())
            _announce(photos, data_path)
            cloud, deployed = up(port)
            with _step("upload"):
                data.upload(cloud, deployed.bucket, photos)
        name = time.strftime("%Y%m%d-%H%M%S")
        # known before it starts, so that Ctrl-C at any moment knows what to stop
        execution_arn = _execution_arn(deployed, name)
        _start(cloud, deployed, name, event if "promote" in event else {"dataset": photos.key} | event)
        outcome = follow(cloud, execution_arn, f"{deployed.endpoint_name}-")
        return _finish(cloud, deployed, photos, outcome, started)
    except KeyboardInterrupt:
        _abandon(cloud, execution_arn)
        write_json(LAST_RUN, {"status": "stopped", "seconds": round(time.monotonic() - started, 1)})
        return STOPPED
    except (LocalError, DatasetError, ClientError, BotoCoreError, OSError) as error:
        failure = {"name": type(error).__name__, "cause": str(error)}
        write_json(LAST_RUN, {"status": "failed", "seconds": round(time.monotonic() - started, 1), "error": failure})
        raise


def running() -> Laptop:
    """The laptop cloud that is up.

    Raises:
        LocalError: none is.
    """
    cloud = laptop.find()
    if cloud is None:
        raise LocalError("no laptop cloud is up; `make run` starts one and puts a model on it")
    return cloud


def promote(cloud: Laptop, version: int) -> int:
    """Let a version that served before serve again, through the pipeline's own states; returns the exit code."""
    started, deployed, name = time.monotonic(), stack.describe(cloud), time.strftime("%Y%m%d-%H%M%S")
    _start(cloud, deployed, name, {"promote": version})
    execution_arn = _execution_arn(deployed, name)
    try:
        outcome = follow(cloud, execution_arn, f"{deployed.endpoint_name}-")
    except KeyboardInterrupt:
        _abandon(cloud, execution_arn)
        return STOPPED
    return _finish(cloud, deployed, None, outcome, started)


def _read_event(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    try:
        event = json.loads(Path(path).read_text())
    except OSError as error:
        raise LocalError(f"event {path}: {error.strerror}; events/ has samples") from error
    except ValueError as error:
        raise LocalError(f"event {path}: not JSON ({error})") from error
    if not isinstance(event, dict):
        raise LocalError(f"event {path}: must hold a JSON object such as {{}}")
    return event


def _announce(photos: data.Data, data_path: str | None) -> None:
    found = photos.listing
    counts = ", ".join(f"{number:,} {split}" for split, number in found.counts().items())
    print(f"{data_path or 'Sketchbook'}: {len(found.classes)} breeds, {counts}", flush=True)
    if found.ignored:
        print(f"  left out, for they are no <split>/<breed>/<photo>: {named(found.ignored)}", flush=True)


def _execution_arn(deployed: Stack, name: str) -> str:
    return f"{deployed.pipeline_arn.replace(':stateMachine:', ':execution:')}:{name}"


def _start(cloud: Laptop, deployed: Stack, name: str, request: dict[str, Any]) -> None:
    machine = deployed.pipeline_arn
    cloud.client("stepfunctions").start_execution(stateMachineArn=machine, name=name, input=json.dumps(request))
    print(f"\nExecution {name} of {machine.rsplit(':', 1)[1]}", flush=True)


def _finish(cloud: Laptop, deployed: Stack, photos: data.Data | None, outcome: Outcome, started: float) -> int:
    record: dict[str, Any] = {
        "status": "failed",
        "seconds": 0.0,
        "states": outcome.states,
        "trained": None,
        "verdict": None,
        "evaluation": None,
        "endpoint": None,
        "api": {"page": deployed.page_url, "url": deployed.api_url, "key": deployed.api_key},
    }
    if outcome.status == "SUCCEEDED":
        output = outcome.output
        evaluation = report.evaluation(cloud, output["run"]["evaluation"]["report_uri"])
        record |= {
            "status": output["status"],
            "trained": output["trained"],
            "verdict": output["verdict"],
            "evaluation": {side: _marks(evaluation[side]) for side in ("challenger", "champion")},
            "endpoint": output["endpoint"],
        }
    else:
        record["error"] = {"name": outcome.error, "cause": outcome.cause}
    record["seconds"] = round(time.monotonic() - started, 1)
    write_json(LAST_RUN, record)
    if outcome.status == "SUCCEEDED":
        _tell_result(cloud, deployed, photos, output, evaluation["challenger"])
    else:
        print(f"\nFAILED  {outcome.error}: {outcome.cause}")
    print(f"\n{record['status']} after {record['seconds']:.0f} s; the record is {os.path.relpath(LAST_RUN)}")
    print("stop everything: make down")
    return {"promoted": PROMOTED, "refused": REFUSED}.get(record["status"], FAILED)


def _tell_result(
    cloud: Laptop, deployed: Stack, photos: data.Data | None, output: dict[str, Any], scores: dict[str, Any]
) -> None:
    print(f"\n{output['status'].upper()}")
    print(report.checklist(output["verdict"]))
    print(report.headline(scores))
    print(report.best_and_worst(scores))
    card = report.save_card(cloud, output["run"]["evaluation"]["report_uri"])
    print(f"the model's card:  {os.path.relpath(card)}")
    if output["status"] != "promoted":
        return
    if photos:
        picture = report.draw_predictions(Api(deployed.api_url, deployed.api_key), photos, output["run"]["id"])
        print(f"a few predictions: {os.path.relpath(picture)}")
    print(report.capacity(output["endpoint"]))
    print(f"\nShow it a photo, with the API key {deployed.api_key}:\n  {deployed.page_url}")
    print("Or ask it yourself:")
    print(f"  curl -X POST {deployed.api_url} \\\n    -H 'x-api-key: {deployed.api_key}' \\")
    print("    -H 'content-type: image/jpeg' --data-binary @photo.jpg")


def _marks(scores: dict[str, Any] | None) -> dict[str, Any] | None:
    return {key: scores[key] for key in ("top1", "top5", "latency_ms")} if scores else None


def _abandon(cloud: Laptop | None, execution_arn: str) -> None:
    """After Ctrl-C: leave the machine as the run found it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough; cleaning up takes seconds
    print("\nstopping …", flush=True)
    if laptop.stop_own():
        print("stopped; the laptop cloud that this run had started is down, nothing is left running")
        return
    if cloud and execution_arn:
        with suppress(ClientError, BotoCoreError):
            cloud.client("stepfunctions").stop_execution(executionArn=execution_arn, error="Stopped", cause="Ctrl-C")
            _await_cleaning(cloud, execution_arn)
    print("stopped; what served before still serves (make down stops that too)" if laptop.find() else "stopped")


def _await_cleaning(cloud: Laptop, execution_arn: str) -> None:
    """Wait until the job is over and the stack's own rule has made teardown let go of the lock."""
    deadline = time.monotonic() + _CLEANING_SECONDS
    while time.monotonic() < deadline and (_works(cloud) or _holds_lock(cloud, execution_arn)):
        time.sleep(0.3)


def _works(cloud: Laptop) -> bool:
    sagemaker = cloud.client("sagemaker")
    return any(
        sagemaker.list_training_jobs(StatusEquals=status)["TrainingJobSummaries"]
        or sagemaker.list_processing_jobs(StatusEquals=status)["ProcessingJobSummaries"]
        for status in ("InProgress", "Stopping")
    )


def _holds_lock(cloud: Laptop, execution_arn: str) -> bool:
    ssm = cloud.client("ssm")
    try:
        return bool(ssm.get_parameter(Name=f"/{stack.STACK}/lock")["Parameter"]["Value"] == execution_arn)
    except ssm.exceptions.ParameterNotFound:
        return False


@contextmanager
def _alone() -> Iterator[None]:
    """One runner at a time draws, builds and deploys in this folder; runs themselves have the stack's lock."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "runner.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another make run is building here; waiting for it", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _step(name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"  {name:<24}{time.monotonic() - started:6.1f} s", flush=True)
