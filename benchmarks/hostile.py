"""10,000 hostile requests to a server: all answers must be intended ones, without a crash and without lost memory.

    python -m benchmarks hostile [--model …] [--photos FOLDER] [--bodies N] [--seed N]

It sends broken and forged photos, decompression bombs, wrong lengths and types, slow senders, clients that leave early,
and garbage between requests; the same seed gives the same requests. Then it sends more whole photos at once than the
server takes. A broken photo that can still be decoded may be answered. The exit code is 0 if every goal is met.
"""

import asyncio
import io
import random
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from typing import Any

from PIL import Image

from benchmarks.client import photo_request
from benchmarks.figures import goal, rounded
from benchmarks.inputs import parser, prepare_inputs
from benchmarks.servers import RunningServer, ask, our_server, print_progress, started
from serving.model import num_cores

_CONCURRENCY = 20 * num_cores()  # The server takes 18 photos per core.
_CROWD = 4 * _CONCURRENCY  # The server must refuse some of so many whole photos at once.
_ANSWER_SECONDS = 45.0  # The server gives up on a slow sender after 30 s.
_MANY_BYTES = 6_500_000


@dataclass(frozen=True)
class Attack:
    """Everything that is sent over one connection.

    Attributes:
        kind: A key of ``KINDS``.
        parts: The bytes, sent with a pause between the parts.
        pause: Seconds after each part.
        ends: ``waits`` reads all answers, ``shuts`` first closes the sending side, ``leaves`` closes without reading.
        answers: Number of answers to read.
    """

    kind: str
    parts: tuple[bytes, ...]
    pause: float = 0.0
    ends: str = "waits"
    answers: int = 1


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Count the answers by kind of attack, and measure the server's memory.

    Raises:
        LocalError: An input is missing, or the server does not start.
    """
    options = parser("hostile", __doc__)
    options.add_argument("--bodies", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=0)
    settings = options.parse_args(arguments)
    with prepare_inputs(settings) as inputs, started(our_server(inputs.model), inputs.questions[0]) as server:
        photos = [photo.read_bytes() for photo in inputs.photos]
        warm_up = max(settings.bodies // 10, 2 * len(KINDS))
        asyncio.run(_attack_all(server, photos, range(-warm_up, 0), settings.seed))
        before = server.resident_bytes()
        outcomes, slowest = asyncio.run(_attack_all(server, photos, range(settings.bodies), settings.seed))
        crashed = server.process.poll() is not None
        after = 0 if crashed else server.resident_bytes()
        peak = 0 if crashed else server.resident_bytes("VmHWM")
        wrong = sum(ask(server.port, question) != question.answer for question in inputs.questions)
        log = server.log.read_bytes()
    return {
        "inputs": inputs.described,
        "rounds": 1,
        "ours": {
            "bodies": settings.bodies,
            "outcomes": {kind: dict(sorted(counts.items())) for kind, counts in sorted(outcomes.items())},
            "slowest_seconds": {kind: rounded(seconds) for kind, seconds in sorted(slowest.items())},
            "resident_bytes": {"after_warm_up": before, "after_all": after, "peak": peak},
        },
        "peers": {},
        "limit": None,
        "ratio": None,
        "goal": {
            **_goals_of_answers(outcomes),
            "crashes": goal(crashed, at_most=0),
            "tracebacks": goal(log.count(b"Traceback"), at_most=0),
            "golden_photos_answered_wrongly": goal(wrong, at_most=0),
            "memory_growth": goal(after / before, at_most=1.1),
            "peak_resident_gigabytes": goal(peak / 1e9, at_most=2.0),
        },
    }


def make(number: int, photos: Sequence[bytes], seed: int) -> Attack:
    """Make an attack. The same number, seed and photos give the same attack."""
    rng = random.Random(f"{seed}/{number}")
    (kind,) = rng.choices(list(KINDS), [weight for weight, _ in KINDS.values()])
    if number < 0:  # The warm-up has all kinds, even the rare ones.
        kind = list(KINDS)[number % len(KINDS)] if -number <= 2 * len(KINDS) else kind
    return KINDS[kind][1](kind, rng, rng.choice(photos))


def _goals_of_answers(outcomes: dict[str, Counter[str]]) -> dict[str, dict[str, Any]]:
    total = sum(outcomes.values(), Counter[str]())
    whole = outcomes["whole"] + outcomes["chunked"] + outcomes["crowd"]
    return {
        "server_errors": goal(sum(total[outcome] for outcome in total if _is_error(outcome)), at_most=0),
        "overloads": goal(total["503"], at_least=1),  # Otherwise the refusal was not tested.
        "unanswered": goal(total["unanswered"], at_most=0),
        "no_connection": goal(total["no connection"], at_most=0),
        "refused_whole_photos": goal(whole.total() - whole["200"] - whole["503"], at_most=0),
    }


def _is_error(outcome: str) -> bool:
    return outcome.startswith("5") and outcome != "503"


async def _attack_all(
    server: RunningServer, photos: Sequence[bytes], numbers: range, seed: int
) -> tuple[dict[str, Counter[str]], dict[str, float]]:
    """Carry out all attacks and then a crowd of whole photos; return outcomes and longest wait, by kind."""
    outcomes: dict[str, Counter[str]] = {kind: Counter() for kind in (*KINDS, "crowd")}
    slowest = dict.fromkeys(outcomes, 0.0)
    remaining = iter(numbers)

    async def attacker() -> None:
        for number in remaining:
            if number % 1000 == 0:
                print_progress(f"attack {number} of {len(numbers)}")
            await carry_out(make(number, photos, seed))

    async def carry_out(attack: Attack) -> None:
        began = time.perf_counter()
        try:
            answers = await asyncio.wait_for(_attack(server.port, attack), _ANSWER_SECONDS)
        except TimeoutError:
            answers = ["unanswered"]
        outcomes[attack.kind].update(answers)
        slowest[attack.kind] = max(slowest[attack.kind], time.perf_counter() - began)

    await asyncio.gather(*(attacker() for _ in range(_CONCURRENCY)))
    await asyncio.gather(*(carry_out(_post("crowd", photo)) for photo in islice(cycle(photos), _CROWD)))
    return outcomes, slowest


async def _attack(port: int, attack: Attack) -> list[str]:
    """Return the status of each answer; ``closed`` if the server closed the connection, ``left`` if the attack did."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return ["no connection"]
    outcomes: list[str] = []
    try:
        for part in attack.parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(attack.pause)
        if attack.ends == "leaves":
            return ["left"]
        if attack.ends == "shuts":
            writer.write_eof()
        while len(outcomes) < attack.answers:
            outcomes.append(await _outcome(reader))
    except (OSError, asyncio.IncompleteReadError):
        # The bytes that the server did not read cause a reset, which may cut off its refusal.
        return outcomes or ["closed"]
    finally:
        writer.transport.abort()
    return outcomes


