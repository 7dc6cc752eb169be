"""Scaling under load: instances that are slow by intention, a spike, and what the policies of the run make of it.

It needs a cloud with a fast clock and throttled instances, so it has one of its own, with a small model:

    python -m proofs.capstone.rows.scaling --port 4600

``python -m local capstone`` starts that program with the settings of ``python -m local drill``.
"""

import argparse
import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from local import laptop, run, shell
from local.home import HOME, ROOT, LocalError, write_json
from proofs.capstone.evidence import PICTURES, Check, Evidence
from proofs.capstone.kennel import Kennel
from proofs.drills import spike
from proofs.drills.drill_cloud import DrillCloud, connect
from proofs.drills.spike_trace import AFTER, BEFORE, LIMIT_MS, SPIKE, p99_by_window
from sketchbook import write
from traffic.picture import draw

_PORT_AFTER = 30  # the port of the small cloud, counted from that of the large one
_THROTTLE, _SPEED = 15, 10  # requests/s that an instance can answer, times the real clock
_TIMES = 5  # Half of the drill's spike, so that two cores which do other work can answer it.
_BREEDS = ("Dalmatian", "Doberman", "Samoyed")
_COUNTS = {"train": 12, "valid": 6, "test": 6}
_REQUEST = {"training_instance_count": 1, "hyperparameters": {"epochs": 10}}
_PERIODS = 20.0  # seconds of the burst alarm's two periods
_FAILED = 0.01  # the share of all requests that may fail until the new instances serve


def collect(kennel: Kennel) -> Evidence:
    """Run this module in another process, with a cloud of its own, and read what it has written."""
    home, written = HOME / "capstone" / "scaling-cloud", HOME / "capstone" / "scaling-cloud.json"
    written.unlink(missing_ok=True)
    environment = shell.clean(os.environ) | {
        "KENNEL_HOME": str(home),
        "KENNEL_THROTTLE": str(_THROTTLE),
        "KENNEL_TIME_SCALE": str(_SPEED),
    }
    command = [sys.executable, "-m", "proofs.capstone.rows.scaling"]
    command += ["--port", str(kennel.laptop.port + _PORT_AFTER), "--out", str(written)]
    log = HOME / "capstone" / "scaling-cloud.log"
    with log.open("wb") as file:
        # Ctrl-C reaches this program alone, which ends the other one in order.
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file, start_new_session=True)
    try:
        kennel.wait(lambda: process.poll() is not None, "a small cloud of its own, and a spike on it", 900)
    finally:
        if process.poll() is None:
            process.terminate()  # It stops its cloud.
            process.wait()
    if process.returncode or not written.exists():
        lines = log.read_text(errors="replace").splitlines()[-5:]
        raise LocalError(f"the small cloud failed; the end of {log}:\n" + "\n".join(lines))
    document: Evidence = json.loads(written.read_text())
    return document


