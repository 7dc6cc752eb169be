"""The drill of strange requests: what counts as a fault, and what is asked."""

import json
import random
from typing import Any

import pytest

from local import cli
from local.stack import Stack
from proofs.drills.__main__ import DRILLS
from proofs.drills.fuzz import Answer
from proofs.drills.strange import Probe, Stranger

PROBE = Probe("noise", "POST", "/classify", frozenset({400, 415}))
TOLD = {"title": "Bad Request", "status": 400, "detail": "the photo is empty", "correlation_id": "1"}


def answer(status: int, document: Any, kind: str = "application/problem+json", **headers: str) -> Answer:
    return Answer(status, {"content-type": kind, **headers}, json.dumps(document).encode())


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (answer(400, TOLD), ""),
        (answer(400, TOLD | {"status": 415}), "no problem document"),
        (answer(400, {"message": "Forbidden"}), "no problem document"),
        (answer(400, TOLD, "application/json"), "content type application/json"),
        (answer(400, TOLD | {"detail": "Traceback (most recent call last)"}), "tells of the inside"),
        (Answer(400, {"content-type": "application/problem+json"}, b"<html>"), "no JSON"),
        (answer(200, {}), "status 200"),
        (answer(500, TOLD), "status 500"),
        (answer(503, TOLD | {"status": 503}), "503 without Retry-After"),
        (answer(503, TOLD | {"status": 503}, **{"retry-after": "5"}), ""),
        (Answer(0, {}, b"ConnectionResetError()"), "status 0"),
    ],
)
def test_fault_is_what_no_caller_should_see(answer: Answer, fault: str) -> None:
    assert answer.fault(PROBE) == fault


def test_every_drill_can_be_asked_for() -> None:
    assert set(cli._DRILLS) == set(DRILLS)


def test_strange_requests_are_the_same_each_time() -> None:
    deployed = Stack("b", "p", "t", "kennel", "http://localhost/classify", "secret")
    first, second = (Stranger(deployed, b"\xff\xd8photo", ["s3://other/rex.jpg"], random.Random(0)) for _ in range(2))
    made = [first.probe() for _ in range(500)]
    assert made == [second.probe() for _ in range(500)]
    assert len({probe.kind for probe in made}) == 9
    assert all(probe.statuses == {403} for probe in made if probe.kind == "no key")
    assert not any(200 in probe.statuses for probe in made if probe.kind == "s3 trick")