async def _outcome(reader: asyncio.StreamReader) -> str:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]
    await reader.readexactly(int(length or 0))
    status = head[9:12].decode()
    return f"{status} without Retry-After" if status == "503" and b"\r\nretry-after:" not in head else status


# The attacks ---------------------------------------------------------------------------------------


def _post(kind: str, body: bytes, content_type: str = "image/jpeg") -> Attack:
    return Attack(kind, (photo_request("/invocations", body, content_type),))


def _head(*lines: str) -> bytes:
    return "\r\n".join(("POST /invocations HTTP/1.1", "Host: localhost", *lines, "", "")).encode()


def _whole(kind: str, rng: random.Random, photo: bytes) -> Attack:
    return _post(kind, photo)


def _truncated(kind: str, rng: random.Random, photo: bytes) -> Attack:
    return _post(kind, photo[: rng.randrange(1, len(photo))])


def _mutated(kind: str, rng: random.Random, photo: bytes) -> Attack:
    changed = bytearray(_as(rng.choice(("JPEG", "PNG", "WEBP")), photo))
    for _ in range(rng.randint(1, 64)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return _post(kind, bytes(changed))


def _mutated_head(kind: str, rng: random.Random, photo: bytes) -> Attack:
    changed = bytearray(_as(rng.choice(("JPEG", "PNG", "WEBP")), photo))
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(8, min(700, len(changed)))] = rng.randrange(256)
    return _post(kind, bytes(changed))


