import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dataset import Source, open_source
from serving.card import render_card
from serving.scatter import scatter
from serving.served_artifact import ServedArtifact
from tests.unit.serving.conftest import CURVE

ODD_NAME = '<b>Red & "setter"'


class Page(HTMLParser):
    """A page's tags with their attributes, and the words of its text."""

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
    """Add a breed with an odd name that the model confuses with itself."""
    photo = "test/001.Red_setter/0.jpg"
    report["challenger"]["per_breed"][0] |= {"breed": ODD_NAME, "recall": 0.8}
    report["challenger"]["most_confused"] = [{"breed": ODD_NAME, "taken_for": ODD_NAME, "count": 1, "photo": photo}]


def test_evaluation_writes_a_self_contained_card(evaluated: Path) -> None:
    html = (evaluated / "output" / "report" / "card.html").read_text()
    page = Page(html)
    assert page.says("colours-1")
    assert page.says("100.0% of 15 test photos named correctly")
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not [attrs for _, attrs in page.tags if "href" in attrs]
    assert [address.partition(",")[0] for address in page.values("img", "src")] == ["data:image/svg+xml;base64"]
    assert "url(" not in html
    assert "://" not in html


def test_card_tells_from_which_probability_on_a_photo_shows_a_dog(
    report: dict[str, Any], artifact: ServedArtifact, source: Source
) -> None:
    report["challenger"]["dogs"]["threshold"] = 0.12174
    assert rendered(report, artifact, source).says("from a dog_probability of 0.1217 on")


def test_card_gives_the_reason_of_a_precision_a_row_of_its_own(
    report: dict[str, Any], artifact: ServedArtifact, source: Source
) -> None:
    report["precisions"][0]["why"] = "for tests"
    report["precisions"][1]["why"] = ""
    page = rendered(report, artifact, source)
    assert page.says("for tests")
    assert page.values("td", "colspan") == ["4"] * (len(report["precisions"]) - 1)


def test_card_escapes_names_of_breeds(report: dict[str, Any], artifact: ServedArtifact, source: Source) -> None:
    confuse(report)
    page = rendered(report, artifact, source)
    assert page.words.count("<b>Red") == 4  # once as a weak breed, twice as a confused pair, once in the list of breeds
    assert f"{ODD_NAME}: 80.0% of 5 photos" in page.values("div", "title")
    assert page.values("img", "alt")[0] == ODD_NAME


