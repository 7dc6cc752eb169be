"""Drills in which production changes under load: an update, and the death of an instance. Callers must not notice."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from proofs.drills.drill_cloud import DrillCloud
from proofs.promises import Report
from traffic.open_loop import Traffic, quantile

_RATE = 8  # requests/s at the API
_INSTANCES = 2  # With one instance an update has no canary, and a dead instance has no substitute.


def update(cloud: DrillCloud, report: Report) -> None:
    """Update the endpoint while it serves."""
    _scale_out(cloud, report)
    with cloud.load_api(_RATE) as traffic, _watch_instances(cloud) as counts:
        report.log(f"{_RATE} requests/s at the API; the endpoint is updated")
        execution = cloud.await_end(cloud.promote(min_instances=_INSTANCES, max_instances=_INSTANCES + 1))
        report.log(f"the run ended as {execution['status']}")
        time.sleep(2)
    add_figures(report, traffic)
    report.figures["instances"] = {"least": min(counts), "most": max(counts)}
    report.promise("the run succeeds", execution["status"] == "SUCCEEDED")
    report.promise("no request failed", bool(traffic.samples) and not traffic.failed)
    report.promise(f"at least {_INSTANCES} instances served at all times", min(counts) >= _INSTANCES)


def kill_instance(cloud: DrillCloud, report: Report) -> None:
    """Kill an instance while it serves."""
    _scale_out(cloud, report)
    with cloud.load_api(_RATE) as traffic:
        time.sleep(3)
        before = cloud.instance_pids()
        killed = min(before)
        os.kill(killed, signal.SIGKILL)
        report.log(f"one of {len(before)} instances was killed")
        seconds = cloud.wait(
            lambda: len(pids := cloud.instance_pids()) == len(before) and killed not in pids, "a new instance", 120
        )
        cloud.wait(lambda: cloud.num_instances() >= _INSTANCES, "the new instance to serve", 120)
        report.log("a new instance replaced it")
        time.sleep(3)
    add_figures(report, traffic)
    report.figures["replaced_after_seconds"] = round(seconds, 1)
    report.promise("no request failed", bool(traffic.samples) and not traffic.failed)
    report.promise("the instance is replaced", cloud.num_instances() >= _INSTANCES)


def _scale_out(cloud: DrillCloud, report: Report) -> None:
    """Deploy with several instances unless several serve already."""
    if cloud.num_instances() < _INSTANCES:
        cloud.await_end(cloud.promote(min_instances=_INSTANCES, max_instances=_INSTANCES + 1))
        cloud.wait(lambda: cloud.num_instances() >= _INSTANCES, f"{_INSTANCES} instances", 120)
    report.log(f"{cloud.num_instances()} instances serve")


@contextmanager
def _watch_instances(cloud: DrillCloud) -> Iterator[list[int]]:
    """Yield a list to which the number of serving instances is added several times a second."""
    counts, stopped = [cloud.num_instances()], threading.Event()

    def watch() -> None:
        while not stopped.wait(0.2):
            counts.append(cloud.num_instances())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield counts
    finally:
        stopped.set()
        watcher.join()


def add_figures(report: Report, traffic: Traffic) -> None:
    """Add what callers saw to the figures of a drill."""
    report.figures |= {
        "requests": len(traffic.samples),
        "failed_requests": len(traffic.failed),
        "statuses_of_failed": sorted({sample.status for sample in traffic.failed}),
        "p50_ms": round(quantile(traffic.samples, 0.5), 1),
        "p99_ms": round(quantile(traffic.samples, 0.99), 1),
    }