def _spliced(kind: str, rng: random.Random, photo: bytes) -> Attack:
    cut = rng.randrange(len(photo))
    return _post(kind, photo[:cut] + _as("PNG", photo)[cut:])


def _other_mode(kind: str, rng: random.Random, photo: bytes) -> Attack:
    mode, form = rng.choice(
        (("CMYK", "JPEG"), ("L", "JPEG"), ("P", "PNG"), ("LA", "PNG"), ("I;16", "PNG"), ("1", "PNG"))
    )
    image = Image.new("I;16", (300, 200), rng.randrange(65536)) if mode == "I;16" else _opened(photo).convert(mode)
    return _post(kind, _saved(image, form), f"image/{form.lower()}")


def _other_type(kind: str, rng: random.Random, photo: bytes) -> Attack:
    bodies = (
        b"GIF89a" + rng.randbytes(500),
        b"%PDF-1.7 " + rng.randbytes(500),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"RIFF\x24\x00\x00\x00WAVEfmt " + rng.randbytes(100),
        b'{"url": "http://169.254.169.254/latest/meta-data"}',
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        rng.randbytes(rng.randrange(1, 5000)),
    )
    return _post(kind, rng.choice(bodies), rng.choice(("image/jpeg", "image/png", "image/webp")))


def _other_media_type(kind: str, rng: random.Random, photo: bytes) -> Attack:
    types = (
        "",
        "text/plain",
        "application/json",
        "image/gif",
        "image/*",
        "multipart/form-data",
        "x" * 5000,
        "image/jpeg;;;",
    )
    return _post(kind, photo, rng.choice(types))


def _empty(kind: str, rng: random.Random, photo: bytes) -> Attack:
    return _post(kind, b"")


def _announced_too_large(kind: str, rng: random.Random, photo: bytes) -> Attack:
    length = rng.choice((10**8, 10**12, 10**30))
    return Attack(kind, (_head("Content-Type: image/jpeg", f"Content-Length: {length}"), photo))


def _too_large(kind: str, rng: random.Random, photo: bytes) -> Attack:
    return _post(kind, photo + bytes(_MANY_BYTES))


