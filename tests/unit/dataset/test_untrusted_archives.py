"""Archives that somebody packed to do harm: what they unpack to, and names that a terminal would obey."""

import gzip
import io
import lzma
import os
import shutil
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dataset import DatasetError, ReadError, Reason, listing, open_source
from dataset.layout import MAX_PHOTO_BYTES
from dataset.names import is_plain, printable
from plan import photos as plan
from shared.s3 import Location
from tests.unit.functions.test_plan_photos import bucket

PHOTOS = {
    f"{split}/{label}/{n}.jpg": f"\xff\xd8\xff{split}{label}{n}\xff\xd9".encode("latin-1") * 100
    for split in ("train", "valid", "test")
    for label in ("001.A", "002.B")
    for n in range(2)
}
ODD = ["\x1b]0;owned\x07", "\x1b[2J", "\x9b31m", "\r", "\n", "\x7f", "\u202egpj", "\u2066", "\u2028", "\u0085"]


def packed_zip(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def packed_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def as_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


FORMS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "folder": lambda path, files: as_folder(path / "photos", files),
    "zip": lambda path, files: packed_zip(path / "photos.zip", files),
    "tar": lambda path, files: packed_tar(path / "photos.tar", files),
    "tar.gz": lambda path, files: packed_tar(path / "photos.tar.gz", files),
}


