"""Tests of the learning curve's lines, texts and ticks."""

import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from training.curves import _ticks, learning_curve

SVG = "{http://www.w3.org/2000/svg}"
HEAD = [
    {"train_loss": 2.0, "valid_loss": 2.5, "valid_top1": 0.5},
    {"train_loss": 1.0, "valid_loss": 2.0, "valid_top1": 0.75},
]
FULL = [{"train_loss": 3.0, "valid_loss": 1.5, "valid_top1": 0.8}]


def drawn(*phases: tuple[str, list[dict[str, Any]]]) -> ElementTree.Element:
    document = {"start_top1": 0.25, "phases": [{"name": name, "epochs": epochs} for name, epochs in phases]}
    return ElementTree.fromstring(learning_curve(document))


def points(picture: ElementTree.Element) -> list[list[tuple[float, float]]]:
    lines = picture.iter(f"{SVG}polyline")
    return [
        [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())] for line in lines
    ]


def test_curve_has_a_point_per_epoch_and_accuracy_begins_before_the_first() -> None:
    train, valid, top1 = points(drawn(("head", HEAD)))
    assert (len(train), len(valid), len(top1)) == (2, 2, 3)
    assert [x for x, _ in train] == [x for x, _ in valid] == [x for x, _ in top1][1:]
    assert train[1][1] > train[0][1]  # The loss falls, and y grows downwards.
    assert top1[0][1] > top1[1][1] > top1[2][1]
    assert top1[1][1] - top1[2][1] == pytest.approx(top1[0][1] - top1[1][1])  # 25, 50 and 75 % are equally far apart.


def test_each_phase_has_a_line_of_its_own_and_its_name() -> None:
    picture = drawn(("head", HEAD), ("full", FULL))
    assert [len(line) for line in points(picture)] == [2, 2, 1, 1, 4]
    assert [text.text for text in picture.iter(f"{SVG}text") if text.text == "full"] == ["full", "full"]
    assert "validation top-1: 25.0 % to 80.0 %" in [text.text for text in picture.iter(f"{SVG}text")]


def test_a_run_that_learned_nothing_is_drawn_too() -> None:
    assert points(drawn(("head", [])))[-1] == [(52.0, 127.0)]  # One point, in the middle of the plot's height.


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 20, [0, 5, 10, 15, 20]), (0.2, 1.1, [0.2, 0.4, 0.6, 0.8, 1.0]), (87, 91.6, [87, 88, 89, 90, 91])],
)
def test_ticks_are_round_numbers(low: float, high: float, ticks: list[float]) -> None:
    assert _ticks(low, high) == pytest.approx(ticks)
