"""Archives as other programs write them."""

import gzip
import io
import struct
import tarfile
import zipfile
import zlib

import pytest

from dataset import DatasetError, LeftOut, ReadError, Reason, open_source

CLASSES = ("001.A", "002.B")
PHOTOS = [f"{split}/{label}/{n}.jpg" for split in ("train", "valid", "test") for label in CLASSES for n in "12"]


def content(path):
    return path.encode() * 20


class RawName(zipfile.ZipInfo):
    """A member whose name is written as given bytes, without the flag of UTF-8."""

    raw = b""

    def _encodeFilenameFlags(self):
        return self.raw, self.flag_bits & ~0x800


def write_zip(path, encode=lambda name: name.encode(), extra=lambda _: b"", compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for photo in PHOTOS:
            name = photo.replace("002.B", "002.\u67f4\u72ac")
            member = RawName(name)
            member.raw, member.extra, member.compress_type = encode(name), extra(name), compression
            archive.writestr(member, content(photo))
    return path


def write_tar(path, mode="w"):
    with tarfile.open(path, mode) as archive:
        for photo in PHOTOS:
            member = tarfile.TarInfo(f"./{photo}")
            member.size = len(content(photo))
            archive.addfile(member, io.BytesIO(content(photo)))
    return path


def unicode_path(name):
    raw = name.encode("cp932")
    body = b"\1" + struct.pack("<I", zlib.crc32(raw)) + name.encode()
    return struct.pack("<HH", 0x7075, len(body)) + body


def read_all(source):
    return sorted(source.read(photo) for photo in source.listing.photos)


@pytest.mark.parametrize(
    ("encode", "extra"),
    [
        (lambda name: name.encode(), lambda _: b""),
        (lambda name: name.encode("cp932"), unicode_path),
        (lambda name: name.replace("/", "\\").encode(), lambda _: b""),
    ],
    ids=["UTF-8 without the flag", "Unicode path", "backslashes"],
)
def test_names_of_other_zip_programs_are_read(tmp_path, encode, extra):
    source = open_source(write_zip(tmp_path / "x.zip", encode, extra))
    assert source.listing.classes == ("001.A", "002.\u67f4\u72ac")
    assert read_all(source) == sorted(map(content, PHOTOS))


@pytest.mark.parametrize("code_page", ["cp932", "gbk", "cp949"])
def test_names_in_an_unknown_code_page_are_refused(tmp_path, code_page):
    with pytest.raises(DatasetError, match=r"does not say how its names are written: .*make it anew with UTF-8 names"):
        open_source(write_zip(tmp_path / "x.zip", lambda name: name.encode(code_page, "replace")))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_of_compression_are_read(tmp_path, compression):
    assert read_all(open_source(write_zip(tmp_path / "x.zip", compression=compression))) == sorted(map(content, PHOTOS))


@pytest.mark.parametrize(
    ("at_local", "at_central", "value", "sentence"),
    [
        (8, 10, 9, "'train/001.A/1.jpg' is compressed by Deflate64, .*pack the zip anew with Deflate"),
        (8, 10, 77, "is compressed by method 77"),
        (6, 8, 1, "'train/001.A/1.jpg' is encrypted; pack the zip anew without a password"),
    ],
)
def test_members_that_cannot_be_read_are_refused(tmp_path, at_local, at_central, value, sentence):
    data = bytearray(write_zip(tmp_path / "x.zip").read_bytes())
    for signature, offset in ((b"PK\3\4", at_local), (b"PK\1\2", at_central)):
        at = data.find(signature)
        while at >= 0:
            data[at + offset : at + offset + 2] = struct.pack("<H", value)
            at = data.find(signature, at + 4)
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(DatasetError, match=sentence):
        open_source(tmp_path / "x.zip")


def test_a_zip_with_bytes_before_it_and_a_comment_is_read(tmp_path):
    path = write_zip(tmp_path / "x.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"dogs"
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    assert read_all(open_source(path)) == sorted(map(content, PHOTOS))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.tgz", "x.zip", "x.tar.xz", "x"])
def test_the_content_of_an_archive_decides_and_not_its_name(tmp_path, mode, name):
    assert read_all(open_source(write_tar(tmp_path / name, mode))) == sorted(map(content, PHOTOS))


def test_a_zip_named_tar_is_read(tmp_path):
    assert read_all(open_source(write_zip(tmp_path / "x.tar"))) == sorted(map(content, PHOTOS))


def test_links_inside_a_tar_are_read(tmp_path):
    path = write_tar(tmp_path / "x.tar")
    links = [
        (tarfile.LNKTYPE, "train/001.A/hard.jpg", "train/001.A/1.jpg"),
        (tarfile.SYMTYPE, "train/001.A/soft.jpg", "../002.B/1.jpg"),
        (tarfile.SYMTYPE, "train/001.A/chain.jpg", "soft.jpg"),
        (tarfile.SYMTYPE, "train/003.C", "001.A"),
        (tarfile.SYMTYPE, "valid/003.C", "001.A"),
        (tarfile.SYMTYPE, "test/003.C", "001.A"),
        (tarfile.SYMTYPE, "train/001.A/lost.jpg", "/nowhere.jpg"),
        (tarfile.SYMTYPE, "train/001.A/loop.jpg", "loop.jpg"),
        (tarfile.SYMTYPE, "train/001.A/up", ".."),
    ]
    with tarfile.open(path, "a") as archive:
        for kind, name, target in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    source = open_source(path)
    read = {photo.path: source.read(photo) for photo in source.listing.photos}
    assert source.listing.classes == ("001.A", "002.B", "003.C")
    assert read["train/001.A/hard.jpg"] == content("train/001.A/1.jpg")
    assert read["train/001.A/soft.jpg"] == read["train/001.A/chain.jpg"] == content("train/002.B/1.jpg")
    assert read["train/003.C/1.jpg"] == content("train/001.A/1.jpg")
    assert {file.path for file in source.listing.left_out} == {
        "train/001.A/lost.jpg",
        "train/001.A/loop.jpg",
        "train/001.A/up",
    }


@pytest.mark.parametrize("length", [600, 2 * 1024, 5 * 512 + 100, 3 * 1024])
@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_an_archive_that_is_not_complete_is_refused(tmp_path, write, length):
    path = write(tmp_path / ("x.zip" if write is write_zip else "x.tar"))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DatasetError, match="it is damaged or not complete, so copy or pack it anew"):
        open_source(path)


def test_a_compressed_tar_that_is_not_complete_is_refused(tmp_path):
    path = tmp_path / "x.tgz"
    path.write_bytes(gzip.compress(write_tar(tmp_path / "x.tar").read_bytes())[:-200])
    with pytest.raises(DatasetError, match="damaged or not complete"):
        open_source(path)


def test_an_empty_archive_has_no_photos(tmp_path):
    zipfile.ZipFile(tmp_path / "x.zip", "w").close()
    tarfile.open(tmp_path / "x.tar", "w").close()
    for name in ("x.zip", "x.tar"):
        with pytest.raises(DatasetError, match="no photos found"):
            open_source(tmp_path / name)


def test_an_archive_inside_an_archive_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.write(write_zip(tmp_path / "dogs.zip"), "dogs.zip")
    with pytest.raises(DatasetError, match="no photos found; 1 archives inside the dataset"):
        open_source(tmp_path / "outer.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_a_name_that_an_archive_has_twice_the_last_counts(tmp_path):
    with zipfile.ZipFile(write_zip(tmp_path / "x.zip"), "a") as archive:
        archive.writestr("train/001.A/1.jpg", b"new")
    source = open_source(tmp_path / "x.zip")
    assert source.listing.left_out == (LeftOut("train/001.A/1.jpg", Reason.TWICE, "train", "001.A"),)
    assert source.read(source.listing.of("train")[0]) == b"new"


def test_a_read_raises_nothing_but_a_read_error(tmp_path):
    for path in (write_zip(tmp_path / "x.zip", compression=zipfile.ZIP_LZMA), write_tar(tmp_path / "x.tar")):
        source = open_source(path)
        path.write_bytes(bytes(300))
        with pytest.raises(ReadError, match=r"test/002\.[^/]+/2.jpg"):
            source.read(source.listing.of("test")[-1])
