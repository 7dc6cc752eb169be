"""What shrinking photos in the prediction function costs in accuracy and time, and saves in SageMaker's fee for data.

    python -m benchmarks shrinking [--model …] --data FOLDER --photos FOLDER [--independent]

Measured: the class that the served model names for each photo of the data's test split and of ``--photos`` (whole
photos), as it is, on the function's own way, and after each way of shrinking; the bytes; the milliseconds of one core.
In the grid every photo is shrunk, also those that the function would leave alone. Both answers are to the same photo,
so they are compared in pairs, all photos together.

Those photos take part in choosing a setting. ``--independent`` judges the chosen one on the data's validation split
instead, which takes no part: the photos as they are, and enlarged to 100 KB, so that all of them are shrunk.

The photos at hand are small. For photos of 20, 100 and 500 KB, whole ones are enlarged and encoded at the quality that
gives such a size; with those of 100 KB all whole photos take the function's own way, its rule included.

Derived: dollars a million, by the price book (us-east-1) and the function's memory, as if its core were as fast as one
of this machine.
"""

import argparse
import io
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

import prices
from benchmarks.accuracy import Gain, paired_gain
from benchmarks.figures import goal, rounded
from benchmarks.inputs import served_model
from benchmarks.photo_sizes import view_of
from benchmarks.servers import print_progress
from classify import shrinking
from classify.jpeg import read_plain
from classify.shrinking import CHOSEN, Encoding
from classify.view import View
from local.home import LocalError
from prices.cores import core_share
from prices.per_million import MEGABYTES
from serving.model import ServedModel
from serving.progress import evenly_spaced
from serving.served_artifact import load_artifact

_MILLION, _GIGABYTE = 1_000_000, 1e9
_LEAST_DIFFERENCE = -0.5  # points of top-1, of the lower bound of the 95 % interval
_SEED = 0
_ENLARGED = {20: 320, 100: 640, 500: 1536}  # kilobytes of a photo, and the pixels of its shorter side
_ENLARGED_KILOBYTES = 100  # of the whole photos that take the function's own way
_NUM_ENLARGED = 12
_LANCZOS = 1
_GRID = (
    CHOSEN,
    *(
        each
        for each in (
            *(Encoding(1.0, quality) for quality in (75, 80, 85, 90, 95)),
            *(Encoding(1.0, quality, "4:4:4") for quality in (75, 80, 85, 90)),
            Encoding(1.0, 85, "4:2:2"),
            *(Encoding(1.25, quality) for quality in (75, 80, 85)),
            Encoding(1.0, 90, resample=_LANCZOS),
        )
        if each != CHOSEN
    ),
)


@dataclass(frozen=True)
class _Photo:
    content: bytes
    class_id: str