def _too_large_in_chunks(kind: str, rng: random.Random, photo: bytes) -> Attack:
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
    head = _head("Content-Type: image/jpeg", "Transfer-Encoding: chunked")
    return Attack(kind, (head, *(chunk for _ in range(_MANY_BYTES // 65536 + 1)), b"0\r\n\r\n"))


def _length_too_small(kind: str, rng: random.Random, photo: bytes) -> Attack:
    """Send the rest of the photo where the server expects the next request."""
    return Attack(kind, (_head("Content-Type: image/jpeg", f"Content-Length: {len(photo) // 2}") + photo,), answers=2)


def _length_too_great(kind: str, rng: random.Random, photo: bytes) -> Attack:
    head = _head("Content-Type: image/jpeg", f"Content-Length: {len(photo) + 1}")
    return Attack(kind, (head + photo,), ends="shuts")


def _bomb(kind: str, rng: random.Random, photo: bytes) -> Attack:
    """Send a header that announces far more pixels than the bytes contain."""
    side = rng.choice((7100, 65_000, 100_000, 2**31 - 1))
    small = min(side, 16_383)
    webp_size = struct.pack("<I", min(side, 2**24) - 1)[:3]
    bodies = (
        _png(side, side, zlib.compress(bytes(1000))),
        _jpeg_of_size(photo, min(side, 65_535)),
        b"RIFF\xff\xff\x00\x00WEBPVP8X\n\x00\x00\x00\x00\x00\x00\x00" + webp_size * 2 + bytes(100),
        b"RIFF\xff\xff\x00\x00WEBPVP8 \xff\xff\x00\x00\x10\x00\x00\x9d\x01\x2a"
        + struct.pack("<HH", small, small)
        + bytes(99),
    )
    return _post(kind, rng.choice(bodies))


def _flat(kind: str, rng: random.Random, photo: bytes) -> Attack:
    """Send a picture of nearly 50 megapixels in a few bytes. Every other one has alpha, which takes the most memory."""
    return _post(kind, _flat_png(7071, 7071, rng.choice((3, 4))), "image/png")


def _many_scans(kind: str, rng: random.Random, photo: bytes) -> Attack:
    """Send a progressive JPEG that repeats its last scan. The decoder passes over all blocks for each repetition."""
    return _post(kind, _repeated_scans(2000, rng.choice((50, 20_000))))


def _text_bomb(kind: str, rng: random.Random, photo: bytes) -> Attack:
    """Send a small PNG with a compressed text or colour profile of a hundred megabytes."""
    name = rng.choice((b"zTXt", b"iCCP", b"iTXt"))
    between = b"Comment\0" + (b"\1\0\0\0" if name == b"iTXt" else b"\0")
    return _post(
        kind, _png(8, 8, zlib.compress(bytes(8 * 25)), _chunk(name, between + _hundred_megabytes())), "image/png"
    )


def _animated(kind: str, rng: random.Random, photo: bytes) -> Attack:
    form = rng.choice(("PNG", "WEBP"))
    frames = [Image.new("RGB", (64, 48), (rng.randrange(256), 0, n)) for n in range(20)]
    return _post(kind, _saved(frames[0], form, save_all=True, append_images=frames[1:]), f"image/{form.lower()}")


def _slow_body(kind: str, rng: random.Random, photo: bytes) -> Attack:
    whole, size = photo_request("/invocations", photo), max(1, len(photo) // 4)
    parts = tuple(whole[i : i + size] for i in range(0, len(whole), size))
    return Attack(kind, parts, pause=rng.uniform(0.05, 0.5))


def _slow_head(kind: str, rng: random.Random, photo: bytes) -> Attack:
    whole = photo_request("/invocations", photo)
    return Attack(kind, (*(whole[i : i + 20] for i in range(0, 60, 20)), whole[60:]), pause=rng.uniform(0.05, 0.5))


def _never_ends(kind: str, rng: random.Random, photo: bytes) -> Attack:
    return Attack(kind, (photo_request("/invocations", photo)[:-1],))


def _leaves(kind: str, rng: random.Random, photo: bytes) -> Attack:
    whole = photo_request("/invocations", photo)
    return Attack(kind, (whole[: rng.randrange(1, len(whole) + 1)],), ends="leaves", pause=rng.uniform(0, 0.02))


def _leaves_unanswered(kind: str, rng: random.Random, photo: bytes) -> Attack:
    return Attack(kind, (photo_request("/invocations", photo),), ends="leaves", pause=rng.uniform(0, 0.02))


def _pipelined(kind: str, rng: random.Random, photo: bytes) -> Attack:
    return Attack(kind, (photo_request("/invocations", photo) * 3,), answers=3)


def _pipelined_rubbish(kind: str, rng: random.Random, photo: bytes) -> Attack:
    return Attack(kind, (photo_request("/invocations", photo) + rng.randbytes(2000),), answers=2)


def _chunked(kind: str, rng: random.Random, photo: bytes) -> Attack:
    size = rng.randint(1000, 20_000)
    cuts = [photo[i : i + size] for i in range(0, len(photo), size)]
    body = b"".join(f"{len(cut):x}\r\n".encode() + cut + b"\r\n" for cut in cuts)
    return Attack(kind, (_head("Content-Type: image/jpeg", "Transfer-Encoding: chunked") + body + b"0\r\n\r\n",))


def _broken_chunks(kind: str, rng: random.Random, photo: bytes) -> Attack:
    size = rng.choice((b"zz", b"-5", b"ffffffffffffffffffff", b"10;" + b"x" * 20_000, b""))
    head = _head("Content-Type: image/jpeg", "Transfer-Encoding: chunked")
    return Attack(kind, (head + size + b"\r\n" + photo + b"\r\n0\r\n\r\n",), ends="shuts")


def _odd_head(kind: str, rng: random.Random, photo: bytes) -> Attack:
    length = f"Content-Length: {len(photo)}"
    heads = (
        _head("Content-Type: image/jpeg", length, "Transfer-Encoding: chunked"),
        _head("Content-Type: image/jpeg", length, "Content-Length: 5"),
        _head("Content-Type: image/jpeg", "Content-Length: -1"),
        _head("Content-Type: image/jpeg", "Content-Length: ٣"),
        _head("Content-Type: image/jpeg", length, "X: " + "y" * 200_000),
        _head("Content-Type: image/jpeg", length, "X\0Y: z"),
        _head("Content-Type: image/jpeg", length, "X-Amzn-SageMaker-Custom-Attributes: " + "é\t" * 2000),
        _head("Content-Type: image/jpeg", length, *(f"X{i}: y" for i in range(2000))),
        _head("Content-Type: image/jpeg", length, "Expect: 100-continue"),
        _head("Content-Type: image/jpeg", length, "Upgrade: websocket", "Connection: Upgrade"),
        b"GET /invocations HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /invocations/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n" + length.encode() + b"\r\n\r\n",
        b"POST /invocations HTTP/0.9\r\n\r\n",
        b"POST " + b"/" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(200),
    )
    return Attack(kind, (rng.choice(heads) + photo,), ends="shuts")


KINDS: dict[str, tuple[float, Callable[[str, random.Random, bytes], Attack]]] = {
    "whole": (8, _whole),
    "truncated": (14, _truncated),
    "mutated": (16, _mutated),
    "mutated_head": (12, _mutated_head),
    "spliced": (5, _spliced),
    "other_mode": (3, _other_mode),
    "other_type": (6, _other_type),
    "other_media_type": (4, _other_media_type),
    "empty": (2, _empty),
    "announced_too_large": (2, _announced_too_large),
    "too_large": (1, _too_large),
    "too_large_in_chunks": (1, _too_large_in_chunks),
    "length_too_small": (2, _length_too_small),
    "length_too_great": (2, _length_too_great),
    "bomb": (5, _bomb),
    "flat": (0.2, _flat),
    "many_scans": (0.1, _many_scans),
    "text_bomb": (0.3, _text_bomb),
    "animated": (1, _animated),
    "slow_body": (2, _slow_body),
    "slow_head": (2, _slow_head),
    "never_ends": (0.1, _never_ends),
    "leaves": (5, _leaves),
    "leaves_unanswered": (3, _leaves_unanswered),
    "pipelined": (2, _pipelined),
    "pipelined_rubbish": (2, _pipelined_rubbish),
    "chunked": (3, _chunked),
    "broken_chunks": (2, _broken_chunks),
    "odd_head": (5, _odd_head),
}


def _opened(photo: bytes) -> Image.Image:
    return Image.open(io.BytesIO(photo)).convert("RGB")


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@cache
def _as(form: str, photo: bytes) -> bytes:
    return photo if form == "JPEG" else _saved(_opened(photo), form)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(width: int, height: int, data: bytes, extra: bytes = b"", channels: int = 3) -> bytes:
    color_type = {3: 2, 4: 6}[channels]
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


@cache
def _flat_png(width: int, height: int, channels: int) -> bytes:
    return _png(width, height, zlib.compress(bytes((channels * width + 1) * height), 9), channels=channels)


@cache
def _hundred_megabytes() -> bytes:
    return zlib.compress(bytes(100_000_000), 9)


@cache
def _repeated_scans(side: int, times: int) -> bytes:
    photo = _saved(Image.new("RGB", (side, side), "brown"), "JPEG", progressive=True)
    return photo[:-2] + photo[photo.rindex(b"\xff\xda") : -2] * times + photo[-2:]


def _jpeg_of_size(photo: bytes, side: int) -> bytes:
    """Return the photo with another size in its frame header (SOF0 to SOF2)."""
    for marker in (b"\xff\xc0", b"\xff\xc1", b"\xff\xc2"):
        with suppress(ValueError):
            start = photo.index(marker) + 5
            return photo[:start] + struct.pack(">HH", side, side) + photo[start + 4 :]
    return photo
