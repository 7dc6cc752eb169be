"""Check a served model before it may take traffic."""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from shared.contracts import Smoke
from shared.errors import SmokeError

# Largest difference between the served probability and the one that the evaluation got in some precision.
PROBABILITY_TOLERANCE = 0.02
# The statuses of an API that callers overload: throttled, no place in the model's queue, no answer in time, and none at
# all. They say nothing about the model.
_BUSY = (429, 503, 504, 0)
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 8.0


class SmokeAnswer(NamedTuple):
    """The answer of the endpoint or the API: HTTP status, 0 without an answer, and body."""

    status: int
    body: bytes


class GoldenPhoto(NamedTuple):
    """A photo with the answers of the evaluated artifact: its label, and the probability in each precision."""

    name: str
    content: bytes
    label: str
    probabilities: Mapping[str, float]


Ask = Callable[[bytes, str], SmokeAnswer]
_NO_PHOTO = b"this is no photo"


@dataclass
class _Question:
    """A body to send, what is wrong with an answer to it, and the last answer."""

    body: bytes
    problems_of: Callable[[SmokeAnswer], list[str]]
    answer: SmokeAnswer | None = None


def check(ask: Ask, golden: list[GoldenPhoto], patience_seconds: float = 0) -> Smoke:
    """Send every golden photo, and a body that is none.

    Whoever may send photos can keep the API busy. So what it refuses for that is sent again for a while. A photo that
    only got such refusals does not count against the model as long as another one was answered: staging has answered
    all of them before, and the API answers them in the same way.

    Args:
        ask: sends a body with its content type and returns the answer.
        golden: at least one photo with its known answer.
        patience_seconds: for how long a refusal of a busy API is answered by another request; 0 to take it as a wrong
            answer, at an endpoint that nobody else asks.

    Raises:
        SmokeError: an answer is wrong, or the API was too busy to answer anything. The message names all of them.
    """
    if not golden:
        raise SmokeError("the artifact has no golden photos, so the smoke test cannot run")
    deadline = time.monotonic() + patience_seconds
    questions = [_Question(photo.content, partial(_compare, photo)) for photo in golden]
    questions.append(_Question(_NO_PHOTO, _expect_refusal))
    waiting, problems, milliseconds, pause = questions, list[str](), list[float](), _FIRST_PAUSE_SECONDS
    sent, received = list[int](), list[int]()  # bytes of each request and of each answer
    while True:
        for question in waiting:
            started = time.perf_counter()
            question.answer = ask(question.body, "image/jpeg")
            sent.append(len(question.body))
            received.append(len(question.answer.body))
            if patience_seconds and question.answer.status in _BUSY:
                if time.monotonic() > deadline:
                    break
                continue
            milliseconds.append(1000 * (time.perf_counter() - started))
            problems += question.problems_of(question.answer)
        waiting = [each for each in waiting if patience_seconds and (not each.answer or each.answer.status in _BUSY)]
        if problems or not waiting or time.monotonic() + pause > deadline:
            break
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
    if problems:
        raise SmokeError("; ".join(problems))
    refused = [each for each in waiting if each.body != _NO_PHOTO]
    if len(refused) == len(golden):
        raise SmokeError(_busy(refused, patience_seconds))
    return Smoke(
        num_photos=len(golden),
        latency_ms=round(statistics.median(milliseconds), 2),
        num_refused=len(refused),
        num_requests=len(sent),
        bytes_in=sum(sent),
        bytes_out=sum(received),
    )


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


def _expect_refusal(answer: SmokeAnswer) -> list[str]:
    if 400 <= answer.status < 500:
        return []
    return [f"a body that is no photo: status {answer.status} instead of 4xx"]


def _busy(refused: list[_Question], seconds: float) -> str:
    """Say that the API was too busy, with its own words, instead of blaming the model."""
    answer = next((each.answer for each in refused if each.answer), SmokeAnswer(0, b""))
    try:
        words = str(json.loads(answer.body)["detail"])
    except (ValueError, KeyError, TypeError):
        words = answer.body.decode("utf-8", "replace")[:200]
    status = f"status {answer.status}" if answer.status else "no answer"
    return (
        f"the API was too busy to be tested: for {seconds:.0f} s it answered none of {len(refused)} golden photos, at "
        f"last with {status}: {words}; nothing is known against the model, so start the run again when the load is over"
    )
