"""The sketchbook: drawings repeat with their seed and are all different, and breeds look as they should."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from PIL import Image, ImageChops, ImageStat

from dataset import OTHER, SPLITS, open_source
from sketchbook import BREEDS, THINGS, SketchbookError, contact_sheet, draw, write
from sketchbook.__main__ import main
from sketchbook.anatomy import dog
from sketchbook.examples import FOLDER, draw_examples
from sketchbook.geometry import bounds, tube
from sketchbook.painter import Frame, Painter
from sketchbook.pose import Pose, skeleton

SMALL = {"train": 3, "valid": 1, "test": 2}
STANDING = Pose("standing", yaw=0.4, tilt=0.0, stride=0.0, wag=0.0, panting=False)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("books") / "book", seed=7, counts=SMALL, size=96)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.jpg")}


def test_draw_repeats_itself_byte_for_byte() -> None:
    for name in (*BREEDS, *THINGS):
        assert draw(name, 5, size=96).tobytes() == draw(name, 5, size=96).tobytes()


def test_draw_gives_the_size_and_mode_asked_for() -> None:
    drawing = draw("Pug", 1, size=80)
    assert (drawing.size, drawing.mode) == ((80, 80), "RGB")


def test_draw_names_the_breeds_and_things_it_has() -> None:
    with pytest.raises(ValueError, match=r"no breed or thing 'Wolf'; it has Beagle, .*Standard_poodle, ball, .*tree"):
        draw("Wolf", 1)


def test_book_is_a_dataset_with_the_counts_asked_for(book: Path) -> None:
    listing = open_source(book).listing
    assert listing.classes[0] == "001.Beagle"
    assert listing.classes[9] == "010.Standard_poodle"
    assert len(listing.classes) == 10
    assert listing.counts() == {"train": 30, "valid": 10, "test": 20}
    assert listing.ignored == ()


def test_things_are_beside_the_splits_and_change_no_dog(tmp_path: Path) -> None:
    breeds = ["Beagle", "Pug"]
    dogs = files(write(tmp_path / "dogs", counts=SMALL, breeds=breeds, size=64))
    book = write(tmp_path / "both", counts={**SMALL, "other": 3}, breeds=breeds, size=64)
    listing = open_source(book).listing
    assert listing.classes == ("001.Beagle", "007.Pug")
    assert listing.counts() == {"train": 6, "valid": 2, "test": 4, "other": 24}
    assert [photo.path for photo in listing.of("other")][9:12] == [f"other/cat/000{n}.jpg" for n in (1, 2, 3)]
    both = files(book)
    assert dogs.items() <= both.items()
    assert len(set(both.values())) == 36


def test_things_stand_on_the_ground() -> None:
    for name, thing in THINGS.items():
        for seed in range(5):
            _, bottom, _, top = bounds([outline for part in thing(Random(seed)) for outline in part.shape])
            assert abs(bottom) < 0.05 < top, name


def test_no_drawing_occurs_twice(book: Path) -> None:
    digests = {hashlib.sha256(content).hexdigest() for content in files(book).values()}
    assert len(digests) == 60


def test_the_same_seed_gives_the_same_book(book: Path, tmp_path: Path) -> None:
    breeds = ["Pug", "Beagle"]
    again = files(write(tmp_path / "again", seed=7, counts=SMALL, breeds=breeds, size=96))
    assert {path.split("/")[1] for path in again} == {"001.Beagle", "007.Pug"}
    assert again.items() <= files(book).items()


def test_another_seed_shares_no_drawing_and_an_empty_folder_is_filled(book: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = files(write(tmp_path / "other", seed=8, counts=SMALL, breeds=["Pug", "Beagle"], size=96))
    assert not set(other.values()) & set(files(book).values())


def test_processes_draw_what_one_process_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = files(write(tmp_path / "alone", counts=SMALL, breeds=["Dalmatian", "Samoyed"], size=64))
    monkeypatch.setattr("sketchbook.book._MIN_DRAWINGS_FOR_POOL", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    shared = files(write(tmp_path / "shared", counts=SMALL, breeds=["Dalmatian", "Samoyed"], size=64))
    assert shared == alone


def test_write_leaves_a_full_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(SketchbookError, match="is not an empty folder; give a new one, or remove it first"):
        write(tmp_path, counts=SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_write_leaves_nothing_behind_when_interrupted(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        assert total == 6
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "book", counts=SMALL, breeds=["Pug"], size=64, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "counts",
    [
        {"train": 1, "valid": 1},
        {"train": 1, "valid": 0, "test": 1},
        {"train": 1, "valid": 1, "test": 1, "other": -1},
    ],
)
def test_write_refuses_a_split_without_drawings(tmp_path: Path, counts: dict[str, int]) -> None:
    with pytest.raises(SketchbookError, match="at least 1 drawing for each of train, valid, test"):
        write(tmp_path / "book", counts=counts)


def test_command_writes_a_book_and_refuses_to_overwrite_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(tmp_path / "book"), *(part for split in (*SPLITS, OTHER) for part in (f"--{split}", "1"))]
    assert main(arguments) == 0
    assert len(files(tmp_path / "book")) == 38
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == f"sketchbook: 30 drawings of 10 breeds and 8 of other things in {tmp_path / 'book'}\n"
    assert "is not an empty folder" in printed.err


def height_over_length(breed: str) -> float:
    """Return the proportions of the standing dog without head and tail. They do not depend on the picture's scale."""
    bones = skeleton(BREEDS[breed], STANDING)
    left, bottom, right, top = bounds(
        [outline for spine, _ in bones.legs for outline in tube(spine)] + tube(bones.back)
    )
    return (top - bottom) / (right - left)


