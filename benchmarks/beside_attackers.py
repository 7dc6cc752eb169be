"""How long honest photos wait while attackers send the worst photos that the server still accepts.

Which photos are the worst is found out: of each kind the largest that the server decodes in each of its lanes are sent
beside honest photos for some seconds. The one beside which these wait longest, or one of each lane together, is sent
once more beside at least a thousand honest photos, in turns with no attack at all.


    python -m benchmarks.beside_attackers PORT RATE FILE…

sends the requests in the files, so many a second, until its standard input ends, and prints the answers' statuses.
"""

import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import forged_photos as forged
from benchmarks.client import LoadResult, closed_loop, open_loop, photo_request
from benchmarks.figures import percentile, rounded
from benchmarks.servers import print_progress
from local.home import ROOT, LocalError
from serving.preprocess import PhotoError, ServingPreprocess, open_photo
from serving.server import MEDIUM_MS

NUM_HONEST = 1_000
_MAX_BYTES = 4_500_000  # limit of the API
_LANES = ("quick", "medium", "costly", "large")
_SENDERS = 4
# Share of the server's capacity that the honest photos take. The senders together send as often at most: usual photos
# would do no harm at that rate, and more requests than a server can answer are the quotas' matter.
_LOAD = 0.2
_LOOK_SECONDS, _SETTLE_SECONDS = 2.0, 0.3
_ROUNDS = 3
_SIDES = (64, 128, 192, 256, 320, 400, 500, 640, 800, 1000, 1250, 1600, 2000, 2500, 3200, 4000, 5600, 7070)


@cache
def _noise(side: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8))


