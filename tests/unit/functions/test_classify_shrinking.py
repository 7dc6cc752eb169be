"""Which of a photo's bytes the prediction function sends to the endpoint, from event to log line."""

import base64
import io
import json
import logging
from dataclasses import replace

import pytest
from PIL import Image

from classify.view import View
from tests.unit.functions.test_classify import (  # noqa: F401  (fixtures)
    PREDICTION,
    answer,
    app,
    call,
    call_with_location,
    document,
    logged,
    rest_event,
    routes,
    runtime,
    s3,
    url_event,
)


def large_photo(size=(800, 600)):
    file = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(file, "JPEG", quality=90)
    return file.getvalue()


LARGE = large_photo()
SIZED = {**PREDICTION, "shortest_side": 256}


@pytest.fixture
def sizes(app, routes, runtime, monkeypatch, caplog):  # noqa: F811
    """Return a function that asks for a photo and returns the bytes that came and those that the endpoint got."""
    caplog.set_level(logging.INFO, "kennel")
    monkeypatch.setitem(routes.model, "uses", View())

    def ask(answered=SIZED, ask=call, **options):
        caplog.clear()
        runtime.add_response("invoke_endpoint", document(json.dumps(answered).encode(), ContentType="application/json"))
        ask(app, **options)
        (line,) = logged(app, caplog)[1]
        return line["photo_bytes"], line["sent_bytes"]

    return ask


@pytest.mark.parametrize("event", [rest_event, url_event])
def test_large_photo_is_shrunk_to_what_the_model_said_that_it_uses(sizes, event):
    first, second, third = (sizes(body=LARGE, event=event) for _ in range(3))
    assert first == (len(LARGE), len(LARGE))  # Nobody has asked the model yet.
    assert second == third
    assert second[0] == len(LARGE)
    assert second[1] < len(LARGE) / 3


@pytest.mark.parametrize("larger", [512, None, "no answer of ours"])
def test_model_that_uses_more_than_the_one_before_judges_the_whole_photo(sizes, runtime, larger):  # noqa: F811
    """The first photo after a model of 128 pixels was replaced goes once more, as it came; its answer counts."""
    second = "?" if isinstance(larger, str) else {**PREDICTION, "breed": "Pug", "shortest_side": larger}
    sizes({**PREDICTION, "shortest_side": 128}, body=LARGE)
    (_, small), answers = sizes({**PREDICTION, "shortest_side": 128}, body=LARGE), []

    def ask(app, **options):  # noqa: F811
        # The photo that was too small for the new model was answered with another breed.
        body = json.dumps(second).encode()
        runtime.add_response("invoke_endpoint", document(body, ContentType="application/json"))
        answers.append(call(app, **options))

    doubtful = second if isinstance(second, str) else {**second, "breed": "Boxer"}
    assert sizes(doubtful, ask=ask, body=LARGE) == (len(LARGE), small + len(LARGE))
    assert answers[0][:2] == (200, second)
    _, sent = sizes(second, body=LARGE)
    assert small < sent <= len(LARGE)


def test_model_that_takes_no_squares_judges_the_whole_photo(sizes, runtime):  # noqa: F811
    """Its first photo after a model of squares goes once more, as it came; the next one has both sides."""
    square, whole = {**SIZED, "central_square": True}, {**SIZED, "central_square": False}
    photo = large_photo((900, 300))
    sizes(square, body=photo)
    _, small = sizes(square, body=photo)

    def ask(app, **options):  # noqa: F811
        runtime.add_response("invoke_endpoint", document(json.dumps(whole).encode(), ContentType="application/json"))
        call(app, **options)

    assert sizes(whole, ask=ask, body=photo)[1] == small + len(photo)
    _, all_of_the_side = sizes(whole, body=photo)
    assert 2.5 * small < all_of_the_side < 3.5 * small  # 768 x 256 pixels of noise in place of 256 x 256


@pytest.mark.parametrize("odd", ["true", 1, None, [True]])
def test_only_a_plain_true_means_a_square(sizes, routes, odd):  # noqa: F811
    sizes({**SIZED, "central_square": odd}, body=LARGE)
    assert routes.model["uses"] == View(256, central_square=False)


def test_photo_that_lost_its_metadata_alone_is_not_sent_again(sizes):
    file = io.BytesIO()
    Image.new("RGB", (200, 200), "brown").save(file, "JPEG", comment=b"somebody" * 2000)
    sizes(body=LARGE)
    came, sent = sizes({**PREDICTION, "shortest_side": 512}, body=file.getvalue())
    assert sent < came - 10_000


def test_model_that_uses_less_than_the_one_before_is_not_asked_twice(sizes):
    sizes({**PREDICTION, "shortest_side": 256}, body=LARGE)
    _, larger = sizes({**PREDICTION, "shortest_side": 128}, body=LARGE)
    assert sizes({**PREDICTION, "shortest_side": 128}, body=LARGE)[1] < larger


@pytest.mark.parametrize("odd", ["256", None, True, 2.5, [256], -1])
def test_server_that_says_no_size_gets_photos_as_they_came(sizes, odd):
    for _ in range(2):
        assert sizes({**PREDICTION, "shortest_side": odd}, body=LARGE) == (len(LARGE), len(LARGE))


def test_photo_of_the_bucket_is_shrunk_too(sizes, s3):  # noqa: F811
    def ask(app, **_):  # noqa: F811
        s3.add_response("get_object", document(LARGE, ContentLength=len(LARGE)))
        call_with_location(app, {"s3": "uploads/rex.jpg"})

    assert sizes(ask=ask) == (len(LARGE), len(LARGE))
    assert sizes(ask=ask)[1] < len(LARGE) / 3


@pytest.mark.parametrize("event", [rest_event, url_event])
@pytest.mark.parametrize(
    ("name", "value", "is_whole"),
    [("x-kennel-photo", "whole", True), ("X-Kennel-Photo", " Whole ", True), ("X-KENNEL-PHOTO", "WHOLE", True),
     ("x-kennel-photo", "", False), ("x-kennel-photo", "half", False), ("x-kennel-photo", "whole, whole", False),
     ("x-photo", "whole", False)],
)  # fmt: skip
def test_caller_may_ask_to_have_the_whole_photo_judged(app, sizes, event, name, value, is_whole):  # noqa: F811
    def ask(app, **_):
        sent = base64.b64encode(LARGE).decode()
        answer(app, event("POST", "/classify", sent, True, {"Content-Type": "image/jpeg", name: value}))

    sizes(ask=ask)
    assert (sizes(ask=ask) == (len(LARGE), len(LARGE))) == is_whole


WRAPPED = {
    "base64": lambda photo: base64.b64encode(photo),
    "JSON": lambda photo: json.dumps({"image": base64.b64encode(photo).decode()}).encode(),
    "form": lambda photo: b'--x\r\nContent-Disposition: form-data; name="photo"\r\n\r\n' + photo + b"\r\n--x--\r\n",
}


@pytest.mark.parametrize("wrapping", WRAPPED)
def test_wrapped_photo_is_shrunk_too(sizes, wrapping):
    _, shrunk = [sizes(body=LARGE) for _ in range(2)][1]
    assert sizes(body=WRAPPED[wrapping](LARGE)) == (len(LARGE), shrunk)


def test_shrinking_can_be_switched_off(routes, sizes, monkeypatch):  # noqa: F811
    monkeypatch.setattr(routes, "settings", replace(routes.settings, shrink_photos="off"))
    for _ in range(2):
        assert sizes(body=LARGE) == (len(LARGE), len(LARGE))
