"""10,000 hostile requests against a server: nothing but intended answers, no crash, and no memory lost.

    python -m benchmarks hostile [--model …] [--photos FOLDER] [--bodies N] [--seed N]

Broken and forged photos, bombs, wrong lengths and types, slow senders, early leavers, rubbish between requests: the
same for the same seed; then more whole photos at once than the server takes. A broken photo that can still be decoded
may be answered. Exit code 0: every goal is met.
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
from benchmarks.inputs import parser, prepared
from benchmarks.servers import Server, ask, ours, say, started
from serving.model import num_cores

_AT_A_TIME = 20 * num_cores()  # the server takes 18 photos a core
_CROWD = 4 * _AT_A_TIME  # whole photos at once, of which it must refuse some
_ANSWER_SECONDS = 45.0  # the server gives up on a slow sender after 30
_MANY_BYTES = 6_500_000


@dataclass(frozen=True)
class Attack:
    """What is sent over one connection.

    parts: with ``pause`` seconds between them.
    ends: ``waits`` for as many answers as ``answers``, ``shuts`` its sending side first, or ``leaves`` without reading.
    """

    kind: str
    parts: tuple[bytes, ...]
    pause: float = 0.0
    ends: str = "waits"
    answers: int = 1


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """The counts of answers by kind of attack, and the server's memory.

    Raises:
        LocalError: something is missing, or the server does not start.
    """
    options = parser("hostile", __doc__)
    options.add_argument("--bodies", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args(arguments)
    with prepared(chosen) as given, started(ours(given.model), given.questions[0]) as server:
        photos = [photo.read_bytes() for photo in given.photos]
        warm_up = max(chosen.bodies // 10, 2 * len(KINDS))
        asyncio.run(_attack_all(server, photos, range(-warm_up, 0), chosen.seed))
        before = server.resident_bytes()
        outcomes, slowest = asyncio.run(_attack_all(server, photos, range(chosen.bodies), chosen.seed))
        crashed = server.process.poll() is not None
        after = 0 if crashed else server.resident_bytes()
        peak = 0 if crashed else server.resident_bytes("VmHWM")
        wrong = sum(ask(server.port, question) != question.answer for question in given.questions)
        log = server.log.read_bytes()
    return {
        "inputs": given.described,
        "rounds": 1,
        "ours": {
            "bodies": chosen.bodies,
            "outcomes": {kind: dict(sorted(found.items())) for kind, found in sorted(outcomes.items())},
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
    """The attack of a number: the same for the same seed and photos."""
    chance = random.Random(f"{seed}/{number}")
    (kind,) = chance.choices(list(KINDS), [weight for weight, _ in KINDS.values()])
    if number < 0:  # a warm-up has all kinds, however rare
        kind = list(KINDS)[number % len(KINDS)] if -number <= 2 * len(KINDS) else kind
    return KINDS[kind][1](kind, chance, chance.choice(photos))


def _goals_of_answers(outcomes: dict[str, Counter[str]]) -> dict[str, dict[str, Any]]:
    found = sum(outcomes.values(), Counter[str]())
    whole = outcomes["whole"] + outcomes["chunked"] + outcomes["crowd"]
    return {
        "server_errors": goal(sum(found[outcome] for outcome in found if _is_error(outcome)), at_most=0),
        "overloads": goal(found["503"], at_least=1),  # else nothing was learnt of refusing
        "unanswered": goal(found["unanswered"], at_most=0),
        "no_connection": goal(found["no connection"], at_most=0),
        "refused_whole_photos": goal(whole.total() - whole["200"] - whole["503"], at_most=0),
    }


def _is_error(outcome: str) -> bool:
    return outcome.startswith("5") and outcome != "503"


async def _attack_all(
    server: Server, photos: Sequence[bytes], numbers: range, seed: int
) -> tuple[dict[str, Counter[str]], dict[str, float]]:
    """Outcomes and the longest wait, by kind; at the end comes a crowd, which finds no place for all."""
    outcomes: dict[str, Counter[str]] = {kind: Counter() for kind in (*KINDS, "crowd")}
    slowest = dict.fromkeys(outcomes, 0.0)
    todo = iter(numbers)

    async def attacker() -> None:
        for number in todo:
            if number % 1000 == 0:
                say(f"attack {number} of {len(numbers)}")
            await carry_out(make(number, photos, seed))

    async def carry_out(attack: Attack) -> None:
        began = time.perf_counter()
        try:
            found = await asyncio.wait_for(_attack(server.port, attack), _ANSWER_SECONDS)
        except TimeoutError:
            found = ["unanswered"]
        outcomes[attack.kind].update(found)
        slowest[attack.kind] = max(slowest[attack.kind], time.perf_counter() - began)

    await asyncio.gather(*(attacker() for _ in range(_AT_A_TIME)))
    await asyncio.gather(*(carry_out(_post("crowd", photo)) for photo in islice(cycle(photos), _CROWD)))
    return outcomes, slowest


async def _attack(port: int, attack: Attack) -> list[str]:
    """The status of each answer; ``closed`` where the server ended the connection, ``left`` where we did."""
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
        # A refusal may be cut off by the reset that our unread bytes cause.
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


# What is sent ---------------------------------------------------------------------------------------


def _post(kind: str, body: bytes, content_type: str = "image/jpeg") -> Attack:
    return Attack(kind, (photo_request("/invocations", body, content_type),))


def _head(*lines: str) -> bytes:
    return "\r\n".join(("POST /invocations HTTP/1.1", "Host: localhost", *lines, "", "")).encode()


def _whole(kind: str, chance: random.Random, photo: bytes) -> Attack:
    return _post(kind, photo)


def _truncated(kind: str, chance: random.Random, photo: bytes) -> Attack:
    return _post(kind, photo[: chance.randrange(1, len(photo))])


def _mutated(kind: str, chance: random.Random, photo: bytes) -> Attack:
    changed = bytearray(_as(chance.choice(("JPEG", "PNG", "WEBP")), photo))
    for _ in range(chance.randint(1, 64)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return _post(kind, bytes(changed))


def _mutated_head(kind: str, chance: random.Random, photo: bytes) -> Attack:
    changed = bytearray(_as(chance.choice(("JPEG", "PNG", "WEBP")), photo))
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(8, 700)] = chance.randrange(256)
    return _post(kind, bytes(changed))


def _spliced(kind: str, chance: random.Random, photo: bytes) -> Attack:
    cut = chance.randrange(len(photo))
    return _post(kind, photo[:cut] + _as("PNG", photo)[cut:])


def _other_mode(kind: str, chance: random.Random, photo: bytes) -> Attack:
    mode, form = chance.choice(
        (("CMYK", "JPEG"), ("L", "JPEG"), ("P", "PNG"), ("LA", "PNG"), ("I;16", "PNG"), ("1", "PNG"))
    )
    image = Image.new("I;16", (300, 200), chance.randrange(65536)) if mode == "I;16" else _opened(photo).convert(mode)
    return _post(kind, _saved(image, form), f"image/{form.lower()}")


def _other_type(kind: str, chance: random.Random, photo: bytes) -> Attack:
    bodies = (
        b"GIF89a" + chance.randbytes(500),
        b"%PDF-1.7 " + chance.randbytes(500),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"RIFF\x24\x00\x00\x00WAVEfmt " + chance.randbytes(100),
        b'{"url": "http://169.254.169.254/latest/meta-data"}',
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        chance.randbytes(chance.randrange(1, 5000)),
    )
    return _post(kind, chance.choice(bodies), chance.choice(("image/jpeg", "image/png", "image/webp")))


def _other_media_type(kind: str, chance: random.Random, photo: bytes) -> Attack:
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
    return _post(kind, photo, chance.choice(types))


def _empty(kind: str, chance: random.Random, photo: bytes) -> Attack:
    return _post(kind, b"")


def _announced_too_large(kind: str, chance: random.Random, photo: bytes) -> Attack:
    length = chance.choice((10**8, 10**12, 10**30))
    return Attack(kind, (_head("Content-Type: image/jpeg", f"Content-Length: {length}"), photo))


def _too_large(kind: str, chance: random.Random, photo: bytes) -> Attack:
    return _post(kind, photo + bytes(_MANY_BYTES))


def _too_large_in_chunks(kind: str, chance: random.Random, photo: bytes) -> Attack:
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
    head = _head("Content-Type: image/jpeg", "Transfer-Encoding: chunked")
    return Attack(kind, (head, *(chunk for _ in range(_MANY_BYTES // 65536 + 1)), b"0\r\n\r\n"))


def _length_too_small(kind: str, chance: random.Random, photo: bytes) -> Attack:
    """The rest of the photo comes where a request should."""
    return Attack(kind, (_head("Content-Type: image/jpeg", f"Content-Length: {len(photo) // 2}") + photo,), answers=2)


def _length_too_great(kind: str, chance: random.Random, photo: bytes) -> Attack:
    head = _head("Content-Type: image/jpeg", f"Content-Length: {len(photo) + 1}")
    return Attack(kind, (head + photo,), ends="shuts")


def _bomb(kind: str, chance: random.Random, photo: bytes) -> Attack:
    """A header that promises far more pixels than there are bytes."""
    side = chance.choice((7100, 65_000, 100_000, 2**31 - 1))
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
    return _post(kind, chance.choice(bodies))


def _flat(kind: str, chance: random.Random, photo: bytes) -> Attack:
    """A whole picture of nearly 50 megapixels in a few bytes; one in two has alpha, which costs most memory."""
    return _post(kind, _flat_png(7071, 7071, chance.choice((3, 4))), "image/png")


def _many_scans(kind: str, chance: random.Random, photo: bytes) -> Attack:
    """A progressive JPEG whose last scan comes again and again: each costs the decoder a pass over all blocks."""
    return _post(kind, _repeated_scans(2000, chance.choice((50, 20_000))))


def _text_bomb(kind: str, chance: random.Random, photo: bytes) -> Attack:
    """Compressed text or colour profile of a hundred megabytes inside a small PNG."""
    name = chance.choice((b"zTXt", b"iCCP", b"iTXt"))
    between = b"Comment\0" + (b"\1\0\0\0" if name == b"iTXt" else b"\0")
    return _post(
        kind, _png(8, 8, zlib.compress(bytes(8 * 25)), _chunk(name, between + _hundred_megabytes())), "image/png"
    )


def _animated(kind: str, chance: random.Random, photo: bytes) -> Attack:
    form = chance.choice(("PNG", "WEBP"))
    frames = [Image.new("RGB", (64, 48), (chance.randrange(256), 0, n)) for n in range(20)]
    return _post(kind, _saved(frames[0], form, save_all=True, append_images=frames[1:]), f"image/{form.lower()}")


def _slow_body(kind: str, chance: random.Random, photo: bytes) -> Attack:
    whole, size = photo_request("/invocations", photo), max(1, len(photo) // 4)
    parts = tuple(whole[i : i + size] for i in range(0, len(whole), size))
    return Attack(kind, parts, pause=chance.uniform(0.05, 0.5))


def _slow_head(kind: str, chance: random.Random, photo: bytes) -> Attack:
    whole = photo_request("/invocations", photo)
    return Attack(kind, (*(whole[i : i + 20] for i in range(0, 60, 20)), whole[60:]), pause=chance.uniform(0.05, 0.5))


def _never_ends(kind: str, chance: random.Random, photo: bytes) -> Attack:
    return Attack(kind, (photo_request("/invocations", photo)[:-1],))


def _leaves(kind: str, chance: random.Random, photo: bytes) -> Attack:
    whole = photo_request("/invocations", photo)
    return Attack(kind, (whole[: chance.randrange(1, len(whole) + 1)],), ends="leaves", pause=chance.uniform(0, 0.02))


def _leaves_unanswered(kind: str, chance: random.Random, photo: bytes) -> Attack:
    return Attack(kind, (photo_request("/invocations", photo),), ends="leaves", pause=chance.uniform(0, 0.02))


def _pipelined(kind: str, chance: random.Random, photo: bytes) -> Attack:
    return Attack(kind, (photo_request("/invocations", photo) * 3,), answers=3)


def _pipelined_rubbish(kind: str, chance: random.Random, photo: bytes) -> Attack:
    return Attack(kind, (photo_request("/invocations", photo) + chance.randbytes(2000),), answers=2)


def _chunked(kind: str, chance: random.Random, photo: bytes) -> Attack:
    size = chance.randint(1000, 20_000)
    cuts = [photo[i : i + size] for i in range(0, len(photo), size)]
    body = b"".join(f"{len(cut):x}\r\n".encode() + cut + b"\r\n" for cut in cuts)
    return Attack(kind, (_head("Content-Type: image/jpeg", "Transfer-Encoding: chunked") + body + b"0\r\n\r\n",))


def _broken_chunks(kind: str, chance: random.Random, photo: bytes) -> Attack:
    size = chance.choice((b"zz", b"-5", b"ffffffffffffffffffff", b"10;" + b"x" * 20_000, b""))
    head = _head("Content-Type: image/jpeg", "Transfer-Encoding: chunked")
    return Attack(kind, (head + size + b"\r\n" + photo + b"\r\n0\r\n\r\n",), ends="shuts")


def _odd_head(kind: str, chance: random.Random, photo: bytes) -> Attack:
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
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(200),
    )
    return Attack(kind, (chance.choice(heads) + photo,), ends="shuts")


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
    """The photo with another size in its frame header (SOF0 to SOF2)."""
    for marker in (b"\xff\xc0", b"\xff\xc1", b"\xff\xc2"):
        with suppress(ValueError):
            place = photo.index(marker) + 5
            return photo[:place] + struct.pack(">HH", side, side) + photo[place + 4 :]
    return photo
