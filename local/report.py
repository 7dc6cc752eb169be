"""After a run: the verdict in words, a picture of predictions, and ``.kennel/last-run.json``."""

import io
import json
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from dataset import Photo, breed_name
from local.api import CONTENT_TYPES, Api
from local.data import Data
from local.home import HOME
from local.laptop import Cloud

PREDICTIONS = HOME / "predictions.png"
_TILE, _CAPTION, _COLUMNS, _PHOTOS = 240, 58, 4, 8


def evaluation(cloud: Cloud, report_uri: str) -> dict[str, Any]:
    """The evaluation job's document."""
    document: dict[str, Any] = json.loads(_object(cloud, f"{report_uri}/evaluation.json"))
    return document


def save_card(cloud: Cloud, report_uri: str) -> Path:
    """Bring the model card home."""
    path = HOME / "card.html"
    path.write_bytes(_object(cloud, f"{report_uri}/card.html"))
    return path


def headline(scores: dict[str, Any]) -> str:
    """One line: how good it is, how sure that is, and how fast."""
    low, high = scores["top1_interval"]
    return (
        f"top-1 {scores['top1']:.1%} ({low:.1%} to {high:.1%} with 95% confidence), top-5 {scores['top5']:.1%}, "
        f"{scores['latency_ms']:.1f} ms a photo in {scores['precision']}"
    )


def checklist(verdict: dict[str, Any]) -> str:
    """A line per check of the gate: whether it was passed, and what was found."""
    return "\n".join(f"  {'✓' if c['passed'] else '✗'} {c['name']:<14}{c['words']}" for c in verdict["checks"])


def best_and_worst(scores: dict[str, Any], count: int = 3) -> str:
    """Two lines: the breeds it knows best and those it mistakes most."""
    ranked = sorted(scores["per_breed"], key=lambda item: (-item["recall"], item["breed"]))
    best = ", ".join(f"{item['breed']} {item['recall']:.0%}" for item in ranked[:count])
    mistaken = [item for item in ranked[::-1] if item["recall"] < 1]
    worst = ", ".join(f"{item['breed']} {item['recall']:.0%}" for item in mistaken[:count])
    return f"best   {best}\nworst  {worst or 'none: every test photo was named rightly'}"


def capacity(endpoint: dict[str, Any]) -> str:
    """What the endpoint bears at its smallest and its largest, what that costs on AWS, and when it ends."""
    table, hours = endpoint["scaling"]["capacity"], endpoint["lease_hours"]
    lines = [
        f"  {row['instances']:>3} instance(s)  {row['requests_per_second']:>8,.0f} requests/s"
        + (
            f"  ${row['dollars_per_hour']:.2f} an hour, ${row['dollars_per_million']:.2f} a million requests"
            if row["dollars_per_hour"]
            else ""
        )
        for row in (table[:1] if len(table) == 1 else [table[0], table[-1]])
    ]
    lease = f"it is torn down in {hours:g} hours unless a run extends that" if hours else "it stays until teardown"
    return "\n".join(["the endpoint bears, with room for a burst:", *lines, f"  {lease}"])


def draw_predictions(api: Api, data: Data, seed: str) -> Path:
    """Ask the API for a few test photos and draw what it says under each; right in green, wrong in red."""
    chosen = _readable(data, seed)
    rows = -(-len(chosen) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * _TILE, rows * (_TILE + _CAPTION)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for index, (photo, body, picture) in enumerate(chosen):
        said = api.classify(body, CONTENT_TYPES[Path(photo.path).suffix.lower()]).document
        x, y = index % _COLUMNS * _TILE, index // _COLUMNS * (_TILE + _CAPTION)
        picture.thumbnail((_TILE - 10, _TILE - 10))
        sheet.paste(picture, (x + (_TILE - picture.width) // 2, y + (_TILE - picture.height) // 2))
        truth, breed = breed_name(photo.label), said.get("breed", "no answer")
        colour = "#1a7f37" if breed == truth else "#b42318"
        draw.text((x + 8, y + _TILE), f"{breed} {said.get('probability', 0):.0%}"[:30], fill=colour, font=font)
        if breed != truth:
            draw.text((x + 8, y + _TILE + 20), f"is {truth}"[:30], fill="#555555", font=font)
    sheet.save(PREDICTIONS)
    return PREDICTIONS


def _readable(data: Data, seed: str) -> list[tuple[Photo, bytes, Image.Image]]:
    """A few test photos at random; the dataset may hold some that cannot be read."""
    photos = list(data.listing.of("test"))
    random.Random(seed).shuffle(photos)
    found: list[tuple[Photo, bytes, Image.Image]] = []
    for photo in photos:
        if len(found) == _PHOTOS:
            break
        with suppress(OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            body = data.source.read(photo)
            found.append((photo, body, Image.open(io.BytesIO(body)).convert("RGB")))
    return found


def _object(cloud: Cloud, uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    body: bytes = cloud.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return body
