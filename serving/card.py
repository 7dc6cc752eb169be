"""The model card: what people should know about a model before it serves, as one self-contained HTML page."""

import base64
import io
import statistics
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from dataset import Source
from dataset.faults import sentences
from serving.dataset_photos import dataset_pixels
from serving.evaluation_metrics import wilson
from serving.preprocess import ServingPreprocess
from serving.scatter import scatter
from serving.served_artifact import Card

_EXAMPLE_SIDE = 160  # pixels; twice the size on the page, for screens with two pixels per CSS pixel
_EXAMPLE = ServingPreprocess(
    _EXAMPLE_SIDE, "shortest_side", _EXAMPLE_SIDE, "bilinear", 1, (0, 0, 0), (1, 1, 1), "RGB", True
)
_NUM_WORST_BREEDS = 3
_NUM_TRIALS = 10


def render_card(
    report: dict[str, Any],
    card: Card,
    source: Source,
    curve: bytes,
    tuned: dict[str, Any] | None = None,
    prices: dict[str, Any] | None = None,
) -> str:
    """Render the page.

    Args:
        report: ``evaluation.json``.
        card: The artifact's card.
        source: The dataset, for an example photo of each confusion.
        curve: The training's learning curve, SVG; empty if there is none.
        tuned: ``tuned.json``, if hyperparameters were searched.
        prices: What Plan has found in the price book (``for_the_card`` there); None if nobody gave them.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "points": _points, "megabytes": _megabytes, "reasons": _reasons}
    challenger = report["challenger"]
    breeds = sorted(challenger["per_breed"], key=lambda b: (b["recall"], b["breed"]))
    median_photos = round(statistics.median(b["num_photos"] for b in breeds))
    photos = {photo.path: photo for photo in source.listing.of("test")}
    page: str = environment.get_template("card.html").render(
        **report,
        card=card,
        created=f"{datetime.fromisoformat(card.created):%-d %B %Y}",
        breeds=breeds,
        made_with=report["training"].get("hyperparameters", {})
        | {name: value for name, value in report["training"].items() if name != "hyperparameters"},
        worst=[b for b in breeds[:_NUM_WORST_BREEDS] if b["recall"] < 1],
        median_photos=median_photos,
        median_interval=wilson(round(challenger["top1"] * median_photos), median_photos),
        worse_breeds=_worse_breeds(report["comparison"]),
        curve=_data_url("image/svg+xml", curve) if curve else "",
        tuned=tuned,
        best_trials=_best_trials(tuned),
        costs=_costs(challenger, prices),
        trials_picture=_data_url("image/svg+xml", scatter(tuned).encode()) if tuned else "",
        examples={p["photo"]: _example(source.read(photos[p["photo"]])) for p in challenger["most_confused"]},
    )
    return page


def _worse_breeds(comparison: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the breeds of which the challenger names fewer photos than the champion, the largest loss first."""
    breeds = [b for b in (comparison or {}).get("per_breed", []) if b["only_champion"] > b["only_challenger"]]
    return sorted(breeds, key=lambda b: b["only_challenger"] - b["only_champion"])[:_NUM_WORST_BREEDS]


def _costs(challenger: dict[str, Any], prices: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the dollars of a million answers by size of photo and door; none if a price is not known."""
    if not prices or None in (prices["hour"], prices["ms"]):
        return []
    instances = prices["hour"] / 3600 / (challenger["photos_per_s"] * prices["load"]) * 1e6
    waiting = prices["ms"] * challenger["latency_ms"]
    return [
        {"bytes": size, "instances": instances}
        | {
            door: None if rest[index] is None else instances + waiting + rest[index]
            for door, rest in prices["doors"].items()
        }
        for index, size in enumerate(prices["bytes"])
    ]


def _best_trials(tuned: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the trials that came furthest, the best first."""
    trials = [trial for trial in (tuned or {}).get("trials", []) if trial["valid_top1"]]
    return sorted(trials, key=lambda t: (not t["finished"], -t["valid_top1"][-1], t["valid_loss"][-1:]))[:_NUM_TRIALS]


def _example(photo: bytes) -> str:
    """Return the centre of a photo as a small JPEG inside the page, without the photo's metadata."""
    buffer = io.BytesIO()
    Image.fromarray(dataset_pixels(photo, _EXAMPLE)).save(buffer, "JPEG", quality=80)
    return _data_url("image/jpeg", buffer.getvalue())


def _data_url(media_type: str, picture: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(picture).decode()}"


def _percent(share: float, digits: int = 1) -> str:
    return f"{share:.{digits}%}"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "−")


def _reasons(counts: list[dict[str, Any]]) -> str:
    return "; ".join(sentences(counts))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
