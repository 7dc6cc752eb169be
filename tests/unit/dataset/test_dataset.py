"""The dataset package: layout rules and reading from folder, zip and tar."""

import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from dataset import DatasetError, LeftOut, ReadError, Reason, breed_name, listing, open_source
from dataset.archive import tar_members, zip_members

FILES = [
    (f"{split}/{breed}/{n}.jpg", 10)
    for split in ("train", "valid", "test")
    for breed in ("001.A", "002.B_c")
    for n in "12"
]


def tree(folder: Path, files=FILES) -> Path:
    for path, size in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(path.encode().ljust(size)[: max(size, len(path))])
    return folder


def test_listing_separates_photos_from_other_files():
    result = listing([*FILES, ("train/001.A/notes.txt", 5), ("README", 1), (".DS_Store", 1)], "x")
    assert result.classes == ("001.A", "002.B_c")
    assert result.counts() == {"train": 4, "valid": 4, "test": 4}
    assert result.ignored == ("README", "train/001.A/notes.txt")
    assert [photo.path for photo in result.of("valid")] == sorted(p for p, _ in FILES if p.startswith("valid"))


def test_listing_separates_photos_of_no_class():
    other = ["other/1.jpg", "other/a/b/2.PNG", "other/cats/1.jpg"]
    junk = ["other/.DS_Store", "other/cats/._1.jpg", "other/Thumbs.db", "other.jpg"]
    result = listing([*FILES, *((path, 7) for path in [*other, *junk, "other/cats/notes.txt"])], "x")
    assert result.classes == ("001.A", "002.B_c")
    assert [(photo.path, photo.label) for photo in result.of("other")] == [(path, "") for path in other]
    assert result.counts() == {"train": 4, "valid": 4, "test": 4, "other": 3}
    assert result.ignored == ("other.jpg", "other/cats/notes.txt")
    assert result.fingerprint() != listing(FILES, "x").fingerprint()


def test_listing_accepts_a_class_called_other():
    result = listing([*FILES, *((f"{split}/other/1.jpg", 10) for split in ("train", "valid", "test"))], "x")
    assert result.classes == ("001.A", "002.B_c", "other")
    assert result.of("other") == ()
    assert result.counts() == {"train": 5, "valid": 5, "test": 5}


def test_listing_skips_one_folder_around_the_splits():
    result = listing([(f"dogImages/{path}", size) for path, size in FILES], "x")
    assert result.prefix == "dogImages/"
    assert result.fingerprint() == listing(FILES, "elsewhere").fingerprint()


def test_fingerprint_changes_with_a_photo():
    changed = [(path, size + (path == FILES[0][0])) for path, size in FILES]
    assert listing(changed, "x").fingerprint() != listing(FILES, "x").fingerprint()


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ([], "no photos found"),
        ([("other/cats/1.jpg", 10), ("README", 1)], "no photos found"),
        ([("other/1.jpg", 10), *(f for f in FILES if f[0].startswith("train"))], "no photos in valid/, test/"),
        ([f for f in FILES if not f[0].startswith("train")], "no photos in train/"),
        ([f for f in FILES if not f[0].startswith("test/002")], r"class '002.B_c' has 0 photos in test/"),
        ([f for f in FILES if "002" not in f[0]], "only 1 class"),
    ],
)
def test_listing_refuses_with_a_sentence(files, sentence):
    with pytest.raises(DatasetError, match=sentence):
        listing(files, "x")


def test_breed_name_has_no_number_and_no_underscores():
    assert breed_name("005.Shih_Tzu") == "Shih Tzu"
    assert breed_name("beagle") == "beagle"


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("n02088364-beagle", "Beagle"),
        ("n02105855-Shetland_sheepdog", "Shetland sheepdog"),
        ("n02086240-Shih-Tzu", "Shih Tzu"),
        ("n02088364", "Beagle"),
        ("n02115913", "Dhole"),
        ("n02123045", "n02123045"),
        ("001.black-and-tan", "black-and-tan"),
    ],
)
def test_breed_name_has_no_id_of_wordnet(label, name):
    assert breed_name(label) == name


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "gztar"])
def test_source_reads_every_photo_from_every_form(tmp_path, kind):
    files = [*FILES, ("other/1.jpg", 10), ("other/cats/1.jpg", 10)]
    folder = tree(tmp_path / "data" / "dogs", files)
    path = folder if kind == "folder" else Path(shutil.make_archive(str(tmp_path / "x"), kind, folder.parent))
    source = open_source(path)
    assert source.listing.counts() == {"train": 4, "valid": 4, "test": 4, "other": 2}
    assert {p.path: source.read(p) for p in source.listing.photos} == {
        path: (folder / path).read_bytes() for path, _ in files
    }


def test_source_opens_a_channel_that_holds_one_archive(tmp_path):
    archive = shutil.make_archive(str(tmp_path / "dogs"), "zip", tree(tmp_path / "data"))
    channel = tmp_path / "channel"
    channel.mkdir()
    shutil.move(archive, channel)
    assert len(open_source(channel).listing.photos) == 12


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda p: p / "missing", "no such file or folder"),
        (lambda p: p, "the folder is empty"),
        (lambda p: (p / "a.zip").write_bytes(b"no zip") and p / "a.zip", "not a readable zip"),
        (lambda p: (p / "a.tar").write_bytes(b"no tar" * 500) and p / "a.tar", "not a readable tar"),
        (lambda p: (p / "a.rar").write_bytes(b"x") and p / "a.rar", "neither a folder nor an archive"),
    ],
)
def test_source_refuses_with_a_sentence(tmp_path, make, sentence):
    with pytest.raises(DatasetError, match=sentence):
        open_source(make(tmp_path))


@pytest.mark.parametrize("name", ["../evil.jpg", "/etc/evil.jpg", "train/../../evil.jpg"])
def test_archives_with_members_outside_themselves_are_refused(name):
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"x")
    with tarfile.open(fileobj=tarred, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    zipped.seek(0), tarred.seek(0)
    for read, file in ((zip_members, zipped), (tar_members, tarred)):
        with pytest.raises(DatasetError, match="has members outside itself"):
            read(file, "x")


def test_damaged_member_makes_only_its_photo_unreadable(tmp_path):
    archive = Path(shutil.make_archive(str(tmp_path / "x"), "zip", tree(tmp_path / "data")))
    source = open_source(archive)
    photo = source.listing.photos[0]
    content = source.read(photo)
    archive.write_bytes(archive.read_bytes().replace(content, bytes(len(content)), 1))
    with pytest.raises(ReadError, match=photo.path):
        open_source(archive).read(photo)


def test_a_name_that_is_not_utf8_leaves_out_its_file_only(tmp_path):
    folder = tree(tmp_path / "data")
    try:
        (folder / "train" / "001.A" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    source = open_source(folder)
    assert len(source.listing.photos) == 12
    assert source.listing.left_out == (LeftOut("train/001.A/caf\\udce9.jpg", Reason.NAME, "train", "001.A"),)
