"""10,000 hostile requests to a server: all answers must be intended ones, without a crash and without lost memory.

    python -m benchmarks hostile [--model …] [--photos FOLDER] [--bodies N] [--seed N]

First of all it looks for the photos beside which honest ones wait longest, and measures that
(``benchmarks.beside_attackers``). Then it sends broken and forged photos, decompression bombs, wrong lengths and types,
slow senders, clients that leave early, and garbage between requests; the same seed gives the same requests. At last it
sends more whole photos at once than the server takes. A broken photo that can still be decoded may be answered. The
exit code is 0 if every goal is met.
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

from benchmarks import beside_attackers
from benchmarks import forged_photos as forged
from benchmarks.client import photo_request
from benchmarks.figures import goal, rounded
from benchmarks.inputs import parser, prepare_inputs
from benchmarks.servers import RunningServer, ask, our_server, print_progress, started
from dataset.cores import num_cores

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
        # These photos start every process that decodes, which is no growth.
        beside = beside_attackers.measure(server.port, inputs.requests(), inputs.artifact.preprocess)
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
            "beside_attackers": beside,
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
            "honest_photos_beside_attackers": goal(beside["honest"], at_least=beside_attackers.NUM_HONEST),
            "honest_photos_refused_beside_attackers": goal(beside["refused"], at_most=0),
            "honest_p99_beside_attackers_over_quiet": goal(beside["p99_ratio"], at_most=3),
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
    return _post(kind, forged.saved(image, form), f"image/{form.lower()}")


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
        forged.png(side, side, zlib.compress(bytes(1000))),
        _jpeg_of_size(photo, min(side, 65_535)),
        b"RIFF\xff\xff\x00\x00WEBPVP8X\n\x00\x00\x00\x00\x00\x00\x00" + webp_size * 2 + bytes(100),
        b"RIFF\xff\xff\x00\x00WEBPVP8 \xff\xff\x00\x00\x10\x00\x00\x9d\x01\x2a"
        + struct.pack("<HH", small, small)
        + bytes(99),
    )
    return _post(kind, rng.choice(bodies))


def _flat(kind: str, rng: random.Random, photo: bytes) -> Attack:
    """Send a picture of many megapixels in a few bytes. Alpha takes much memory, filters and tables take time."""
    bodies: tuple[Callable[[], bytes], ...] = (
        lambda: forged.flat_png(7071, 7071, rng.choice((2, 6))),
        lambda: forged.flat_png(3900, 4000, 6, rng.choice((8, 16)), 0, 4),
        lambda: forged.flat_png(3900, 4000, 6, 16, 1),
        lambda: forged.flat_png(3900, 4000, rng.choice((0, 4)), 16),
        lambda: forged.flat_png(3900, 4000, 3, rng.choice((1, 8))),
        lambda: forged.flat_webp(rng.choice((4000, 7071))),
        lambda: forged.flat_webp(4000, lossless=False),
        lambda: forged.webp_of_many_tables(rng.choice((256, 1024))),
        lambda: forged.animated_webp(4000, 3),
        lambda: forged.jpeg(
            65_000, 769, rng.choice((forged.BASELINE, forged.PROGRESSIVE)), components=rng.choice((3, 4))
        ),
        lambda: forged.jpeg(7000, 7000, forged.PROGRESSIVE, 15, rng.choice((3, 4))),
    )
    return _post(kind, rng.choice(bodies)(), "image/png")


def _many_scans(kind: str, rng: random.Random, photo: bytes) -> Attack:
    """Send a progressive JPEG that repeats its last scan, sometimes with an index of further pictures."""
    scans = forged.repeated_scans(2000, rng.choice((50, 190, 20_000)))
    return _post(kind, rng.choice((scans, forged.as_mpo(scans), forged.as_mpo(scans, hidden=True))))


def _text_bomb(kind: str, rng: random.Random, photo: bytes) -> Attack:
    """Send a small PNG with a compressed text or colour profile of a hundred megabytes, or much EXIF and ICC."""
    bodies: tuple[Callable[[], bytes], ...] = (
        lambda: forged.text_png(rng.choice((b"zTXt", b"iCCP", b"iTXt")), forged.hundred_megabytes()),
        lambda: forged.worst_orientations(rng.randint(1, 68)),
        lambda: forged.jpeg(16, 16, before=forged.segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(60_000)) * 60),
    )
    return _post(kind, rng.choice(bodies)(), "image/png")


def _many_parts(kind: str, rng: random.Random, photo: bytes) -> Attack:
    """Send a small photo of very many segments or chunks, or with much between them."""
    bodies: tuple[Callable[[], bytes], ...] = (
        lambda: forged.between_segments(b"\xff", 4_000_000),
        lambda: forged.between_segments(b"\xff\xfe\0\2", 1_000_000),
        lambda: forged.between_segments(b"\xff\xdd\0\4\0\0", 500_000),
        lambda: forged.between_segments(b"\xff", 200_000),
        lambda: forged.png_of_tiny_chunks(800, 300_000),
        lambda: forged.webp((b"VP8 ", b""), *[(b"JUNK", b"")] * 400_000),
    )
    return _post(kind, rng.choice(bodies)())


def _other_coding(kind: str, rng: random.Random, photo: bytes) -> Attack:
    """Send a JPEG that is coded by arithmetic, of 12 bits or without loss, with data that mean anything."""
    frames = (forged.ARITHMETIC, forged.ARITHMETIC_PROGRESSIVE, forged.TWELVE_BITS, forged.LOSSLESS)
    side, data = rng.choice((100, 2000, 7000)), rng.randbytes(rng.randrange(50_000)).replace(b"\xff", b"\xfe")
    return _post(kind, forged.jpeg(side, side, rng.choice(frames), rng.choice((1, 10)), data=data))


def _animated(kind: str, rng: random.Random, photo: bytes) -> Attack:
    form = rng.choice(("PNG", "WEBP"))
    frames = [Image.new("RGB", (64, 48), (rng.randrange(256), 0, n)) for n in range(20)]
    body = forged.saved(frames[0], form, save_all=True, append_images=frames[1:])
    return _post(kind, body, f"image/{form.lower()}")


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
    "many_parts": (0.3, _many_parts),
    "other_coding": (0.5, _other_coding),
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


@cache
def _as(form: str, photo: bytes) -> bytes:
    return photo if form == "JPEG" else forged.saved(_opened(photo), form)


def _jpeg_of_size(photo: bytes, side: int) -> bytes:
    """Return the photo with another size in its frame header (SOF0 to SOF2)."""
    for marker in (b"\xff\xc0", b"\xff\xc1", b"\xff\xc2"):
        with suppress(ValueError):
            start = photo.index(marker) + 5
            return photo[:start] + struct.pack(">HH", side, side) + photo[start + 4 :]
    return photo
