"""After a run: the verdict, how good the model is, what the endpoint can answer, and a picture of predictions."""

import io
import json
import random
import statistics
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from rich.table import Table

from dataset import Photo, breed_name
from dataset.faults import sentences
from dataset.other_formats import open_upright, reduced
from dataset.photo_bytes import media_type, pixel_bytes
from dataset.photo_limits import MAX_PIXELS
from local.api import Api
from local.console import columns, plural
from local.data import Data
from local.home import HOME
from local.laptop import Cloud
from prices.per_million import REQUESTS_PER_CONCURRENCY

PREDICTIONS = HOME / "predictions.png"
_TILE, _CAPTION = 240, 58  # pixels
_TILES_PER_ROW, _NUM_PHOTOS = 4, 8
_SENT_SIDE = 512  # pixels that width and height keep at least of a photo that is made smaller


def evaluation(cloud: Cloud, report_uri: str) -> dict[str, Any]:
    """Return the document that the evaluation job wrote."""
    document: dict[str, Any] = json.loads(read_object(cloud, f"{report_uri}/evaluation.json"))
    return document


def save_card(cloud: Cloud, report_uri: str) -> Path:
    """Download the model card into the runner's folder and return its path."""
    path = HOME / "card.html"
    path.write_bytes(read_object(cloud, f"{report_uri}/card.html"))
    return path


def headline(scores: dict[str, Any]) -> str:
    """Return one line: how good the model is, how sure that is, and how fast it answers."""
    low, high = scores["top1_interval"]
    return (
        f"top-1 {scores['top1']:.1%} ({low:.1%} to {high:.1%} with 95% confidence), top-5 {scores['top5']:.1%}, "
        f"{scores['latency_ms']:.1f} ms per photo in {scores['precision']}"
    )


def checklist(verdict: dict[str, Any]) -> Table:
    """Return a table with one row per check of the gate: passed or not, name, and the measured values in words."""
    return columns([("✓" if check["passed"] else "✗", check["name"], check["words"]) for check in verdict["checks"]])


def best_and_worst(scores: dict[str, Any], count: int = 3) -> Table:
    """Return a table of two rows: the breeds with the highest and with the lowest recall."""
    ranked = sorted(scores["per_breed"], key=lambda item: (-item["recall"], item["breed"]))
    best = ", ".join(f"{item['breed']} {item['recall']:.0%}" for item in ranked[:count])
    mistaken = [item for item in ranked[::-1] if item["recall"] < 1]
    worst = ", ".join(f"{item['breed']} {item['recall']:.0%}" for item in mistaken[:count])
    return columns([("best", best), ("worst", worst or "none: every test photo was named correctly")])


def left_out(unreadable: list[dict[str, Any]], files: list[dict[str, Any]]) -> list[str]:
    """Return lines that say which photos and other files the run did without, by reason, split and class."""
    lines = []
    for what, counts in (("photos that could not be read", unreadable), ("files that were left out", files)):
        if counts:
            lines.append(f"{what}: {sum(each['count'] for each in counts):,}")
            lines += [f"  {line}" for line in sentences(counts)]
    return lines


def capacity(endpoint: dict[str, Any]) -> Table:
    """Return a table of what the endpoint can answer with the fewest and the most instances, and the cost on AWS."""
    table = endpoint["scaling"]["capacity"]
    rows = []
    for row in table[:1] if len(table) == 1 else [table[0], table[-1]]:
        dollars = f"${row['dollars_per_hour']:.2f} per hour on AWS" if row["dollars_per_hour"] else ""
        rows.append((plural(row["instances"], "instance"), f"{row['requests_per_second']:,.0f} requests/s", dollars))
    return columns(rows, right=(0, 1))


def memory(measured: dict[str, Any]) -> Table:
    """Return a table with a row for each size of memory that a function was measured with; ✓ is the one it has.

    Args:
        measured: a ``FunctionMeasurement``.
    """
    asked = measured["requests_per_day"]
    rows: list[tuple[str, ...]] = [
        ("", "memory", "cold start", "warm", "99 of 100 within", f"per million, by its URL, at {asked:,.0f} a day")
    ]
    for size in sorted(measured["sizes"], key=lambda size: size["memory_mb"]):
        price = size["dollars_per_million"]
        rows.append(
            (
                "✓" if size["memory_mb"] == measured["memory_mb"] else "",
                f"{size['memory_mb']:,} MB",
                f"{statistics.median(size['cold_ms']):,.0f} ms",
                f"{size['warm_p50_ms']:,.1f} ms",
                f"{size['warm_p99_ms']:,.1f} ms",
                "price not known" if price is None else f"${price:,.2f}",
            )
        )
    return columns(rows, right=(1, 2, 3, 4, 5))


