"""The model card: what a person should know of a model before it serves, as one HTML page that needs nothing else."""

import base64
import io
import statistics
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from dataset import Source
from serving.evaluation_metrics import wilson
from serving.preprocess import ServingPreprocess, pixels
from serving.served_artifact import Card

_SIDE = 160  # pixels of an example photo, twice what a phone shows
_EXAMPLE = ServingPreprocess(_SIDE, "shortest_side", _SIDE, "bilinear", 1, (0, 0, 0), (1, 1, 1), "RGB", True)
_NUM_WORST = 3


def render_card(report: dict[str, Any], card: Card, source: Source, curve: bytes) -> str:
    """Render the page.

    Args:
        report: ``evaluation.json``.
        card: the artifact's own.
        source: the dataset, for an example of each confusion.
        curve: the training's learning curve, SVG.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "points": _points, "megabytes": _megabytes}
    challenger = report["challenger"]
    breeds = sorted(challenger["per_breed"], key=lambda b: (b["recall"], b["breed"]))
    usual = round(statistics.median(b["num_photos"] for b in breeds))
    photos = {photo.path: photo for photo in source.listing.of("test")}
    page: str = environment.get_template("card.html").render(
        **report,
        card=card,
        created=f"{datetime.fromisoformat(card.created):%-d %B %Y}",
        breeds=breeds,
        made_with=report["training"].get("hyperparameters", {})
        | {name: value for name, value in report["training"].items() if name != "hyperparameters"},
        worst=[b for b in breeds[:_NUM_WORST] if b["recall"] < 1],
        usual=usual,
        usual_interval=wilson(round(challenger["top1"] * usual), usual),
        fallen=_fallen(report["comparison"]),
        curve=_embedded("image/svg+xml", curve),
        examples={p["photo"]: _example(source.read(photos[p["photo"]])) for p in challenger["most_confused"]},
    )
    return page


def _fallen(comparison: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Breeds of which the challenger names fewer photos than the champion, the most lost first."""
    breeds = [b for b in (comparison or {}).get("per_breed", []) if b["only_champion"] > b["only_challenger"]]
    return sorted(breeds, key=lambda b: b["only_challenger"] - b["only_champion"])[:_NUM_WORST]


def _example(photo: bytes) -> str:
    """A photo's middle as a small JPEG within the page; it takes none of the photo's metadata along."""
    buffer = io.BytesIO()
    Image.fromarray(pixels(photo, _EXAMPLE)).save(buffer, "JPEG", quality=80)
    return _embedded("image/jpeg", buffer.getvalue())


def _embedded(kind: str, picture: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(picture).decode()}"


def _percent(share: float, digits: int = 1) -> str:
    return f"{share:.{digits}%}"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "−")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