def peak(action: Callable[[], object]) -> int:
    """Return the bytes of Python's memory that an action takes."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("odd", ODD)
def test_name_that_a_terminal_obeys_is_left_out_whatever_holds_it(tmp_path: Path, form: str, odd: str) -> None:
    source = open_source(FORMS[form](tmp_path, PHOTOS | {f"train/001.A/x{odd}.jpg": b"x", f"{odd}.txt": b"x"}))
    assert sorted(source.read(photo) for photo in source.listing.photos) == sorted(PHOTOS.values())
    assert [file.reason for file in source.listing.left_out] == [Reason.NAME] * 2
    assert all(is_plain(file.path) and is_plain(file.label) for file in source.listing.left_out)


def of_odd_class(odd: str) -> dict[str, bytes]:
    splits = ("train", "valid", "test")
    return {f"data/{split}/003.C{odd}/x{n}.jpg": f"{split}{n}".encode() for split in splits for n in "12"}


@pytest.mark.parametrize("form", [*FORMS, "prefix in S3", "zip in S3"])
@pytest.mark.parametrize("odd", ODD)
def test_class_whose_name_a_terminal_obeys_is_refused_in_words_that_may_be_printed(
    tmp_path: Path, form: str, odd: str
) -> None:
    files = {f"data/{path}": content for path, content in PHOTOS.items()} | of_odd_class(odd)
    if form == "prefix in S3":
        stored, place = files, "data/"
    elif form == "zip in S3":
        stored, place = {"photos.zip": packed_zip(tmp_path / "photos.zip", files).read_bytes()}, "photos.zip"
    else:
        stored, place = {}, ""
        path = FORMS[form](tmp_path, files)
    with pytest.raises(DatasetError, match="2 with such names") as caught:
        plan.inspect(bucket(stored), Location("b", place)) if place else open_source(path)
    assert is_plain(str(caught.value))
    assert f"'003.C{printable(odd)}'" in str(caught.value)


def test_name_of_a_list_of_classes_is_held_to_the_same_rule() -> None:
    files = {f"{n}.jpg": 9 + n for n in range(30)} | {"labels.csv": 500}
    rows = "".join(f"{n},{('a', 'b', 'c' + chr(27) + '[2J')[n % 3]}\n" for n in range(30))
    result = listing(files.items(), "x", read=lambda _: f"id,breed\n{rows}".encode())
    assert result.classes == ("a", "b")
    assert [file.reason for file in result.left_out if "\\x1b" in file.path] == [Reason.NAME] * 10


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: packed_zip(folder / "x.zip", PHOTOS | {"../\x1b[2J.jpg": b""}),
        lambda folder: packed_tar(folder / "x.tar", PHOTOS | {"/\x1b[2J.jpg": b""}),
        lambda folder: as_folder(folder / "\x1b[2J", {"train/a/1.jpg": b"1"}),
        lambda folder: as_folder(folder / "x", {"\x1b[2J/.1.jpg": b"1", "train/.\x1b[2J": b""}),
        lambda folder: encrypted(folder / "x.zip"),
    ],
    ids=["zip", "tar", "folder", "hidden", "encrypted"],
)
def test_message_about_a_dataset_has_no_character_that_a_terminal_obeys(tmp_path: Path, make) -> None:
    path = make(tmp_path)
    with pytest.raises(DatasetError) as caught:
        open_source(path)
    assert is_plain(str(caught.value))


def encrypted(path: Path) -> Path:
    """Return a zip whose last member, with an odd name, says that it is encrypted."""
    packed_zip(path, PHOTOS | {"\x1b[2J.jpg": b"x"})
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    return path


def test_printable_text_shows_what_it_has() -> None:
    assert printable("a\x1b[1m\u202eb\nü👩\u200d🦰\ud800") == "a\\x1b[1m\\u202eb\\nü👩\u200d🦰\\ud800"
    assert printable("a\n\tb\r", keep="\n\t") == "a\n\tb\\r"


@pytest.mark.parametrize("form", FORMS)
def test_photo_of_more_than_a_hundred_megabytes_is_left_out_whatever_holds_it(tmp_path: Path, form: str) -> None:
    path = FORMS[form](tmp_path, PHOTOS | {"train/001.A/bomb.jpg": bytes(MAX_PHOTO_BYTES + 1)})
    sources = []
    assert peak(lambda: sources.append(open_source(path))) < 20_000_000
    assert [(file.path, file.reason) for file in sources[0].listing.left_out] == [
        ("train/001.A/bomb.jpg", Reason.LARGE)
    ]
    assert sorted(sources[0].read(photo) for photo in sources[0].listing.photos) == sorted(PHOTOS.values())


def test_photo_of_a_hundred_megabytes_is_read() -> None:
    files = dict.fromkeys(PHOTOS, 1000) | {"train/001.A/large.jpg": MAX_PHOTO_BYTES}
    assert len(listing(files.items(), "x").photos) == len(files)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_member_that_unpacks_to_more_than_the_zip_says_is_unreadable(tmp_path: Path, compression: int) -> None:
    bomb = "train/001.A/bomb.jpg"
    path = packed_zip(tmp_path / "x.zip", PHOTOS | {bomb: bytes(120_000_000)}, compression)
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\1\2")
    struct.pack_into("<I", content, entry + 24, 5000)  # the size of what it unpacks to
    path.write_bytes(content)
    source = open_source(path)
    (photo,) = [photo for photo in source.listing.photos if photo.path == bomb]

    def read() -> None:
        with pytest.raises(ReadError):
            source.read(photo)

    # LZMA unpacks what 4 KB hold.
    assert peak(read) < (80_000_000 if compression == zipfile.ZIP_LZMA else 2_000_000)


def test_file_that_has_grown_meanwhile_is_not_read_whole(tmp_path: Path) -> None:
    source = open_source(as_folder(tmp_path, PHOTOS))
    photo = source.listing.photos[0]
    os.truncate(tmp_path / source.listing.file(photo), 5 * MAX_PHOTO_BYTES)
    with pytest.raises(ReadError):
        source.read(photo)


def test_compressed_tar_is_not_held_in_memory(tmp_path: Path) -> None:
    large = {path: os.urandom(2_000_000) for path in PHOTOS}
    path = packed_tar(tmp_path / "x.tar.gz", large)
    sources = []
    assert peak(lambda: sources.append(open_source(path))) < 8_000_000
    source = sources[0]
    wanted = list(source.listing.photos) * 5
    with ThreadPoolExecutor(8) as pool:
        for photo, content in zip(wanted, pool.map(source.read, wanted), strict=True):
            assert content == large[photo.path]
    child = os.fork()
    if not child:  # A process that is forked reads from the same file.
        os._exit(any(source.read(photo) != large[photo.path] for photo in source.listing.photos))
    assert os.waitpid(child, 0)[1] == 0


def test_compressed_tar_that_finds_no_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed_tar(tmp_path / "x.tar.gz", PHOTOS)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(DatasetError, match=r"cannot be unpacked into .* \(No space left on device\).*TMPDIR"):
        open_source(path)


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_long_header_of_a_tar_is_not_held_in_memory(tmp_path: Path, compress, kind: bytes) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 200_000_000
    # Both formats may be several streams, one after the other: it need not be compressed whole.
    parts = [compress(header.tobuf()), *[compress(bytes(header.size // 100))] * 100]
    path = tmp_path / "x.tar.gz"
    path.write_bytes(b"".join([*parts, compress(packed_tar(tmp_path / "y.tar", PHOTOS).read_bytes())]))

    def refuse() -> None:
        with pytest.raises(DatasetError, match="not a readable tar archive"):
            open_source(path)

    assert peak(refuse) < 20_000_000
