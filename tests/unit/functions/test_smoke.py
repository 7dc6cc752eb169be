"""The smoke test against small stand-ins for an endpoint."""

import json

import pytest

from shared.errors import SmokeError
from smoke.checks import GoldenPhoto, SmokeAnswer, check

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