def test_short_legs_make_long_low_dogs() -> None:
    ratio = {breed: height_over_length(breed) for breed in BREEDS}
    low = {breed for breed, value in ratio.items() if value < 0.62}
    assert low == {"Dachshund", "Pembroke"}
    assert min(ratio, key=lambda breed: ratio[breed]) == "Dachshund"
    assert ratio["Doberman"] > 1.5 * ratio["Pembroke"]


@pytest.fixture(scope="module")
def coats() -> dict[str, list[tuple[int, int, int]]]:
    """Return the pixels of each breed's standing dog, without a background."""
    return {breed: dog_pixels(breed) for breed in BREEDS}


def dog_pixels(breed: str) -> list[tuple[int, int, int]]:
    background = (0, 255, 0)
    picture = Image.new("RGB", (160, 160), background)
    rng = Random(1)
    subject = dog(BREEDS[breed], STANDING, rng)
    painter = Painter(picture, Frame(scale=70, x=70, ground=150), rng)
    for part in (*subject.body, *subject.head):
        painter.paint(part)
    raw = picture.tobytes()
    pixels = zip(raw[::3], raw[1::3], raw[2::3], strict=True)
    return [pixel for pixel in pixels if pixel != background]


def share(pixels: list[tuple[int, int, int]], has_colour: Callable[[tuple[int, int, int]], bool]) -> float:
    return sum(map(has_colour, pixels)) / len(pixels)


def dark(pixel: tuple[int, int, int]) -> bool:
    return max(pixel) < 90


def pale(pixel: tuple[int, int, int]) -> bool:
    """Whether it is white fur, also in the shade: light, and almost without colour."""
    return min(pixel) > 110 and max(pixel) - min(pixel) < 40


def tan(pixel: tuple[int, int, int]) -> bool:
    return pixel[0] - pixel[2] >= 40


def test_coats_have_the_colours_of_the_breed(coats: dict[str, list[tuple[int, int, int]]]) -> None:
    colours = {breed: (share(p, dark), share(p, pale), share(p, tan)) for breed, p in coats.items()}
    assert min(colours["Beagle"]) > 0.15  # tricolour: black, white and tan
    assert colours["Samoyed"][1] > 0.9  # white all over
    assert colours["Dalmatian"][1] > 0.6  # white
    assert 0.1 < colours["Dalmatian"][0] < 0.4  # with black spots
    assert colours["Dalmatian"][2] < 0.02  # and nothing else
    assert colours["Doberman"][0] > 0.6  # black
    assert colours["Doberman"][2] > 0.1  # and tan
    assert colours["Siberian_husky"][1] < colours["Samoyed"][1] - 0.2  # a grey back
    assert min(colours["Pembroke"][1:]) > 0.2  # orange and white
    assert min(colours["Golden_retriever"][2], colours["Dachshund"][2]) > 0.9  # one colour
    assert colours["Pug"][0] > 0.08  # fawn with a black mask


def test_contact_sheet_has_a_row_for_each_breed() -> None:
    sheet = contact_sheet(columns=2, cell=32, breeds=["Pug", "Beagle"])
    assert sheet.size == (64, 2 * (32 + 16))
    assert sheet.crop((0, 16, 32, 48)).tobytes() != sheet.crop((0, 64, 32, 96)).tobytes()


def test_examples_of_the_page_are_drawings_of_the_sketchbook(tmp_path: Path) -> None:
    draw_examples(tmp_path)
    names = files(FOLDER).keys()
    assert files(tmp_path).keys() == names
    assert set(re.findall(r"page/examples/([^\"]+)", (FOLDER.parent / "index.html").read_text())) == names
    # Another JPEG encoder changes pixels by less than 2 of 255 on average, another drawing by more.
    for name in names:
        difference = ImageChops.difference(Image.open(tmp_path / name), Image.open(FOLDER / name))
        assert max(ImageStat.Stat(difference).mean) < 2, name
