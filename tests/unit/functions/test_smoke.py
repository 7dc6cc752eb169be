"""The smoke test against small stand-ins for an endpoint."""

import base64
import importlib
import json
from types import SimpleNamespace

import pytest

from shared.errors import SmokeError
from smoke import checks
from smoke.checks import GoldenPhoto, SmokeAnswer, check
from tests.unit.functions.timed_functions import Clock as ModelClock
from tests.unit.functions.timed_functions import TimedFunction

GOLDEN = [
    GoldenPhoto("00.jpg", b"a", "001.A", {"int8": 0.86, "f32": 0.9}),
    GoldenPhoto("01.jpg", b"b", "002.B", {"int8": 0.8, "f32": 0.8}),
]


def endpoint(answers, on_garbage=400):
    """Return a stand-in that answers each body with its (label, probability)."""

    def ask(body, content_type):
        assert content_type == "image/jpeg"
        if body not in answers:
            return SmokeAnswer(on_garbage, b'{"error": {}}')
        label, probability = answers[body]
        return SmokeAnswer(200, json.dumps({"class": label, "probability": probability}).encode())

    return ask


@pytest.mark.parametrize("probability", [0.845, 0.875, 0.885, 0.915])
def test_expected_answer_of_any_precision_passes(probability):
    smoke = check(endpoint({b"a": ("001.A", probability), b"b": ("002.B", 0.785)}), GOLDEN)
    assert smoke.num_photos == 2
    assert smoke.latency_ms >= 0


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (endpoint({b"a": ("001.A", 0.9), b"b": ("001.A", 0.8)}), "01.jpg: class '001.A' instead of '002.B'"),
        (
            endpoint({b"a": ("001.A", 0.93), b"b": ("002.B", 0.8)}),
            r"00.jpg: probability 0.930 instead of 0.860 \(int8\) or 0.9",
        ),
        (endpoint({b"a": ("001.A", 0.9)}), "01.jpg: status 400"),
        (endpoint({b"a": ("001.A", 0.9), b"b": ("002.B", 0.8)}, on_garbage=500), "no photo: status 500"),
        (endpoint({b"a": ("001.A", 0.9), b"b": ("002.B", 0.8)}, on_garbage=200), "no photo: status 200"),
    ],
)
def test_any_other_answer_fails(ask, words):
    with pytest.raises(SmokeError, match=words):
        check(ask, GOLDEN)


def test_artifact_without_golden_photos_fails():
    with pytest.raises(SmokeError, match="no golden photos"):
        check(endpoint({}), [])


class Clock:
    """A clock that only sleeping moves on."""

    def __init__(self, monkeypatch):
        self.now, self.slept = 0.0, []
        clock = SimpleNamespace(monotonic=lambda: self.now, perf_counter=lambda: self.now, sleep=self.sleep)
        monkeypatch.setattr(checks, "time", clock)

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


RIGHT = endpoint({b"a": ("001.A", 0.9), b"b": ("002.B", 0.8)})


def busy(status, *refused, times=1_000_000):
    """Return a stand-in for an API that refuses bodies so many times each before it answers rightly."""
    left = dict.fromkeys(refused, times)

    def ask(body, content_type):
        if left.get(body, 0):
            left[body] -= 1
            problem = {"title": "Too Many Requests", "detail": "too many requests at once; try again shortly"}
            return SmokeAnswer(status, json.dumps(problem).encode() if status else b"ReadTimeoutError")
        return RIGHT(body, content_type)

    return ask


@pytest.mark.parametrize("status", [429, 503, 504, 0])
def test_busy_api_is_asked_again(clock, status):
    smoke = check(busy(status, b"a", b"b", b"this is no photo", times=3), GOLDEN, patience_seconds=60)
    assert (smoke.num_photos, smoke.num_refused) == (2, 0)
    assert clock.slept == [1, 2, 4]