def concurrency(measured: dict[str, Any], reserved: int) -> str:
    """Return a sentence that says how many requests a function can work on at once, and how many a second that makes.

    Args:
        measured: a ``FunctionMeasurement``.
        reserved: the concurrency that is reserved for the function; 0 for none.
    """
    limit = measured["concurrency_limit"]
    chosen = next(size for size in measured["sizes"] if size["memory_mb"] == measured["memory_mb"])
    by_time, by_lambda = limit * 1e3 / chosen["warm_p50_ms"], limit * REQUESTS_PER_CONCURRENCY
    why = (
        f"Lambda takes {REQUESTS_PER_CONCURRENCY} a second for each of them, however short they are"
        if by_lambda < by_time
        else f"each takes {chosen['warm_p50_ms']:,.1f} ms"
    )
    source = (
        "ModelReservedConcurrency"
        if reserved
        else "by this machine's memory, at most 1,000; an account of AWS has 1,000 for all its functions, a new one 10"
    )
    return (
        f"It can work on {limit:,} requests at once ({source}) and answer about {min(by_time, by_lambda):,.0f} a "
        f"second, because {why}."
    )


def lease(hours: float) -> str:
    """Return a sentence that says how long the endpoint stays."""
    if not hours:
        return "The endpoint stays until teardown is started."
    return f"The endpoint is deleted in {hours:g} hours unless another run extends its lease."


def stay(provisioned: int) -> str:
    """Return a sentence that says how long the function stays, and what it costs meanwhile.

    Args:
        provisioned: the environments that are kept warm.
    """
    idle = f"it costs its {plural(provisioned, 'environment')} kept warm" if provisioned else "it costs nothing itself"
    return (
        f"The function stays until teardown is started. Between requests {idle}; "
        "the receipt tells what the stack costs then."
    )


def draw_predictions(api: Api, data: Data, seed: str) -> Path:
    """Ask the API about a few test photos and draw the answer under each: green if correct, red if wrong."""
    chosen = _readable(data, seed)
    rows = -(-len(chosen) // _TILES_PER_ROW)
    sheet = Image.new("RGB", (_TILES_PER_ROW * _TILE, rows * (_TILE + _CAPTION)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for index, (photo, body, picture) in enumerate(chosen):
        answer = api.classify(body, media_type(body)).document
        x, y = index % _TILES_PER_ROW * _TILE, index // _TILES_PER_ROW * (_TILE + _CAPTION)
        picture.thumbnail((_TILE - 10, _TILE - 10))
        sheet.paste(picture, (x + (_TILE - picture.width) // 2, y + (_TILE - picture.height) // 2))
        truth, breed = breed_name(photo.label), answer.get("breed", "no answer")
        colour = "#1a7f37" if breed == truth else "#b42318"
        draw.text((x + 8, y + _TILE), f"{breed} {answer.get('probability', 0):.0%}"[:30], fill=colour, font=font)
        if breed != truth:
            draw.text((x + 8, y + _TILE + 20), f"is {truth}"[:30], fill="#555555", font=font)
    sheet.save(PREDICTIONS)
    return PREDICTIONS


def _readable(data: Data, seed: str) -> list[tuple[Photo, bytes, Image.Image]]:
    """Return a few random test photos that can be decoded; the dataset may contain others."""
    photos = list(data.listing.of("test"))
    random.Random(seed).shuffle(photos)
    readable: list[tuple[Photo, bytes, Image.Image]] = []
    for photo in photos:
        if len(readable) == _NUM_PHOTOS:
            break
        with suppress(OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            body = as_sent(data.source.read(photo))
            readable.append((photo, body, Image.open(io.BytesIO(pixel_bytes(body)[0])).convert("RGB")))
    return readable


def as_sent(photo: bytes) -> bytes:
    """Return a photo as the API takes it: as it is, or a smaller PNG of a format that the API refuses.

    Raises:
        dataset.other_formats.OtherFormatError: the photo cannot be decoded.
    """
    if media_type(photo):
        return photo
    buffer = io.BytesIO()
    reduced(open_upright(photo, MAX_PIXELS).convert("RGB"), _SENT_SIDE).save(buffer, "PNG")
    return buffer.getvalue()


def read_object(cloud: Cloud, uri: str) -> bytes:
    """Return the bytes of an object of S3."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    body: bytes = cloud.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return body
