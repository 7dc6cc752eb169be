"""The main job: from a folder of photos to an endpoint that answers, on this machine."""

import codecs
import fcntl
import json
import os
import signal
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from dataset.faults import counted, sentences
from dataset.layout import Reason, named
from local import data, dollars, laptop, receipts, report, stack
from local.api import Api, signed_curl
from local.console import say, say_exactly, show, step
from local.follow import Outcome, follow
from local.home import HOME, LAST_RUN, LocalError, write_json
from local.laptop import Laptop
from local.stack import KeyLimits, Stack

PROMOTED, FAILED, REFUSED, STOPPED = 0, 1, 3, 130  # exit codes
_CLEANING_SECONDS = 60


def up(port: int) -> tuple[Laptop, Stack]:
    """Start the laptop cloud if none is running, then build and deploy the stack.

    Raises:
        LocalError: something failed; the message says what and how to mend it.
    """
    with _step("sam build, laptop cloud"):
        build = stack.build()  # It runs beside the start of the cloud, because both take seconds.
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


def run(
    data_path: str | None,
    event_path: str | None,
    port: int,
    model_path: str | None = None,
    split: str | None = None,
    leaks: str | None = None,
) -> int:
    """Do one whole run and return the exit code.

    Args:
        data_path: folder or archive of photos; None for the sketchbook.
        event_path: file with the execution's input; None for ``{}``.
        port: port of the laptop cloud.
        model_path: a model that was trained elsewhere, which is uploaded; None if there is none on this machine.
        split: the input's field of this name; None leaves it as it is.
        leaks: the same.
    """
    started = time.monotonic()
    execution_arn = ""
    cloud: Laptop | None = None
    try:
        event = _read_event(event_path) | data.own_model(model_path)
        event |= {name: value for name, value in (("split", split), ("leaks", leaks)) if value}
        reading = data.reading_of(event)
        if data_path and "dataset" in event:
            raise LocalError(
                f"event {event_path}: names a dataset, and DATA={data_path} another; leave one of them out"
            )
        with _runner_lock():
            photos = data.prepare(Path(data_path).expanduser() if data_path else data.sketches(), reading)
            _describe(photos, data_path)
            cloud, deployed = up(port)
            with _step("upload"):
                data.upload(cloud, deployed.bucket, photos.archive, photos.key)
                if model_path:
                    data.upload(cloud, deployed.bucket, Path(model_path).expanduser(), event["trained_model"])
        name = time.strftime("%Y%m%d-%H%M%S")
        # The ARN is known before the execution starts, so that Ctrl-C can stop it at any moment.
        execution_arn = _execution_arn(deployed, name)
        _start(cloud, deployed, name, event if "promote" in event else {"dataset": photos.key} | event)
        outcome = _follow(cloud, deployed, execution_arn)
        return _finish(cloud, deployed, photos, outcome, started)
    except KeyboardInterrupt:
        _abandon(cloud, execution_arn, started)
        return STOPPED
    except Exception as error:
        _record_end("failed", started, error={"name": type(error).__name__, "cause": str(error)})
        _stop_unwatched(cloud, execution_arn)
        raise


def running() -> Laptop:
    """Return the laptop cloud that is running.

    Raises:
        LocalError: none is running.
    """
    cloud = laptop.find()
    if cloud is None:
        raise LocalError("no laptop cloud is running; `make run` starts one and deploys a model on it")
    return cloud


def promote(cloud: Laptop, version: int) -> int:
    """Let the pipeline deploy a version that served before, and return the exit code."""
    started, deployed, name = time.monotonic(), stack.describe(cloud), time.strftime("%Y%m%d-%H%M%S")
    execution_arn = _execution_arn(deployed, name)
    try:
        _start(cloud, deployed, name, {"promote": version})
        outcome = _follow(cloud, deployed, execution_arn)
        return _finish(cloud, deployed, None, outcome, started)
    except KeyboardInterrupt:
        _abandon(cloud, execution_arn, started)
        return STOPPED
    except Exception as error:
        _record_end("failed", started, error={"name": type(error).__name__, "cause": str(error)})
        _stop_unwatched(cloud, execution_arn)
        raise


