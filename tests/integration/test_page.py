"""The page in Chromium, served by the prediction function; the endpoint's answers are set by each test."""

import importlib
import io
import random
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from PIL import ExifTags, Image, ImageChops, ImageStat
from playwright.sync_api import Browser, Page, expect

from local.home import HOME
from sketchbook.examples import FOLDER
from tests.integration.chromium import chromium
from tests.integration.door import KEY, Door, open_door
from tests.integration.laptop import eventually

BEAGLE = [("Beagle", 0.9642), ("Pug", 0.0201), ("Boxer", 0.0101), ("Samoyed", 0.0046), ("Poodle", 0.001)]
GUESSES = [("Pug", 0.4), ("Boxer", 0.3), ("Beagle", 0.2), ("Poodle", 0.06), ("Samoyed", 0.04)]
SCREENSHOTS = HOME / "page"


def prediction(ranking: list[tuple[str, float]] = BEAGLE, is_dog: bool = True) -> dict[str, Any]:
    top = [{"breed": breed, "class": breed, "probability": probability} for breed, probability in ranking]
    return {"model_version": "1", **top[0], "is_dog": is_dog, "dog_probability": 0.9, "top": top}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def opened() -> Iterator[Door]:
    with open_door() as door:
        yield door


@pytest.fixture
def door(opened: Door) -> Door:
    opened.prediction, opened.photos, opened.throttled, opened.late = prediction(), [], False, None
    importlib.import_module("classify.routes").model["uses"] = importlib.import_module("classify.shrinking").View()
    return opened


@pytest.fixture
def page(browser: Browser, door: Door) -> Iterator[Page]:
    """The page in a browser that has no key yet; at the end it is checked as in ``visit``."""
    with visit(browser, door) as page:
        yield page


@contextmanager
def visit(browser: Browser, door: Door, **device: Any) -> Iterator[Page]:
    """Open the page in a new browser context.

    At the end check that it raised no error, sent requests only to its own server, broke no rule of its content
    security policy, and showed the key in no URL and no message.
    """
    context = browser.new_context(reduced_motion="reduce", **device)
    page = context.new_page()
    urls: list[str] = []
    messages: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    response = page.goto(door.url)
    assert response
    assert "default-src 'none'" in response.headers["content-security-policy"]
    yield page
    context.close()
    assert errors == []
    assert [url for url in urls if not url.startswith(door.url)] == []
    assert [text for text in messages if "Content Security Policy" in text] == []
    assert KEY not in "".join(urls + messages)


