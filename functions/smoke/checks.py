"""Check a served model before it may take traffic."""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from shared.contracts import Smoke
from shared.errors import SmokeError

# Largest difference between the served probability and the one that the evaluation got in some precision.
PROBABILITY_TOLERANCE = 0.02


class SmokeAnswer(NamedTuple):
    """The answer of the endpoint or the API: HTTP status and body."""

    status: int
    body: bytes


class GoldenPhoto(NamedTuple):
    """A photo with the answers of the evaluated artifact: its label, and the probability in each precision."""

    name: str
    content: bytes
    label: str
    probabilities: Mapping[str, float]


Ask = Callable[[bytes, str], SmokeAnswer]


def check(ask: Ask, golden: list[GoldenPhoto]) -> Smoke:
    """Send every golden photo, then provoke an error.

    Args:
        ask: sends a body with its content type and returns the answer.
        golden: at least one photo with its known answer.

    Raises:
        SmokeError: an answer is wrong. The message names all wrong answers.
    """
    if not golden:
        raise SmokeError("the artifact has no golden photos, so the smoke test cannot run")
    problems, milliseconds = [], []
    for photo in golden:
        started = time.perf_counter()
        answer = ask(photo.content, "image/jpeg")
        milliseconds.append(1000 * (time.perf_counter() - started))
        problems += _compare(photo, answer)
    problems += _provoke(ask)
    if problems:
        raise SmokeError("; ".join(problems))
    return Smoke(num_photos=len(golden), latency_ms=round(statistics.median(milliseconds), 2))


def _compare(golden: GoldenPhoto, answer: SmokeAnswer) -> list[str]:
    if answer.status != 200:
        return [f"golden photo {golden.name}: status {answer.status} instead of 200"]
    prediction: dict[str, Any] = json.loads(answer.body)
    if prediction["class"] != golden.label:
        return [f"golden photo {golden.name}: class '{prediction['class']}' instead of '{golden.label}'"]
    if all(abs(prediction["probability"] - p) > PROBABILITY_TOLERANCE for p in golden.probabilities.values()):
        expected = " or ".join(f"{p:.3f} ({precision})" for precision, p in golden.probabilities.items())
        return [f"golden photo {golden.name}: probability {prediction['probability']:.3f} instead of {expected}"]
    return []


def _provoke(ask: Ask) -> list[str]:
    answer = ask(b"this is no photo", "image/jpeg")
    return [] if 400 <= answer.status < 500 else [f"a body that is no photo: status {answer.status} instead of 4xx"]
