import base64
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dataset import Source, open_source
from serving.card import render_card
from serving.served_artifact import ServedArtifact
from tests.unit.serving.conftest import CURVE

ODD = '<b>Red & "setter"'


class Page(HTMLParser):
    """A page's tags with their attributes, and its text without the spaces between words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data.split()

    def says(self, sentence: str) -> bool:
        return sentence in " ".join(self.words)

    def values(self, tag: str, attribute: str) -> list[str]:
        return [attrs[attribute] or "" for name, attrs in self.tags if name == tag and attribute in attrs]


@pytest.fixture
def report(evaluated: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((evaluated / "output/report/evaluation.json").read_text())
    return document


@pytest.fixture
def source(evaluated: Path) -> Source:
    return open_source(evaluated / "input" / "dataset")


def rendered(report: dict[str, Any], artifact: ServedArtifact, source: Source) -> Page:
    return Page(render_card(report, artifact.card, source, CURVE))


def confuse(report: dict[str, Any]) -> None:
    """Give the model a breed of an odd name that it confuses with itself."""
    photo = "test/001.Red_setter/0.jpg"
    report["challenger"]["per_breed"][0] |= {"breed": ODD, "recall": 0.8}
    report["challenger"]["most_confused"] = [{"breed": ODD, "taken_for": ODD, "count": 1, "photo": photo}]


def test_evaluation_writes_a_card_that_needs_nothing_else(evaluated: Path) -> None:
    html = (evaluated / "output" / "report" / "card.html").read_text()
    page = Page(html)
    assert page.says("colours-1")
    assert page.says("100.0% of 15 test photos named rightly")
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not [attrs for _, attrs in page.tags if "href" in attrs]
    assert [address.partition(",")[0] for address in page.values("img", "src")] == ["data:image/svg+xml;base64"]
    assert "url(" not in html
    assert "://" not in html


def test_names_of_breeds_are_text(report: dict[str, Any], artifact: ServedArtifact, source: Source) -> None:
    confuse(report)
    page = rendered(report, artifact, source)
    assert page.words.count("<b>Red") == 4  # among the weakest, twice as confused, in the list
    assert f"{ODD}: 80.0% of 5 photos" in page.values("div", "title")
    assert page.values("img", "alt")[0] == ODD


def test_confusions_show_a_small_photo_of_the_dataset(
    report: dict[str, Any], artifact: ServedArtifact, source: Source
) -> None:
    confuse(report)
    address, curve = rendered(report, artifact, source).values("img", "src")
    assert curve == f"data:image/svg+xml;base64,{base64.b64encode(CURVE).decode()}"
    kind, _, content = address.partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as example:
        assert example.size == (160, 160)
        red, green, _ = example.resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
        assert red > 180 > 90 > green


def test_champion_is_compared_in_words(report: dict[str, Any], artifact: ServedArtifact, source: Source) -> None:
    assert rendered(report, artifact, source).says("Nothing served before")
    report["champion"] = report["challenger"] | {"version": "colours-0", "top1": 0.8}
    report["comparison"] = {
        "num_photos": 15,
        "difference": -0.2,
        "interval": [-0.4, 0.1],
        "only_challenger": 1,
        "only_champion": 4,
        "p_value": 0.25,
        "unknown_to_champion": 0,
        "slowdown": 1.25,
        "per_breed": [
            {"breed": "Red setter", "num_photos": 5, "only_challenger": 0, "only_champion": 0},
            {"breed": "Green hound", "num_photos": 5, "only_challenger": 0, "only_champion": 1},
            {"breed": "Blue terrier", "num_photos": 5, "only_challenger": 1, "only_champion": 3},
        ],
    }
    page = rendered(report, artifact, source)
    assert not page.says("does not know")
    assert page.says("−20.0 points against the champion colours-0 (80.0%)")
    assert page.says("chance would explain that (p = 0.250")
    assert page.says("Asked in turns with the champion, it takes 1.25 times as long.")
    assert page.says("Most is lost of Blue terrier (3 of 5, 1 gained), Green hound (1 of 5, 0 gained).")
    report["comparison"]["unknown_to_champion"] = 2
    assert rendered(report, artifact, source).says("Of the 3 breeds here the champion does not know 2; their photos")


def test_card_says_what_the_dataset_could_not_show(
    report: dict[str, Any], artifact: ServedArtifact, source: Source
) -> None:
    assert rendered(report, artifact, source).says("was not measured: the dataset has no folder other/")
    report["dataset"]["other"] = 10
    assert rendered(report, artifact, source).says("was not measured: not one photo in other/ can be read")
    report["challenger"]["dogs"]["rejected"] = {"share": 0.9, "interval": [0.6, 0.98], "num_photos": 10}
    page = rendered(report, artifact, source)
    assert page.says("10.0% of 10 photos without a dog pass as dogs (2.0% to 40.0%)")


def test_photos_in_two_splits_take_back_what_is_claimed(
    report: dict[str, Any], artifact: ServedArtifact, source: Source
) -> None:
    page = rendered(report, artifact, source)
    assert page.says("No test photo was seen in training.")
    assert page.says("The test photos took no part in training")
    report["leaked"] = [{"photo": "test/001.Red_setter/0.jpg", "also": "train/001.Red_setter/0.jpg"}]
    page = rendered(report, artifact, source)
    assert page.says("where a test photo is among them the figures flatter")
    assert not page.says("took no part in training")