def picture(size: tuple[int, int] = (60, 40), kind: str = "JPEG", mode: str = "RGB", **options: Any) -> bytes:
    """Return an image file: red in the left quarter, else blue, and transparent there if the mode has transparency."""
    image = Image.new(mode, size, (0, 0, 255, 0)[: len(mode)])
    image.paste("red", (0, 0, size[0] // 4, size[1]))
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def choose(page: Page, content: bytes, name: str = "photo.jpg", kind: str = "image/jpeg") -> None:
    page.get_by_label("Choose a photo").set_input_files({"name": name, "mimeType": kind, "buffer": content})


def choose_example(page: Page, name: str = "dalmatian") -> None:
    page.get_by_role("button", name=f"A drawn {name}").click()


def give_key(page: Page, key: str = KEY) -> None:
    page.get_by_label("API key", exact=True).fill(key)
    page.get_by_role("button", name="Continue").click()


def expect_headline(page: Page, words: str) -> None:
    expect(page.get_by_role("status").get_by_role("heading")).to_have_text(words)


def received(door: Door) -> Image.Image:
    """Return the only photo that reached the endpoint."""
    (photo,) = door.photos
    image = Image.open(io.BytesIO(photo))
    assert image.format == "JPEG"
    return image


def assert_colour(image: Image.Image, x: float, y: float, colour: tuple[int, int, int]) -> None:
    """Check the colour of a pixel, whose x and y are shares of the width and height."""
    pixel = image.getpixel((int(x * image.width), int(y * image.height)))
    assert pixel == pytest.approx(colour, abs=12)


RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def test_example_is_named(page: Page, door: Door) -> None:
    choose_example(page)
    give_key(page)
    expect_headline(page, "Beagle")
    expect(page.locator("#explanation")).to_have_text("I am 96% sure.")
    items = page.get_by_role("list", name="Breeds").get_by_role("listitem")
    expect(items).to_have_text(["Beagle 96%", "Pug 2%", "Boxer 1%", "Samoyed <1%", "Poodle <1%"])
    shares = page.locator(".bar").evaluate_all(
        "bars => bars.map(bar => parseFloat(getComputedStyle(bar, '::before').width) / bar.clientWidth)"
    )
    assert shares[:3] == pytest.approx([0.9642, 0.0201, 0.0101], abs=0.002)
    drawn = Image.open(FOLDER / "dalmatian.jpg")
    difference = ImageChops.difference(received(door).convert("RGB"), drawn)
    assert max(ImageStat.Stat(difference).mean) < 3  # of 255; the page has encoded the drawing again


def test_large_photo_arrives_upright_and_small(page: Page, door: Door) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # The left side of the stored image is shown at the top.
    exif[ExifTags.Base.Make] = "somebody's camera"
    choose(page, picture((6000, 4000), exif=exif))
    give_key(page)
    expect_headline(page, "Beagle")
    image = received(door)
    assert image.size == (512, 768)
    assert_colour(image, 0.5, 0.1, RED)
    assert_colour(image, 0.5, 0.5, BLUE)
    assert dict(image.getexif()) == {}


def test_photo_of_noise_is_small_enough(page: Page, door: Door) -> None:
    noise = Image.frombytes("RGB", (1024, 1024), random.Random(0).randbytes(3 * 1024 * 1024))
    file = io.BytesIO()
    noise.save(file, "PNG", compress_level=1)
    choose(page, file.getvalue(), "noise.png", "image/png")
    give_key(page)
    expect_headline(page, "Beagle")
    assert received(door).size == (512, 512)
    assert len(door.photos[0]) < 400_000
    expect(page.locator("#sent")).to_have_text(re.compile(r"^Sent \d+ KB of 3\.[12] MB\.$"))


def test_photo_has_the_pixels_that_the_model_said_it_uses(page: Page, door: Door) -> None:
    door.prediction = {**prediction(), "shortest_side": 300}
    choose(page, picture((1600, 1200)))
    give_key(page)
    expect_headline(page, "Beagle")
    choose(page, picture((1200, 1600)))
    eventually(lambda: len(door.photos), lambda number: number == 2)
    expect(page.locator("#sent")).to_be_visible()
    assert [Image.open(io.BytesIO(photo)).size for photo in door.photos] == [(683, 512), (300, 400)]


def test_photo_that_is_too_small_for_a_new_model_is_sent_again(page: Page, door: Door) -> None:
    door.prediction = {**prediction(), "shortest_side": 300}
    choose(page, picture((1600, 1200)))
    give_key(page)
    expect_headline(page, "Beagle")
    door.prediction = {**prediction([("Pug", 0.9), *BEAGLE[2:]]), "shortest_side": 800}
    choose(page, picture((1200, 1600)))
    expect_headline(page, "Pug")
    choose(page, picture((400, 500)))  # It has no more pixels, so it is not sent twice.
    eventually(lambda: len(door.photos), lambda number: number == 4)
    expect(page.locator("#sent")).to_be_visible()
    sizes = [Image.open(io.BytesIO(photo)).size for photo in door.photos]
    assert sizes == [(683, 512), (300, 400), (800, 1067), (400, 500)]


def test_model_that_names_no_size_gets_no_photo_twice(page: Page, door: Door) -> None:
    choose(page, picture((1600, 1200)))
    give_key(page)
    expect_headline(page, "Beagle")
    expect(page.locator("#sent")).to_be_visible()
    assert received(door).size == (683, 512)


@pytest.mark.parametrize(
    ("kind", "mode", "options", "colour"),
    [("GIF", "RGB", {}, BLUE), ("WEBP", "RGBA", {}, WHITE), ("PNG", "P", {"transparency": 0}, WHITE),
     ("PNG", "L", {}, (0, 0, 0)), ("JPEG", "CMYK", {}, None)],
)  # fmt: skip
def test_pictures_of_other_kinds_become_plain_jpegs(
    page: Page, door: Door, kind: str, mode: str, options: dict[str, Any], colour: tuple[int, int, int] | None
) -> None:
    image = Image.open(io.BytesIO(picture((600, 400), "PNG"))).convert("RGBA" if mode == "RGBA" else "RGB")
    if mode in ("RGBA", "P", "L"):
        image = Image.new(mode, image.size, 0)
    file = io.BytesIO()
    image.convert(mode).save(file, kind, **options)
    choose(page, file.getvalue(), f"dog.{kind.lower()}", f"image/{kind.lower()}")
    give_key(page)
    expect_headline(page, "Beagle")
    sent = received(door)
    assert (sent.mode, sent.size) == ("RGB", (600, 400))
    if colour:
        assert_colour(sent, 0.7, 0.5, colour)


def test_small_file_that_becomes_a_larger_jpeg_is_not_called_a_part(page: Page, door: Door) -> None:
    content = picture((400, 400), "WEBP", lossless=True)
    choose(page, content, "dog.webp", "image/webp")
    give_key(page)
    expect_headline(page, "Beagle")
    assert len(door.photos[0]) > len(content)
    expect(page.locator("#sent")).to_have_text(re.compile(r"^Sent \d+ KB\.$"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_phones_photo_is_sent_upright_and_small_in_every_orientation(
    browser: Browser, door: Door, orientation: int
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    with visit(browser, door, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True) as page:
        choose(page, picture((4000, 3000), exif=exif))
        give_key(page)
        expect_headline(page, "Beagle")
        sent = received(door)
        assert sent.size == ((683, 512) if orientation < 5 else (512, 683))
        # The stored image is red at its left; the numbers say where that side is shown.
        x, y = {1: (0.1, 0.5), 2: (0.9, 0.5), 3: (0.9, 0.5), 4: (0.1, 0.5)}.get(
            orientation, (0.5, 0.1 if orientation in (5, 6) else 0.9)
        )
        assert_colour(sent, x, y, RED)
        assert_colour(sent, 1 - x, 1 - y, BLUE)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_picture_that_the_browser_cannot_copy_is_not_sent(page: Page, door: Door) -> None:
    page.evaluate("() => { HTMLCanvasElement.prototype.toBlob = done => done(null); }")
    choose(page, picture())
    expect_headline(page, "I cannot scale this")
    assert door.photos == []


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_dropped_or_pasted_picture_is_sent_with_white_for_transparent(page: Page, door: Door, way: str) -> None:
    transfer = page.evaluate_handle(
        """content => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(content)], "dog.png", {type: "image/png"}));
            return transfer;
        }""",
        list(picture(kind="PNG", mode="RGBA")),
    )
    page.evaluate(
        """([way, transfer]) => document.body.dispatchEvent(
            way === "drop" ? new DragEvent(way, {dataTransfer: transfer, bubbles: true, cancelable: true})
                           : new ClipboardEvent(way, {clipboardData: transfer, bubbles: true, cancelable: true}))""",
        [way, transfer],
    )
    give_key(page)
    expect_headline(page, "Beagle")
    assert received(door).size == (60, 40)
    assert_colour(received(door), 0.1, 0.5, RED)
    assert_colour(received(door), 0.7, 0.5, WHITE)


@pytest.mark.parametrize(
    ("answer", "words", "explanation"),
    [
        (prediction(is_dog=False), "No dog, as far as I can see", "If there is a dog, show me more of it."),
        (prediction(GUESSES), "Hard to say", "It may be a mix"),
    ],
)
def test_no_dog_and_doubt_get_friendly_words(
    page: Page, door: Door, answer: dict[str, Any], words: str, explanation: str
) -> None:
    door.prediction = answer
    choose_example(page, "cat")
    give_key(page)
    expect_headline(page, words)
    expect(page.locator("#explanation")).to_contain_text(explanation)
    expect(page.locator(".breed").first).to_have_text(answer["breed"])


def test_file_that_is_no_photo_gets_friendly_words_and_is_not_sent(page: Page, door: Door) -> None:
    choose(page, b"ftypheic and what no browser here reads", "photo.heic", "image/heic")
    expect_headline(page, "I cannot open this")
    assert door.photos == []


def test_key_is_asked_for_once_and_again_when_it_is_refused(page: Page, door: Door) -> None:
    choose_example(page)
    give_key(page, "of-another-kennel")
    expect_headline(page, "I do not know this key")
    assert page.evaluate("Object.keys(localStorage)") == []
    give_key(page, f" {KEY} ")
    expect_headline(page, "Beagle")
    page.reload()
    choose_example(page)
    expect_headline(page, "Beagle")
    page.get_by_role("button", name="Forget the API key").click()
    assert page.evaluate("Object.keys(localStorage)") == []
    choose_example(page)
    expect_headline(page, "One thing first")
    assert page.url == door.url


@pytest.mark.parametrize(
    ("throttled", "words", "explanation", "reference", "seconds"),
    [
        (False, "I am not ready right now", "No model is serving yet; try again later.", "request-1", 5),
        (True, "Too many requests", "Too many requests at once; try again shortly.", "gateway-1", 1),
    ],
)
def test_temporary_refusals_are_counted_down_and_tried_again(
    page: Page, door: Door, throttled: bool, words: str, explanation: str, reference: str, seconds: int
) -> None:
    page.clock.install()
    page.reload()
    door.prediction, door.throttled = None, throttled
    choose_example(page)
    give_key(page)
    expect_headline(page, words)
    expect(page.locator("#explanation")).to_have_text(explanation)
    expect(page.locator("#reference code")).to_have_text(reference)
    retry = page.get_by_role("button", name="Try again")
    expect(retry).to_have_text(f"Try again in {seconds} s")
    page.clock.run_for(1000 * (seconds - 1))
    expect(retry).to_have_text("Try again in 1 s")
    expect(retry).to_be_disabled()
    page.clock.run_for(1000)
    expect(retry).to_have_text("Try again")
    door.prediction, door.throttled = prediction(), False
    retry.click()
    expect_headline(page, "Beagle")


def test_lost_connection_is_named_and_tried_again(page: Page) -> None:
    expect(page.get_by_role("button", name="A drawn dalmatian")).to_be_enabled()
    page.context.set_offline(True)
    choose_example(page)
    give_key(page)
    expect_headline(page, "No connection")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect_headline(page, "Beagle")


def test_breeds_are_listed_once_there_is_a_key(page: Page) -> None:
    expect(page.locator("#breeds")).to_be_hidden()
    choose_example(page)
    give_key(page)
    page.get_by_text("Breeds that I know").click()
    expect(page.locator("#breeds p")).to_have_text("Beagle, Pug")


def test_next_photo_cancels_the_one_before(page: Page, door: Door) -> None:
    choose_example(page)
    give_key(page)
    expect_headline(page, "Beagle")
    late = door.late = threading.Event()
    choose_example(page)
    eventually(lambda: len(door.photos), lambda number: number == 2)
    door.prediction = prediction([("Pug", 0.9), *BEAGLE])
    with page.expect_event("requestfailed") as aborted:
        choose_example(page, "pug")
    expect_headline(page, "Pug")
    assert aborted.value.failure == "net::ERR_ABORTED"
    late.set()
    page.wait_for_load_state("networkidle")
    expect_headline(page, "Pug")


def test_keyboard_alone_leads_to_an_answer(page: Page) -> None:
    expect(page.get_by_role("button", name="A drawn beagle")).to_be_enabled()
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement.closest('label')).outlineStyle") == "solid"
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_label("API key", exact=True)).to_be_focused()
    page.keyboard.type(KEY)
    page.keyboard.press("Enter")
    expect_headline(page, "Beagle")


PHONE = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("light", {}),
        ("dark", {"color_scheme": "dark"}),
        ("phone", PHONE),
        ("phone-dark", {**PHONE, "color_scheme": "dark"}),
    ],
)
def test_page_fits_and_can_be_read(browser: Browser, door: Door, name: str, device: dict[str, Any]) -> None:
    with visit(browser, door, **device) as page:
        assert_fits_and_can_be_read(page)
        expect(page.get_by_text("Take a photo")).to_be_visible(visible="is_mobile" in device)
        choose_example(page)
        expect_headline(page, "One thing first")
        assert_fits_and_can_be_read(page)
        give_key(page)
        expect_headline(page, "Beagle")
        assert_fits_and_can_be_read(page)
        page.screenshot(path=SCREENSHOTS / f"{name}.png")


def assert_fits_and_can_be_read(page: Page) -> None:
    """Check that the page is no wider than the window, and that texts have the contrast of WCAG's level AA."""
    assert page.viewport_size  # A phone's innerWidth would not do: it grows with content that is too wide.
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    texts = page.evaluate(
        """() => [...document.querySelectorAll("body *")]
            .filter(element => element.checkVisibility() && [...element.childNodes].some(
                child => child.nodeType === Node.TEXT_NODE && child.data.trim()))
            .map(element => {
                const colours = [getComputedStyle(element).color];
                for (let at = element; at; at = at.parentElement) colours.push(getComputedStyle(at).backgroundColor);
                return [element.innerText, colours[0], colours.slice(1).find(each => each.startsWith("rgb("))];
            })"""
    )
    assert {"Kennel", "Choose a photo"} <= {text for text, *_ in texts}
    assert [text for text, *colours in texts if contrast(*colours) < 4.5] == []


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours such as ``rgb(1, 2, 3)``, as WCAG 2.2 defines it."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    shares = [int(part) / 255 for part in re.findall(r"\d+", colour)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("rgb(119, 119, 119)", "rgb(255, 255, 255)") == pytest.approx(4.48, abs=0.01)  # just below level AA