def _read_event(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    try:
        content = Path(path).expanduser().read_bytes()
        if not content.strip():
            raise LocalError(f"event {path}: is empty; write {{}} for a run with all defaults; events/ has samples")
        event = json.loads(content.removeprefix(codecs.BOM_UTF8))  # It knows UTF-16 itself.
    except OSError as error:
        raise LocalError(f"event {path}: {error.strerror}; events/ has samples") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise LocalError(
            f"event {path}: not JSON from {place} on: names and texts have double quotes, and no comma follows the "
            "last of them; events/ has samples"
        ) from error
    except UnicodeDecodeError as error:
        raise LocalError(f"event {path}: not JSON, because it is no text in UTF-8; events/ has samples") from error
    except (ValueError, RecursionError) as error:
        raise LocalError(f"event {path}: has a number of thousands of digits, or is nested too deep") from error
    if not isinstance(event, dict):
        raise LocalError(f"event {path}: must hold a JSON object such as {{}}")
    return event


def _describe(photos: data.Data, data_path: str | None) -> None:
    listing = photos.listing
    counts = ", ".join(f"{number:,} {split}" for split, number in listing.counts().items())
    say(f"{data_path or 'Sketchbook'}: {len(listing.classes)} breeds, {counts}")
    if listing.made_splits:
        say(f"  {listing.made_splits}")
    for reason in Reason:
        if paths := [file.path for file in listing.left_out if file.reason == reason]:
            say(f"  left out {len(paths):,} {reason}: {named(paths)}")
    if photos.unreadable:
        say(
            f"  photos that cannot be read and are left out: {len(photos.unreadable):,}; all of them are in "
            f"{os.path.relpath(data.UNREADABLE_PHOTOS)}"
        )
        for line in sentences(counted(photos.unreadable)):
            say(f"    {line}")
    equal = photos.equal
    for words, pairs in (
        ("left out photos that stand in two splits", equal.splits),
        ("photos that stand in two classes, of which a model can learn one", equal.classes),
    ):
        if pairs:
            few = named(f"{photo.path} is also {other.path}" for photo, other in pairs)
            say(f"  {words}: {len(pairs):,} ({few}); all of them are in {os.path.relpath(data.EQUAL_PHOTOS)}")
    if equal.repeats:
        say(f"  photos that repeat another one of their class: {equal.repeats:,}")


def _execution_arn(deployed: Stack, name: str) -> str:
    return f"{deployed.pipeline_arn.replace(':stateMachine:', ':execution:')}:{name}"


def _start(cloud: Laptop, deployed: Stack, name: str, request: dict[str, Any]) -> None:
    machine = deployed.pipeline_arn
    cloud.client("stepfunctions").start_execution(stateMachineArn=machine, name=name, input=json.dumps(request))
    say(f"\nExecution {name} of {machine.rsplit(':', 1)[1]}")


def _follow(cloud: Laptop, deployed: Stack, execution_arn: str) -> Outcome:
    """Follow an execution to its end, and beyond it to the receipt of one that was stopped or timed out."""
    outcome = follow(cloud, execution_arn, f"{deployed.endpoint_name}-")
    if outcome.status in ("ABORTED", "TIMED_OUT"):
        receipt = receipts.of_stopped(cloud, deployed.teardown_arn, execution_arn, _CLEANING_SECONDS)
        return replace(outcome, receipt=receipt)
    return outcome


def _finish(cloud: Laptop, deployed: Stack, photos: data.Data | None, outcome: Outcome, started: float) -> int:
    record: dict[str, Any] = {
        "status": "failed",
        "seconds": 0.0,
        "states": outcome.states,
        "trained": None,
        "verdict": None,
        "evaluation": None,
        "hosting": None,
        "endpoint": None,
        "function": None,
        "receipt": outcome.receipt or None,
        "api": {"page": deployed.page_url, "url": deployed.api_url, "key": deployed.api_key, "function_url": None},
    }
    if outcome.status == "SUCCEEDED" and outcome.output["status"] == "unchanged":  # asked for by {"rebuild": true}
        record["status"] = "unchanged"
    elif outcome.status == "SUCCEEDED":
        output = outcome.output
        evaluation = report.evaluation(cloud, output["run"]["evaluation"]["report_uri"])
        record |= {
            "status": output["status"],
            "trained": output["trained"],
            "verdict": output["verdict"],
            "evaluation": {side: _scores(evaluation[side]) for side in ("challenger", "champion")},
            # A state machine of an earlier release knows endpoints alone.
            "hosting": output.get("hosting", "instances" if output["endpoint"] else None),
            "endpoint": output["endpoint"],
            "function": output.get("function"),
        }
        if output.get("function"):
            record["api"]["function_url"] = stack.function_url(cloud, output["run"]["function"])
    else:
        record["error"] = {"name": outcome.error, "cause": outcome.cause}
    record["seconds"] = round(time.monotonic() - started, 1)
    write_json(LAST_RUN, record)
    if record["status"] == "unchanged":
        say(f"\nUNCHANGED  {json.loads(outcome.output['cause'])['errorMessage']}")
    elif outcome.status == "SUCCEEDED":
        _print_result(cloud, deployed, photos, output, evaluation)
        if url := record["api"]["function_url"]:
            say("Or ask the function itself, by its own URL and with a signature (here root's, see make up):")
            say_exactly(textwrap.indent(signed_curl(url, cloud.root_key), "  "))
    else:
        say(f"\nFAILED  {outcome.error}: {outcome.cause}")
    if outcome.receipt:
        receipts.show_receipt(outcome.receipt)
    say(
        f"\n{record['status']}, {record['seconds']:.0f} s after this command began; the record is "
        f"{os.path.relpath(LAST_RUN)}"
    )
    say("stop everything: make down")
    return {"promoted": PROMOTED, "unchanged": PROMOTED, "refused": REFUSED}.get(record["status"], FAILED)


def _print_result(
    cloud: Laptop, deployed: Stack, photos: data.Data | None, output: dict[str, Any], evaluation: dict[str, Any]
) -> None:
    scores = evaluation["challenger"]
    say(f"\n{output['status'].upper()}")
    show(report.checklist(output["verdict"]))
    say(report.headline(scores))
    show(report.best_and_worst(scores), indent=0)
    left_out = counted(photos.listing.left_out) if photos else evaluation.get("left_out_counts", [])
    for line in report.left_out(evaluation.get("unreadable_counts", []), left_out):
        say(line)
    card = report.save_card(cloud, output["run"]["evaluation"]["report_uri"])
    say(f"the model's card:  {os.path.relpath(card)}")
    if output["status"] != "promoted":
        return
    if photos:
        picture = report.draw_predictions(Api(deployed.api_url, deployed.api_key), photos, output["run"]["id"])
        say(f"a few predictions: {os.path.relpath(picture)}")
    _print_hosting(output, stack.key_limits(cloud))
    say_exactly(f"\nShow it a photo in a browser, with the API key {deployed.api_key}:\n  {deployed.page_url}")
    say("Or ask it from a shell:")
    say_exactly(f"  curl -X POST {deployed.api_url} \\\n    -H 'x-api-key: {deployed.api_key}' \\")
    say_exactly("    --data-binary @photo.jpg")


def _print_hosting(output: dict[str, Any], key: KeyLimits) -> None:
    """Print what answers, what it can and what it costs."""
    choice, function = output.get("choice"), output.get("function")
    if choice:
        say(choice["reason"])
    if function:
        measured = function["measurement"]
        if function["note"]:
            say(function["note"])
        say(f"version {function['version']} of the function {function['name']} answers, by sizes of memory:")
        show(report.memory(measured))
        for sentence in measured["left_out"]:
            say(f"  left out: {sentence}")
        say(report.concurrency(measured, output["run"]["function"]["reserved"]))
        rows = (choice or measured)["table"] or measured["table"]
    else:
        say("requests that the endpoint can answer, with room for a burst:")
        show(report.capacity(output["endpoint"]))
        say("dollars per million answers on AWS with everything, when half of that is asked:")
        show(dollars.table(output))
        say(dollars.by_day(output))
        rows = choice["table"] if choice else []
    if rows:
        say(
            "dollars a month on AWS for photos of 100 KB: requests, and what answers them, with everything; beside "
            "them the milliseconds within which 50 and 99 of 100 answers come (~: estimated). The stack's key, alarms "
            "and images come on top, see the end of the receipt:"
        )
        show(dollars.by_hosting(rows, key))
        for sentence in dollars.reasons(rows, key, output["run"]["endpoint"]["max_instances"]):
            say(f"  {sentence}")
    if function:
        say(report.stay(measured["provisioned"]))
    else:
        say(report.lease(output["endpoint"]["lease_hours"]))


def _scores(scores: dict[str, Any] | None) -> dict[str, Any] | None:
    return {key: scores[key] for key in ("top1", "top5", "latency_ms")} if scores else None


def _record_end(status: str, started: float, **more: dict[str, Any]) -> None:
    """Write the record of a run that did not come to its end, with what is known of it."""
    record = {"status": status, "seconds": round(time.monotonic() - started, 1)}
    with suppress(OSError):  # The disk may be full, and what went wrong must still be told and stopped.
        write_json(LAST_RUN, record | {name: value for name, value in more.items() if value})


def _stop_unwatched(cloud: Laptop | None, execution_arn: str) -> None:
    """After an error of this program, stop the execution that it follows, and say so."""
    if not cloud or not execution_arn:
        return
    with suppress(ClientError, BotoCoreError):
        states = cloud.client("stepfunctions")
        if states.describe_execution(executionArn=execution_arn)["status"] == "RUNNING":
            cause = "The program that followed it has failed"
            states.stop_execution(executionArn=execution_arn, error="Stopped", cause=cause)
            name = execution_arn.rpartition(":")[2]
            with suppress(OSError):
                print(f"execution {name} is stopped, because it can no longer be followed:", file=sys.stderr)


def _abandon(cloud: Laptop | None, execution_arn: str, started: float) -> None:
    """After Ctrl-C, stop what this run started, and tell what it cost if its cloud stays."""
    _record_end("stopped", started)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # A second Ctrl-C must not interrupt the seconds of cleaning up.
    receipt: dict[str, Any] = {}
    with suppress(OSError):  # The terminal may be closed.
        say("\nstopping …")
    if laptop.stop_own():
        words = "stopped; the laptop cloud that this run had started is down, nothing is left running"
    else:
        if cloud and execution_arn:
            with suppress(ClientError, BotoCoreError, LocalError):
                states = cloud.client("stepfunctions")
                states.stop_execution(executionArn=execution_arn, error="Stopped", cause="Ctrl-C")
                _await_release(cloud, execution_arn)
                if states.describe_execution(executionArn=execution_arn)["status"] == "ABORTED":
                    teardown = stack.describe(cloud).teardown_arn
                    receipt = receipts.of_stopped(cloud, teardown, execution_arn, _CLEANING_SECONDS)
                    _record_end("stopped", started, receipt=receipt)
        words = "stopped; what served before still serves (make down stops that too)" if laptop.find() else "stopped"
    with suppress(OSError):
        if receipt:
            receipts.show_receipt(receipt)
        say(words)


def _await_release(cloud: Laptop, execution_arn: str) -> None:
    """Wait until no job runs and teardown, started by the stack's rule for stopped runs, has released the lock."""
    deadline = time.monotonic() + _CLEANING_SECONDS
    while time.monotonic() < deadline and (_runs_job(cloud) or _holds_lock(cloud, execution_arn)):
        time.sleep(0.3)


def _runs_job(cloud: Laptop) -> bool:
    sagemaker, batch = cloud.client("sagemaker"), cloud.client("batch")
    queues = [queue["jobQueueArn"] for queue in batch.describe_job_queues()["jobQueues"]]
    on_ec2 = any(batch.list_jobs(jobQueue=queue, jobStatus="RUNNING")["jobSummaryList"] for queue in queues)
    return on_ec2 or any(
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
def _runner_lock() -> Iterator[None]:
    """Let one runner at a time draw, build and deploy in this folder; executions have the stack's own lock."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "runner.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another make run is building here; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _step(name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    step(name, f"{time.monotonic() - started:.1f} s")