def _strip(side: int, frame: int = forged.BASELINE, num_scans: int = 1, components: int = 3) -> bytes:
    return forged.jpeg(65_000, max(1, side * side // 65_000), frame, num_scans, components)


def _random_bytes(side: int) -> bytes:
    return random.Random(side).randbytes(min(200_000, side * side // 8)).replace(b"\xff", b"\xfe")


# Photos by their number of pixels, given as the side of a square.
KINDS: dict[str, Callable[[int], bytes]] = {
    "jpeg": lambda side: forged.saved(_noise(side), "JPEG", quality=85),
    "jpeg_progressive": lambda side: forged.saved(_noise(side), "JPEG", quality=75, progressive=True),
    "jpeg_flat": lambda side: forged.jpeg(side, side),
    "jpeg_flat_progressive": lambda side: forged.jpeg(side, side, forged.PROGRESSIVE),
    "jpeg_many_scans": lambda side: forged.repeated_scans(side, 780_000_000 // (side * side)),
    "mpo_many_scans": lambda side: forged.as_mpo(
        forged.repeated_scans(side, 780_000_000 // (side * side)), hidden=True
    ),
    "jpeg_strip": _strip,
    "jpeg_strip_cmyk": lambda side: _strip(side, components=4),
    "jpeg_strip_cmyk_progressive": lambda side: _strip(side, forged.PROGRESSIVE, 15, 4),
    "jpeg_arithmetic": lambda side: forged.jpeg(side, side, forged.ARITHMETIC, data=_random_bytes(side)),
    "jpeg_arithmetic_progressive": lambda side: forged.jpeg(
        side, side, forged.ARITHMETIC_PROGRESSIVE, 10, data=_random_bytes(side)
    ),
    "png": lambda side: forged.saved(_noise(side), "PNG", compress_level=1),
    "png_flat": lambda side: forged.flat_png(side, side, 2, 8, 0, 4),
    "png_flat_alpha": lambda side: forged.flat_png(side, side, 6, 8, 0, 4),
    "png_flat_alpha_16_bits": lambda side: forged.flat_png(side, side, 6, 16, 0, 4),
    "png_flat_interlaced": lambda side: forged.flat_png(side, side, 6, 16, 1),
    "png_flat_grey_16_bits": lambda side: forged.flat_png(side, side, 0, 16),
    "png_flat_palette": lambda side: forged.flat_png(side, side, 3, 1),
    "webp": lambda side: forged.saved(_noise(side), "WEBP", quality=80, method=0),
    "webp_flat": lambda side: forged.flat_webp(side, lossless=False),
    "webp_flat_lossless": forged.flat_webp,
    "webp_many_tables": forged.webp_of_many_tables,
    "webp_animated": lambda side: forged.animated_webp(side, 3),
    "exif": lambda side: forged.worst_orientations(min(68, side // 8)),
    "comments": lambda side: forged.between_segments(b"\xff\xfe\0\2" + b"\0" * 2048, min(2000, side)),
    "fill": lambda side: forged.between_segments(b"\xff", min(250_000, 100 * side)),
    "png_chunks": lambda side: forged.png_of_tiny_chunks(64, min(480, side)),
}


def worst_of_each_kind(spec: ServingPreprocess) -> dict[str, bytes]:
    """Return the largest photos of each kind that are accepted, for each lane in which the server decodes them."""
    worst: dict[str, bytes] = {}
    for kind, make in KINDS.items():
        for side in _SIDES:
            photo = make(side)
            try:
                opened = open_photo(photo, spec)
            except PhotoError:
                continue
            if len(photo) <= _MAX_BYTES:
                lane = "quick" if opened.is_quick else "large" if opened.is_large else "costly"
                lane = "medium" if lane == "costly" and opened.estimated_ms <= MEDIUM_MS else lane
                worst[f"{kind}, {lane}"] = photo
    return worst


def measure(port: int, requests: Sequence[bytes], spec: ServingPreprocess) -> dict[str, Any]:
    """Measure how long honest photos wait without and beside attackers.

    Args:
        port: The server's.
        requests: Honest photos.
        spec: How the served model's photos become its input.

    Returns:
        ``worst``, the name of the worst photo; ``p50_ms`` and ``p99_ms`` of the honest photos, ``quiet`` and
        ``attacked``; ``p99_ratio``; ``honest``, their number in each; ``refused``, how many of them were refused;
        ``attacks``, the number of the attackers' answers by status; ``mean_ms`` beside each photo.
    """
    rate = _LOAD * closed_loop(port, requests, _LOOK_SECONDS).rate
    photos = worst_of_each_kind(spec)
    means: dict[str, float] = {}
    for name, photo in photos.items():
        means[name], _ = _look(port, requests, rate, [photo])
        print_progress(f"beside {name} ({len(photo):,} bytes): honest photos take {means[name]:.1f} ms")
    of_lanes = [
        max((n for n in means if n.endswith(lane)), key=means.__getitem__) for lane in ("quick", "costly", "large")
    ]
    together = " and ".join(of_lanes)
    means[together], _ = _look(port, requests, rate, [photos[name] for name in of_lanes])
    worst = max(means, key=means.__getitem__)
    sent = [photos[name] for name in (of_lanes if worst == together else [worst])]
    print_progress(f"the worst: {worst}")
    quiet, attacked, answers = list[float](), list[float](), list[int]()
    seconds = 1.1 * NUM_HONEST / _ROUNDS / rate
    for seed in range(_ROUNDS):
        quiet += open_loop(port, requests, rate, seconds, seed).latencies
        with _attackers(port, sent, rate) as counts:
            attacked += open_loop(port, requests, rate, seconds, seed).latencies
        answers += counts
    p99 = {name: percentile(latencies, 0.99) for name, latencies in (("quiet", quiet), ("attacked", attacked))}
    p50 = {name: percentile(latencies, 0.5) for name, latencies in (("quiet", quiet), ("attacked", attacked))}
    return {
        "worst": worst,
        "honest": min(len(quiet), len(attacked)),
        "requests_per_second": rounded(rate),
        "refused": sum(latency == float("inf") for latency in attacked),
        "p50_ms": {name: rounded(value) for name, value in p50.items()},
        "p99_ms": {name: rounded(value) for name, value in p99.items()},
        "p99_ratio": rounded(p99["attacked"] / p99["quiet"]),
        "attacks": {str(status): answers.count(status) for status in sorted(set(answers))},
        "mean_ms": {name: rounded(value) for name, value in sorted(means.items(), key=lambda item: -item[1])},
    }


def _look(port: int, requests: Sequence[bytes], rate: float, photos: Sequence[bytes]) -> tuple[float, LoadResult]:
    with _attackers(port, photos, rate):
        load = open_loop(port, requests, rate, _LOOK_SECONDS)
    # A refused honest photo counts as one that took a second.
    return statistics.mean(min(latency, 1000.0) for latency in load.latencies), load


@contextmanager
def _attackers(port: int, photos: Sequence[bytes], rate: float) -> Iterator[list[int]]:
    """Send photos from several senders in a process of their own; yield the list of their answers, full at the end."""
    with TemporaryDirectory() as folder:
        files = [Path(folder, str(number)) for number in range(len(photos))]
        for file, photo in zip(files, photos, strict=True):
            file.write_bytes(photo_request("/invocations", photo))
        command = (sys.executable, "-m", "benchmarks.beside_attackers", str(port), str(rate), *map(str, files))
        statuses: list[int] = []
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            if process.stdout.readline() != "sending\n":
                raise LocalError("the attackers do not start; their error is above")
            try:
                yield statuses
            finally:
                process.stdin.close()
                statuses += json.loads(process.stdout.read())


async def _attack(port: int, rate: float, requests: Sequence[bytes]) -> list[int]:
    """Send requests until the standard input ends, each sender its next one when it has its answer.

    Returns:
        The status of each answer; 0 for a connection without one.
    """
    statuses: list[int] = []
    remaining = cycle(requests)

    async def sender() -> None:
        while True:
            began = time.perf_counter()
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                while True:
                    began = time.perf_counter()
                    writer.write(next(remaining))
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
                    await reader.readexactly(int(length or 0))
                    statuses.append(int(head[9:12]))
                    await asyncio.sleep(began + _SENDERS / rate - time.perf_counter())
            except (OSError, EOFError):
                statuses.append(0)
                await asyncio.sleep(_SENDERS / rate)

    tasks = [asyncio.create_task(sender()) for _ in range(_SENDERS)]
    await asyncio.sleep(_SETTLE_SECONDS)
    print("sending", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return statuses


if __name__ == "__main__":
    os.nice(5)  # On a network, senders do not use the server's cores.
    _port, _rate, *_files = sys.argv[1:]
    _requests = [Path(name).read_bytes() for name in _files]
    print(json.dumps(asyncio.run(_attack(int(_port), float(_rate), _requests))))