@dataclass(frozen=True)
class _Result:
    """What one way of shrinking did to all photos.

    Attributes:
        is_correct: whether each photo was classified correctly.
        answers: the class that was named for each photo, and its probability.
        num_bytes: the mean of what is sent.
        milliseconds: the mean of one core.
    """

    is_correct: list[bool]
    answers: list[tuple[str, float]]
    num_bytes: float
    milliseconds: float


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Measure accuracy, bytes and milliseconds, and derive dollars.

    Raises:
        LocalError: there is no model or there are no photos.
    """
    options = _options(arguments)
    with TemporaryDirectory() as folder:
        model = ServedModel(load_artifact(served_model(options.model, Path(folder, "model"))))
    split = "valid" if options.independent else "test"
    crops = _read(options.data / split)
    sets = {split: evenly_spaced(crops, min(options.most, len(crops)))}
    whole_photos = _read(options.photos)
    if not options.independent:
        sets["photos"] = whole_photos
    photos = [photo for each in sets.values() for photo in each]
    view = view_of(model.artifact.preprocess)
    few = evenly_spaced(whole_photos, _NUM_ENLARGED)
    sizes = {f"{kilobytes}_kb": _dollars(few, kilobytes, view) for kilobytes in _ENLARGED}
    ours = _accuracy(model, photos, (CHOSEN,) if options.independent else _GRID)
    enlarged = _Way(model, list(_parallel(_enlarged, photos if options.independent else whole_photos)))
    large = enlarged.take(_as_it_is, f"of {_ENLARGED_KILOBYTES} KB")
    through = _row(large, enlarged.take(_function_s_way(view), "the function's way"), CHOSEN)
    bound = (through if options.independent else ours["by_the_rule"])["points"]["interval"][0]
    return {
        "inputs": {
            "model": model.artifact.card.version,
            "backbone": model.artifact.card.backbone,
            **view._asdict(),
            "photos": {name: len(each) for name, each in sets.items()},
            "megabytes_of_memory": MEGABYTES,
        },
        "rounds": 1,
        "ours": {**ours, "enlarged_to_100_kb_by_the_rule": through, "dollars_per_million": sizes},
        "peers": {},
        "limit": None,
        "ratio": None,
        "goal": {
            "lower_bound_of_difference": goal(bound, at_least=_LEAST_DIFFERENCE),
            "dollars_saved_at_100_kb": goal(sizes["100_kb"]["net"], at_least=1.0),
            "dollars_lost_at_20_kb": goal(-min(0.0, sizes["20_kb"]["net"]), at_most=0.01),
        },
    }


def _accuracy(model: ServedModel, photos: Sequence[_Photo], grid: Sequence[Encoding]) -> dict[str, Any]:
    """Return what the function's way, and each encoding of every photo, make of the answers.

    Args:
        model: The model.
        photos: The photos, as they are.
        grid: The encodings, among which the chosen one is.
    """
    way, view = _Way(model, photos), view_of(model.artifact.preprocess)
    whole = way.take(_as_it_is, "as they are")
    ruled = _row(whole, way.take(_function_s_way(view), "the function's way"), CHOSEN)
    rows = [_row(whole, way.take(_forced(each, view), str(each)), each) for each in grid]
    within = [row for row in rows if row["points"]["interval"][0] > _LEAST_DIFFERENCE]
    return {
        "whole": {"top1": rounded(sum(whole.is_correct) / len(photos)), "bytes": rounded(whole.num_bytes)},
        "by_the_rule": ruled,
        "chosen_for_every_photo": next(row for row, each in zip(rows, grid, strict=True) if each == CHOSEN),
        "cheapest_within_the_bound": min(within, key=lambda row: row["dollars"]) if within else None,
        "grid": rows,
    }


class _Way:
    """Photos, each of which goes a way to the model.

    Args:
        model: The model.
        photos: The photos.
    """

    def __init__(self, model: ServedModel, photos: Sequence[_Photo]) -> None:
        self._model, self._photos = model, photos

    def take(self, way: Callable[[bytes], bytes], name: str) -> _Result:
        """Send all photos a way, and return what the model makes of them."""

        def answer(photo: _Photo) -> tuple[tuple[str, float], int, float]:
            began = time.thread_time()
            sent = way(photo.content)
            milliseconds = (time.thread_time() - began) * 1e3
            label, probability = self._model.predict(sent).ranking[0]
            return (label.id, probability), len(sent), milliseconds

        answers, sizes, times = zip(*_parallel(answer, self._photos), strict=True)
        correct = [name == photo.class_id for (name, _), photo in zip(answers, self._photos, strict=True)]
        total = len(self._photos)
        print_progress(
            f"{sum(correct) / total:.2%}  {sum(sizes) / total:7.0f} bytes  {sum(times) / total:.2f} ms  {name}"
        )
        return _Result(correct, list(answers), sum(sizes) / total, sum(times) / total)


def _parallel(function: Callable[[_Photo], Any], photos: Sequence[_Photo]) -> Iterator[Any]:
    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(function, photos)


def _as_it_is(content: bytes) -> bytes:
    return content


def _enlarged(photo: _Photo) -> _Photo:
    return _enlarge(photo, _ENLARGED_KILOBYTES)


def _forced(encoding: Encoding, view: View) -> Callable[[bytes], bytes]:
    """Return a function that shrinks a photo without asking whether it pays; an odd one stays as it is."""

    def shrink(content: bytes) -> bytes:
        header = read_plain(content)
        return (shrinking.encoded(header, view, encoding) if header else b"") or content

    return shrink


def _function_s_way(view: View) -> Callable[[bytes], bytes]:
    return lambda content: shrinking.shrunk(content, view, MEGABYTES)


def _row(whole: _Result, result: _Result, encoding: Encoding) -> dict[str, Any]:
    gain: Gain = paired_gain(whole.is_correct, result.is_correct, _SEED)
    low, high = gain.interval
    pairs = list(zip(whole.answers, result.answers, strict=True))
    print_progress(f"  {gain.points:+.2f} points ({low:+.2f} to {high:+.2f}), {gain.gained} gained, {gain.lost} lost")
    return {
        **asdict(encoding),
        "top1": rounded(sum(result.is_correct) / len(result.is_correct)),
        "points": asdict(gain),
        # Both tell ways of shrinking apart with far fewer photos than the points do.
        "changed_answers": sum(old[0] != new[0] for old, new in pairs),
        "mean_change_of_probability": rounded(sum(abs(old[1] - new[1]) for old, new in pairs) / len(pairs)),
        "bytes": rounded(result.num_bytes),
        "milliseconds": rounded(result.milliseconds),
        "dollars": rounded(_fee(result.num_bytes) + _time(result.milliseconds)),
    }


def _fee(num_bytes: float) -> float:
    """Return SageMaker's fee for sending so many bytes a million times, in dollars."""
    return prices.known("invoke/in", num_bytes * _MILLION / _GIGABYTE, prices.HOME_REGION)