def main() -> int:
    """Train a small model on a cloud of its own, play the spike, and write the evidence."""
    parser = argparse.ArgumentParser(prog="python -m proofs.capstone.rows.scaling", description=main.__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        photos = HOME / "small"
        if not photos.exists():
            write(photos, seed=5, counts=_COUNTS, breeds=_BREEDS, size=160)
        request = HOME / "request.json"
        write_json(request, _REQUEST)
        if run.run(str(photos), str(request), options.port) != run.PROMOTED:
            return 1
        write_json(options.out, _played(connect(photos)))
    except KeyboardInterrupt:
        return run.STOPPED
    finally:
        laptop.stop()
    return 0


def _played(cloud: DrillCloud) -> Evidence:
    """Play the spike under the policies that the run has put."""
    rate = spike.SAFETY * _THROTTLE
    with contextlib.redirect_stdout(sys.stderr):
        result = spike.play_measured(cloud, rate, _TIMES)
    picture = base64.b64encode(draw(HOME / "spike.svg", [result.column(rate)]).read_bytes()).decode()
    return {
        "throttle": _THROTTLE,
        "rate": rate,
        "times": _TIMES,
        "before": BEFORE,
        "spike": SPIKE,
        "policies": _policies(cloud),
        "desired": _changes(result.desired),
        "instances": _changes(result.instances),
        "p99_ms": [[end, None if p99 == float("inf") else round(p99, 1)] for end, p99 in p99_by_window(result.samples)],
        "requests": len(result.samples),
        "failed": sum(each.status != 200 for each in result.samples),
        PICTURES: [{"caption": "load, instances and p99 of the spike", "uri": f"data:image/svg+xml;base64,{picture}"}],
    }


def _policies(cloud: DrillCloud) -> list[dict[str, Any]]:
    found = cloud.client("application-autoscaling").describe_scaling_policies(ServiceNamespace="sagemaker")
    kept = ("PolicyName", "PolicyType", "TargetTrackingScalingPolicyConfiguration", "StepScalingPolicyConfiguration")
    return [{name: policy[name] for name in kept if name in policy} for policy in found["ScalingPolicies"]]


def _changes(series: list[tuple[float, int]]) -> list[list[float]]:
    """Return the first moment of a series, each at which its number changed, and the last."""
    changed = [list(later) for earlier, later in pairwise(series) if earlier[1] != later[1]]
    return [list(series[0]), *changed, list(series[-1])]


def judge(evidence: Evidence) -> list[Check]:
    """Find in the numbers of instances whether the endpoint scaled out in time and in again."""
    begin, end = evidence["before"], evidence["before"] + evidence["spike"]
    instances, desired = evidence["instances"], evidence["desired"]
    base = max(count for moment, count in instances if moment <= begin)
    most = max(count for _, count in instances)
    ordered = next((moment - begin for moment, count in desired if begin < moment < end and count > base), None)
    fewer = next(
        (moment - end for moment, count in desired if moment > end and count < max(c for _, c in desired)), None
    )
    slow = [moment for moment, p99 in evidence["p99_ms"] if begin < moment <= end and (p99 is None or p99 > LIMIT_MS)]
    recovered = slow[-1] - begin if slow else 0.0
    return [
        Check(f"{base} instance before, {most:.0f} during the spike", most > base),
        Check(
            "no more instances were ordered"
            if ordered is None
            else f"more were ordered {ordered:.1f} s into the spike",
            ordered is not None and ordered <= _PERIODS,
        ),
        Check(
            f"99 of 100 answers came within {LIMIT_MS:.0f} ms again {recovered:.0f} s into the spike of "
            f"{evidence['spike']:.0f} s",
            recovered < evidence["spike"],
        ),
        Check(
            "fewer were never ordered" if fewer is None else f"fewer were ordered {fewer:.0f} s after it",
            fewer is not None and fewer < AFTER,
        ),
        Check(
            f"{evidence['requests']:,} requests, {evidence['failed']:,} failed",
            evidence["requests"] > 0 and evidence["failed"] <= _FAILED * evidence["requests"],
        ),
    ]


def tell(evidence: Evidence) -> list[tuple[str, str]]:
    """Return the figures for people."""
    rows = [
        (
            "load",
            f"{evidence['rate']:.1f} requests/s, {evidence['times']} times as many for {evidence['spike']:.0f} s of "
            f"the cloud's clock; each instance is held to {evidence['throttle']} requests/s",
        )
    ]
    for policy in evidence["policies"]:
        tracking = policy.get("TargetTrackingScalingPolicyConfiguration")
        words = "adds several instances at once in a burst"
        if tracking:
            words = (
                f"keeps {tracking['TargetValue']:g} requests at once in each instance; cool-downs "
                f"{tracking.get('ScaleOutCooldown', 300)} s out and {tracking.get('ScaleInCooldown', 300)} s in"
            )
        rows.append((policy["PolicyName"], words))
    steps = ", ".join(f"{count:.0f} at {moment:.0f} s" for moment, count in evidence["instances"])
    return [*rows, ("instances in service", steps)]


if __name__ == "__main__":
    shell.leave()
    sys.exit(main())
