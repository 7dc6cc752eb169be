"""The drill of hostile requests: which answers are faults, and which requests are sent."""

import json
import random
from typing import Any

import pytest

from local import cli
from local.stack import Stack
from proofs.drills.__main__ import DRILLS
from proofs.drills.fuzz import FuzzAnswer
from proofs.drills.probes import Probe, ProbeGenerator

PROBE = Probe("noise", "POST", "/classify", frozenset({400, 415}))
PROBLEM = {"title": "Bad Request", "status": 400, "detail": "the photo is empty", "correlation_id": "1"}


def answer(status: int, document: Any, kind: str = "application/problem+json", **headers: str) -> FuzzAnswer:
    return FuzzAnswer(status, {"content-type": kind, **headers}, json.dumps(document).encode())


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (answer(400, PROBLEM), ""),
        (answer(400, PROBLEM | {"status": 415}), "not a problem document"),
        (answer(400, {"message": "Forbidden"}), "not a problem document"),
        (answer(400, PROBLEM, "application/json"), "content type application/json"),
        (answer(400, PROBLEM | {"detail": "Traceback (most recent call last)"}), "reveals internals"),
        (FuzzAnswer(400, {"content-type": "application/problem+json"}, b"<html>"), "not JSON"),
        (answer(200, {}), "status 200"),
        (answer(500, PROBLEM), "status 500"),
        (answer(503, PROBLEM | {"status": 503}), "503 without Retry-After"),
        (answer(503, PROBLEM | {"status": 503}, **{"retry-after": "5"}), ""),
        (FuzzAnswer(0, {}, b"ConnectionResetError()"), "status 0"),
    ],
)
def test_fault_of_an_answer_is_named(answer: FuzzAnswer, fault: str) -> None:
    assert answer.fault(PROBE) == fault


def test_each_drill_of_the_command_line_has_its_function() -> None:
    assert {name: f"{function.__module__}.{function.__name__}" for name, function in DRILLS.items()} == {
        "spike": "proofs.drills.spike.spike",
        "update": "proofs.drills.deployment.update",
        "kill-instance": "proofs.drills.deployment.kill_instance",
        "bad-smoke": "proofs.drills.runs.bad_smoke",
        "double-start": "proofs.drills.runs.double_start",
        "fuzz-api": "proofs.drills.fuzz.fuzz_api",
        "blockade": "proofs.drills.blockade.blockade",
        "tamper": "proofs.drills.tampering.tamper",
        "teardown": "proofs.drills.runs.teardown",
        "stop-anywhere": "proofs.drills.stopping.stop_anywhere",
        "ec2-leak": "proofs.drills.ec2.ec2_leak",
        "overspend": "proofs.drills.overspend.overspend",
        "change-hosting": "proofs.drills.hosting.change_hosting",
    }
    assert list(DRILLS) == list(cli.DRILLS)


def test_generated_requests_are_the_same_each_time() -> None:
    deployed = Stack("b", "p", "t", "kennel", "http://localhost/classify", "secret", "topic")
    first, second = (
        ProbeGenerator(deployed, b"\xff\xd8photo", ["s3://other/rex.jpg"], random.Random(0)) for _ in range(2)
    )
    requests = [first.probe() for _ in range(500)]
    assert requests == [second.probe() for _ in range(500)]
    assert len({probe.kind for probe in requests}) == 10
    assert all(probe.statuses == {403} for probe in requests if probe.kind == "no key")
    assert not any(200 in probe.statuses for probe in requests if probe.kind == "s3 trick")
