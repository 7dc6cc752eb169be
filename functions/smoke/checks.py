"""What a served model must show before it may take traffic."""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from shared.contracts import Smoke
from shared.errors import SmokeError

# The served answer may differ by no more than this from that which the evaluation got in some precision.
PROBABILITY_TOLERANCE = 0.02


class Answer(NamedTuple):
    """An endpoint's answer: the container's HTTP status and body."""

    status: int
    body: bytes


class Golden(NamedTuple):
    """A photo with the answers the evaluated artifact gave: the probability in each precision."""

    name: str
    photo: bytes
    label: str
    probabilities: Mapping[str, float]


Ask = Callable[[bytes, str], Answer]


def check(ask: Ask, golden: list[Golden]) -> Smoke:
    """Ask every golden photo, then provoke an error.

    Args:
        ask: sends (body, content type) to the endpoint.
        golden: at least one photo with its known answer.

    Raises:
        SmokeError: naming every answer that was not as known.
    """
    if not golden:
        raise SmokeError("the artifact has no golden photos to ask")
    problems, milliseconds = [], []
    for known in golden:
        started = time.perf_counter()
        answer = ask(known.photo, "image/jpeg")
        milliseconds.append(1000 * (time.perf_counter() - started))
        problems += _compare(known, answer)
    problems += _provoke(ask)
    if problems:
        raise SmokeError("; ".join(problems))
    return Smoke(num_photos=len(golden), latency_ms=round(statistics.median(milliseconds), 2))


def _compare(known: Golden, answer: Answer) -> list[str]:
    if answer.status != 200:
        return [f"golden photo {known.name}: status {answer.status} instead of 200"]
    said: dict[str, Any] = json.loads(answer.body)
    if said["class"] != known.label:
        return [f"golden photo {known.name}: said '{said['class']}', known is '{known.label}'"]
    if all(abs(said["probability"] - p) > PROBABILITY_TOLERANCE for p in known.probabilities.values()):
        answers = " or ".join(f"{p:.3f} ({precision})" for precision, p in known.probabilities.items())
        return [f"golden photo {known.name}: probability {said['probability']:.3f}, known is {answers}"]
    return []


def _provoke(ask: Ask) -> list[str]:
    answer = ask(b"this is no photo", "image/jpeg")
    return [] if 400 <= answer.status < 500 else [f"a body that is no photo: status {answer.status} instead of 4xx"]
