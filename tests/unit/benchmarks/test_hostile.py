import io
import random
from collections import Counter

import pytest
from PIL import Image

from benchmarks import hostile
from benchmarks.client import photo_request


@pytest.fixture(scope="module")
def photo() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((160, 120), 60).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


def body(attack: hostile.Attack) -> bytes:
    return b"".join(attack.parts).partition(b"\r\n\r\n")[2]


def test_attacks_are_the_same_for_the_same_seed(photo):
    attacks = [[hostile.make(number, [photo], seed) for number in range(40)] for seed in (0, 0, 1)]
    assert attacks[0] == attacks[1] != attacks[2]


def test_warm_up_has_every_kind(photo):
    numbers = range(-2 * len(hostile.KINDS), 0)
    kinds = [hostile.make(number, [photo], 0).kind for number in numbers]
    assert all(kinds.count(kind) == 2 for kind in hostile.KINDS)


def of_kind(kind: str, photo: bytes) -> hostile.Attack:
    return hostile.make(list(hostile.KINDS).index(kind) - len(hostile.KINDS), [photo], 0)


def test_truncated_body_is_the_beginning_of_the_photo(photo):
    payload = body(of_kind("truncated", photo))
    assert photo.startswith(payload)
    assert 0 < len(payload) < len(photo)


def test_chunked_body_holds_the_whole_photo(photo):
    rest, joined = body(of_kind("chunked", photo)), b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if not int(size, 16):
            break
        joined, rest = joined + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    assert joined == photo


@pytest.mark.parametrize("kind", hostile.KINDS)
def test_the_smallest_photo_can_be_attacked_in_every_way(kind):
    buffer = io.BytesIO()
    Image.new("L", (1, 1)).save(buffer, "JPEG", optimize=True)
    photo = buffer.getvalue()
    assert len(photo) < 350
    attack = hostile.KINDS[kind][1]
    for seed in range(2 if kind in ("flat", "many_scans", "text_bomb", "many_parts") else 50):
        assert attack(kind, random.Random(seed), photo).parts


def test_jpeg_of_another_size_announces_it(photo):
    assert Image.open(io.BytesIO(hostile._jpeg_of_size(photo, 65_000))).size == (65_000, 65_000)


def test_whole_photo_is_a_usual_request(photo):
    assert of_kind("whole", photo).parts == (photo_request("/invocations", photo),)


@pytest.mark.parametrize(("outcome", "error"), [("200", False), ("503", False), ("503 without Retry-After", True)])
def test_refusal_for_overload_is_no_error_if_it_has_retry_after(outcome, error):
    assert hostile._is_error(outcome) is error


def test_goals_distinguish_refused_whole_photos_from_overload():
    outcomes = {kind: Counter[str]() for kind in (*hostile.KINDS, "crowd")}
    outcomes["whole"] = Counter({"200": 5, "closed": 1})
    outcomes["crowd"] = Counter({"200": 5, "503": 2})
    outcomes["chunked"] = Counter({"200": 3, "400": 1, "no connection": 1})
    outcomes["truncated"] = Counter({"400": 9, "500": 1, "unanswered": 1, "closed": 4})
    measured = {name: (goal["measured"], goal["met"]) for name, goal in hostile._goals_of_answers(outcomes).items()}
    assert measured == {
        "server_errors": (1, False),
        "overloads": (2, True),
        "unanswered": (1, False),
        "no_connection": (1, False),
        "refused_whole_photos": (3, False),
    }