def test_photo_that_the_busy_api_only_refuses_does_not_count_against_the_model(clock):
    smoke = check(busy(503, b"b"), GOLDEN, patience_seconds=60)
    assert (smoke.num_photos, smoke.num_refused) == (2, 1)
    assert sum(clock.slept) <= 60


@pytest.mark.parametrize(("status", "words"), [(429, "status 429: too many requests at once"), (0, "no answer: ReadT")])
def test_api_that_answers_nothing_is_called_busy_and_the_model_is_not_blamed(clock, status, words):
    with pytest.raises(
        SmokeError, match=f"too busy to be tested: for 60 s .* none of 2 golden photos.*{words}.*nothing"
    ):
        check(busy(status, b"a", b"b"), GOLDEN, patience_seconds=60)
    assert sum(clock.slept) <= 60


def test_wrong_answer_of_a_busy_api_still_fails(clock):
    def ask(body, content_type):
        if body == b"b":
            return endpoint({b"b": ("001.A", 0.8)})(body, content_type)
        return busy(429, b"a")(body, content_type)

    with pytest.raises(SmokeError, match=r"01.jpg: class '001.A' instead of '002.B'$"):
        check(ask, GOLDEN, patience_seconds=60)
    assert clock.slept == []


@pytest.mark.parametrize("status", [403, 500, 502])
def test_what_no_caller_can_cause_is_not_asked_again(clock, status):
    with pytest.raises(SmokeError, match=f"00.jpg: status {status} instead of 200"):
        check(busy(status, b"a"), GOLDEN, patience_seconds=60)
    assert clock.slept == []


@pytest.mark.parametrize("status", [429, 503])
def test_staging_which_nobody_else_asks_has_no_excuse(clock, status):
    with pytest.raises(SmokeError, match=f"00.jpg: status {status} instead of 200"):
        check(busy(status, b"a"), GOLDEN)
    assert clock.slept == []


@pytest.fixture
def app(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return importlib.import_module("smoke.app")


class Answering(TimedFunction):
    """A function that answers each photo, and refuses everything else as the model does."""

    def __init__(self, documents):
        super().__init__(ModelClock())
        self.documents = documents

    def invoke(self, **request):
        body = base64.b64decode(json.loads(request["Payload"])["photo"])
        label, probability = self.documents.get(body, ("", 0))
        prediction = {"status": 200, "body": {"class": label, "probability": probability}}
        self.answer = prediction if label else {"status": 415, "body": {"error": {"code": "UnsupportedImage"}}}
        return super().invoke(**request)


def test_function_with_the_model_gets_the_same_checks(app, monkeypatch):
    """Each of three requests takes 30 ms of 1,769 MB, the first 2 s more."""
    function = Answering({b"a": ("001.A", 0.9), b"b": ("002.B", 0.8)})
    monkeypatch.setattr(app, "functions", function)
    smoke = app.check_function("kennel-model", "$LATEST", GOLDEN)
    assert (smoke.num_photos, smoke.num_requests, smoke.num_refused) == (2, 3, 0)
    assert smoke.gb_seconds == pytest.approx((2.03 + 0.03 + 0.03) * 1769 / 1024, abs=1e-3)
    assert [qualifier for _, qualifier in function.asked] == ["$LATEST"] * 3
    function.documents = {b"a": ("001.A", 0.9), b"b": ("001.A", 0.8)}
    with pytest.raises(SmokeError, match=r"01\.jpg: class '001\.A' instead"):
        app.check_function("kennel-model", "$LATEST", GOLDEN)


def test_function_that_fails_does_not_pass(app, monkeypatch):
    function = TimedFunction(ModelClock())
    function.answer = {"errorType": "Model.ArtifactError", "errorMessage": "another model"}
    monkeypatch.setattr(app, "functions", function)
    with pytest.raises(SmokeError, match=r"00\.jpg: status 500 instead of 200; .* no photo: status 500 instead of 4xx"):
        app.check_function("kennel-model", "live", GOLDEN)