def test_card_shows_a_small_photo_of_each_confusion(
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


def test_card_compares_the_champion_in_words(report: dict[str, Any], artifact: ServedArtifact, source: Source) -> None:
    assert rendered(report, artifact, source).says("No model served before")
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
    assert page.says("This model alone names 1 photo correctly, the champion alone 4;")
    assert not page.says("does not know")
    assert page.says("−20.0 points compared with the champion colours-0 (80.0%)")
    assert page.says("chance could explain this difference (p = 0.250")
    assert page.says("Measured in turns with the champion, it takes 1.25 times as long.")
    assert page.says(
        "Breeds that lost most: Blue terrier (3 of 5 lost, 1 gained), Green hound (1 of 5 lost, 0 gained)."
    )
    report["comparison"]["unknown_to_champion"] = 2
    assert rendered(report, artifact, source).says("The champion does not know 2 of the 3 breeds; photos of those")


def test_card_says_what_the_dataset_could_not_show(
    report: dict[str, Any], artifact: ServedArtifact, source: Source
) -> None:
    assert rendered(report, artifact, source).says("was not measured: the dataset has no folder other/")
    report["dataset"]["other"] = 10
    assert rendered(report, artifact, source).says("was not measured: no photo in other/ can be read")
    report["challenger"]["dogs"]["rejected"] = {"share": 0.9, "interval": [0.6, 0.98], "num_photos": 10}
    page = rendered(report, artifact, source)
    assert page.says("10.0% of 10 photos without a dog are taken for dogs (95% confidence interval: 2.0% to 40.0%)")


def test_card_does_not_claim_clean_splits_when_photos_are_in_two(
    report: dict[str, Any], artifact: ServedArtifact, source: Source
) -> None:
    page = rendered(report, artifact, source)
    assert page.says("No test photo was seen in training.")
    assert page.says("The test photos were not used for training")
    report["leaked"] = [{"photo": "test/001.Red_setter/0.jpg", "also": "train/001.Red_setter/0.jpg"}]
    page = rendered(report, artifact, source)
    assert page.says(
        "1 photo is in two splits; if a test photo is among them, the figures on this page look better than they are."
    )
    assert not page.says("were not used for training")


def tuned() -> dict[str, Any]:
    """Return a small ``tuned.json``: the first trial ended early, the second won."""
    first = {"trial": 1, "hyperparameters": {"learning_rate": 0.1, "sampling": "natural"}, "epochs": 9}
    second = {"trial": 2, "hyperparameters": {"learning_rate": 0.001, "sampling": "balanced"}, "epochs": 9}
    weak = {"compared_after": [1], "valid_top1": [0.5], "valid_loss": [2.0], "finished": False, "ended": "not among"}
    best = {"compared_after": [1, 9], "valid_top1": [0.6, 0.75], "valid_loss": [1.5, 1.0], "finished": True}
    failed = {"compared_after": [], "valid_top1": [], "valid_loss": [], "finished": False, "ended": "failed: x"}
    return {
        "search": {
            "strategy": "bayesian",
            "ranges": {
                "learning_rate": {"min": 0.001, "max": 1, "scale": "log"},
                "sampling": ["natural", "balanced"],
            },
        },
        "trials": [first | weak, second | best | {"ended": "finished"}, first | failed | {"trial": 3}],
        "finalists": [
            {"trial": 2, "valid_top1": [0.75, 0.7]},
            {"trial": 0, "valid_top1": [0.5, 0.6]},
        ],
        "winner": 2,
        "gain": {"sentence": "nothing gained: +0.10 points"},
        "seconds": 3.2,
        "cpu_seconds": 6.1,
    }


def test_card_tells_of_the_search_only_if_there_was_one(
    report: dict[str, Any], artifact: ServedArtifact, source: Source
) -> None:
    assert not rendered(report, artifact, source).says("How its hyperparameters were found")
    page = Page(render_card(report, artifact.card, source, CURVE, tuned()))
    assert page.says("3 trials (bayesian) in 3 seconds and 6 seconds of cores; nothing gained: +0.10 points.")
    assert page.says("2 ✓ 0.001 balanced 9 of 9 75.00% 1.0000 finished 1 0.1 natural 1 of 9 50.00% 2.0000 not among")
    assert page.says("trial 2 with 75.00% and 70.00%, the defaults with 50.00% and 60.00%.")
    assert len(page.values("img", "src")) == 2 + len(report["challenger"]["most_confused"])


def test_card_tells_of_a_search_by_training_jobs(
    report: dict[str, Any], artifact: ServedArtifact, source: Source
) -> None:
    """Their document has no seconds of cores, no epochs, and perhaps no loss."""
    document = tuned()
    document["cpu_seconds"] = None
    for trial in document["trials"]:
        trial |= {"epochs": None, "compared_after": [], "valid_loss": []}
    page = Page(render_card(report, artifact.card, source, CURVE, document))
    assert page.says("3 trials (bayesian) in 3 seconds; nothing gained: +0.10 points.")
    assert page.says("2 ✓ 0.001 balanced 75.00% finished 1 0.1 natural 50.00% not among")


def test_card_tells_prices_only_if_it_got_them(
    report: dict[str, Any], artifact: ServedArtifact, source: Source
) -> None:
    """50 of 100 photos/s: $0.36 an hour are $2 a million. 10 ms at $0.02 are $0.20; the REST API has $4 besides."""
    report["challenger"] |= {"photos_per_s": 100.0, "latency_ms": 10.0}
    prices = {
        "hour": 0.36,
        "load": 0.5,
        "ms": 0.02,
        "bytes": [20_000, 100_000],
        "doors": {"rest_api": [4.0, 4.5], "function_url": [0.5, None]},
    }
    assert not rendered(report, artifact, source).says("What a million answers cost")
    page = Page(render_card(report, artifact.card, source, CURVE, prices=prices))
    assert page.says("What a million answers of an endpoint cost on AWS")
    assert page.says("20 KB $6.20 $2.70 $2.00 100 KB $6.70 not known $2.00")
    assert page.says("if it is a function, the run prints the function's memory, cold start and dollars")
    assert not Page(render_card(report, artifact.card, source, CURVE, prices=prices | {"hour": None})).says("a million")


def test_trials_stand_where_their_values_are() -> None:
    """0.1 of 0.001 to 1 is two thirds of the way on a log scale: 52 + 312 * 2 / 3 = 260."""
    picture = scatter(tuned())
    circles = re.findall(r'<circle class="(\w+)" cx="([\d.]+)" cy="([\d.]+)"', picture)
    assert circles[:2] == [("weak", "260.0", "190.0"), ("winner", "52.0", "34.0")]
    assert circles[2:] == [("weak", "52.0", "190.0"), ("winner", "364.0", "34.0")]
