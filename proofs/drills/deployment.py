"""What callers notice of an update, and of an instance that dies: nothing."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from proofs.drills.report import Report
from proofs.drills.stage import Stage
from proofs.drills.traffic import Traffic, quantile, through_api

_RATE = 8  # requests/s at the API
_INSTANCES = 2  # with fewer there is no canary, and nobody to take over


def update(stage: Stage, report: Report) -> None:
    """A new model takes over from one that is serving."""
    _fleet(stage, report)
    with Traffic(through_api(stage.deployed, stage.photo), _RATE) as load, _watched(stage) as counts:
        report.say(f"{_RATE} requests/s at the API; the endpoint is updated")
        ended = stage.ended(stage.promote(min_instances=_INSTANCES, max_instances=_INSTANCES + 1))
        report.say(f"the run ended as {ended['status']}")
        time.sleep(2)
    _tell(report, load)
    report.figures["instances"] = {"least": min(counts), "most": max(counts)}
    report.promise("the run ends well", ended["status"] == "SUCCEEDED")
    report.promise("no request failed", bool(load.samples) and not load.failed)
    report.promise("capacity was never below what it was", min(counts) >= _INSTANCES)


def kill_instance(stage: Stage, report: Report) -> None:
    """An instance dies in the midst of its work."""
    _fleet(stage, report)
    with Traffic(through_api(stage.deployed, stage.photo), _RATE) as load:
        time.sleep(3)
        before = stage.processes()
        killed = min(before)
        os.kill(killed, signal.SIGKILL)
        report.say(f"one of {len(before)} instances was killed")
        seconds = stage.wait(
            lambda: len(found := stage.processes()) == len(before) and killed not in found, "another instance", 120
        )
        stage.wait(lambda: stage.instances() == _INSTANCES, "it to serve", 120)
        report.say("another took its place")
        time.sleep(3)
    _tell(report, load)
    report.figures["replaced_after_seconds"] = round(seconds, 1)
    report.promise("no request failed", bool(load.samples) and not load.failed)
    report.promise("the instance is replaced", stage.instances() == _INSTANCES)


def _fleet(stage: Stage, report: Report) -> None:
    """See to it that several instances serve."""
    if stage.instances() < _INSTANCES:
        stage.ended(stage.promote(min_instances=_INSTANCES, max_instances=_INSTANCES + 1))
        stage.wait(lambda: stage.instances() >= _INSTANCES, f"{_INSTANCES} instances", 120)
    report.say(f"{stage.instances()} instances serve")


@contextmanager
def _watched(stage: Stage) -> Iterator[list[int]]:
    """How many instances serve, looked at several times a second."""
    counts, over = [stage.instances()], threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            counts.append(stage.instances())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield counts
    finally:
        over.set()
        watcher.join()


def _tell(report: Report, load: Traffic) -> None:
    report.figures |= {
        "requests": len(load.samples),
        "failed_requests": len(load.failed),
        "statuses_of_failed": sorted({sample.status for sample in load.failed}),
        "p50_ms": round(quantile(load.samples, 0.5), 1),
        "p99_ms": round(quantile(load.samples, 0.99), 1),
    }