def _time(milliseconds: float) -> float:
    """Return the price of so many milliseconds of a core, in the function and a million times, in dollars."""
    seconds = milliseconds / 1e3 / core_share(MEGABYTES)
    return prices.known("lambda/gb-second", seconds * MEGABYTES / 1024 * _MILLION, prices.HOME_REGION)


def _dollars(photos: Sequence[_Photo], kilobytes: int, view: View) -> dict[str, Any]:
    """Return what photos of a size cost as they are, and what the function saves and spends on them, a million."""
    came, sent, milliseconds, estimated, shrunk = 0, 0, 0.0, 0.0, 0
    for photo in photos:
        content = _enlarge(photo, kilobytes).content
        began = time.thread_time()
        smaller = shrinking.shrunk(content, view, MEGABYTES)
        milliseconds += (time.thread_time() - began) * 1e3
        came, sent, shrunk = came + len(content), sent + len(smaller), shrunk + (smaller is not content)
        header = read_plain(content)
        assert header is not None
        estimated += shrinking.estimate(header, view).milliseconds
    count = len(photos)
    saved, spent = _fee((came - sent) / count), _time(milliseconds / count)
    print_progress(f"{kilobytes} KB: {came // count} bytes to {sent // count}, {milliseconds / count:.2f} ms of a core")
    return {
        "bytes": rounded(came / count),
        "sent_bytes": rounded(sent / count),
        "share_shrunk": rounded(shrunk / count),
        "milliseconds": rounded(milliseconds / count),
        "estimated_milliseconds": rounded(estimated / count),
        "fee_before": rounded(_fee(came / count)),
        "saved": rounded(saved),
        "spent": rounded(spent),
        "net": rounded(saved - spent),
    }


def _enlarge(photo: _Photo, kilobytes: int) -> _Photo:
    """Return a photo with the pixels that photos of a size have, at the quality that comes next to the size."""
    image = Image.open(io.BytesIO(photo.content)).convert("RGB")
    larger = max(1.0, _ENLARGED[kilobytes] / min(image.size))
    image = image.resize((round(image.width * larger), round(image.height * larger)), Image.Resampling.BICUBIC)
    low, high = 20, 98
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(_jpeg(image, middle)) <= 1000 * kilobytes else (low, middle - 1)
    return replace(photo, content=_jpeg(image, low))


def _jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _read(folder: Path) -> list[_Photo]:
    files = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not files:
        raise LocalError(f"{folder} contains no class folders with JPEGs")
    return [_Photo(path.read_bytes(), path.parent.name) for path in files]


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks shrinking", description=(__doc__ or "").splitlines()[0]
    )
    options.add_argument("--model", type=Path, help="served artifact, a folder or model.tar.gz (default: the champion)")
    options.add_argument("--data", type=Path, required=True, help="folder of photos with the splits test/ and valid/")
    options.add_argument("--photos", type=Path, required=True, help="folder of class folders with whole photos")
    options.add_argument(
        "--independent", action="store_true", help="judge the chosen setting alone, on the split valid/ of the data"
    )
    options.add_argument("--most", type=int, default=10_000, help="photos of the split at most (default: all)")
    return options.parse_args(arguments)
