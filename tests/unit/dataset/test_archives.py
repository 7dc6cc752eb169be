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
    with pytest.raises(DatasetError, match=r"no photos found; unpack dogs\.zip there, or give"):
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


@pytest.mark.parametrize("limit", ["ZIP64_LIMIT", "ZIP_FILECOUNT_LIMIT"])
def test_a_zip64_is_read(tmp_path, monkeypatch, limit):
    """As zips are written that are larger than 4 GB, or have more files than 16 bits count."""
    monkeypatch.setattr(zipfile, limit, 5)
    write_zip(tmp_path / "x.zip")
    monkeypatch.undo()
    packed = (tmp_path / "x.zip").read_bytes()
    assert b"PK\6\6" in packed  # Zip64's own end of the directory
    if limit == "ZIP64_LIMIT":
        assert packed.rindex(b"\xff\xff\xff\xff") > packed.index(b"PK\1\2")  # sizes that stand in the extra field
    source = open_source(tmp_path / "x.zip")
    assert source.listing.counts() == {"train": 4, "valid": 4, "test": 4}
    assert read_all(source) == sorted(map(content, PHOTOS))


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"./{name}",
        lambda name: name.replace("/", "//"),
        lambda name: name.replace("/", "\\") if "train" in name else name,
    ],
    ids=["./", "//", "backslashes beside slashes"],
)
def test_names_that_are_not_plain_are_read(tmp_path, rename):
    for path in (tmp_path / "x.zip", tmp_path / "x.tar"):
        if path.suffix == ".zip":
            write_zip(path, lambda name: rename(name).encode())
        else:
            with tarfile.open(path, "w") as archive:
                for photo in PHOTOS:
                    member = tarfile.TarInfo(rename(photo))
                    member.size = len(content(photo))
                    archive.addfile(member, io.BytesIO(content(photo)))
        assert read_all(open_source(path)) == sorted(map(content, PHOTOS))


def test_an_entry_of_an_empty_class_is_refused_and_that_of_a_class_with_photos_is_not(tmp_path):
    write_zip(tmp_path / "x.zip")
    write_tar(tmp_path / "x.tar")
    for folder, classes in (("train/001.A/", 2), ("train/003.Empty/", 0)):
        with zipfile.ZipFile(tmp_path / "x.zip", "a") as archive:
            archive.writestr(zipfile.ZipInfo(folder), b"")
        with tarfile.open(tmp_path / "x.tar", "a") as packed:
            entry = tarfile.TarInfo(folder)
            entry.type = tarfile.DIRTYPE
            packed.addfile(entry)
        for path in (tmp_path / "x.zip", tmp_path / "x.tar"):
            if classes:
                assert (len(open_source(path).listing.classes), open_source(path).listing.left_out) == (classes, ())
            else:
                with pytest.raises(DatasetError, match=r"read: '003.Empty' \(1 empty folder in train/\); fill"):
                    open_source(path)


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_tar_behind_a_tar_is_refused(tmp_path, compress):
    one = write_tar(tmp_path / "x.tar").read_bytes()
    (tmp_path / "x.tar").write_bytes(compress(one + one))
    with pytest.raises(DatasetError, match=r"another tar follows behind its end, .*tar -xif"):
        open_source(tmp_path / "x.tar")
    (tmp_path / "x.tar").write_bytes(compress(one + bytes(20_480)))
    assert len(read_all(open_source(tmp_path / "x.tar"))) == len(PHOTOS)


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_sparse_file_of_a_tar_is_read(tmp_path, compress):
    """As GNU tar -S writes one in the form 1.0: the map of its parts, then these."""
    photo, part = b"a" * 1000 + bytes(3000) + b"b" * 500, b"2\n0\n1000\n4000\n500\n"
    stored = part.ljust(512, b"\0") + b"a" * 1000 + b"b" * 500
    packed = io.BytesIO(write_tar(tmp_path / "x.tar").read_bytes())
    with tarfile.open(fileobj=packed, mode="a") as archive:
        member = tarfile.TarInfo("train/001.A/s.jpg")
        member.size = len(stored)
        member.pax_headers = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": member.name,
            "GNU.sparse.realsize": str(len(photo)),
        }
        archive.addfile(member, io.BytesIO(stored))
    (tmp_path / "x.tar").write_bytes(compress(packed.getvalue()))
    source = open_source(tmp_path / "x.tar")
    assert source.read(source.listing.of("train")[2]) == photo
    assert len(read_all(source)) == len(PHOTOS) + 1


def test_a_zip_whose_offsets_do_not_fit_is_refused(tmp_path):
    data = bytearray(write_zip(tmp_path / "x.zip").read_bytes())
    at = data.rfind(b"PK\1\2")
    data[at + 42 : at + 46] = bytes(4)  # as an offset that is counted modulo 4 GB
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(DatasetError, match="its list of files does not fit its content, as in those of more than 4 GB"):
        open_source(tmp_path / "x.zip")


@pytest.mark.parametrize(
    ("content_", "sentence"),
    [
        (b"", "is empty; fetch or pack it anew"),
        (b"<!DOCTYPE html><html>", "is a web page: the download needs a login"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"Rar!\x1a\x07\1\0", "is a RAR archive; unpack it"),
        (b"7z\xbc\xaf'\x1c", "is a 7-Zip archive"),
        (b"\x28\xb5\x2f\xfd", "is compressed by Zstandard"),
        (b"PK\x07\x08PK\3\4", "is a part of an archive in parts"),
        (b"\xff\xd8\xff\xe0" + bytes(600), "is one file .image/jpeg.; give the folder or archive with all photos"),
        (gzip.compress(b"PK\3\4", mtime=0), "is a zip that was compressed again"),
        (gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), "was compressed twice"),
    ],
)
@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.photos"])
def test_a_file_that_is_no_archive_is_named(tmp_path, name, content_, sentence):
    (tmp_path / name).write_bytes(content_)
    with pytest.raises(DatasetError, match=sentence) as refused:
        open_source(tmp_path / name)
    assert "damaged" not in str(refused.value)


def test_parts_of_a_zip_are_named(tmp_path):
    packed = bytearray(write_zip(tmp_path / "x.zip").read_bytes())
    packed[-18:-16] = b"\3\0"  # number of this disk
    (tmp_path / "x.zip").write_bytes(packed[2000:])
    (tmp_path / "x.zip.001").write_bytes(packed[:3000])
    with pytest.raises(DatasetError, match="is the last of several parts, so join them"):
        open_source(tmp_path / "x.zip")
    with pytest.raises(DatasetError, match="is a part of an archive in parts; join them"):
        open_source(tmp_path / "x.zip.001")


@pytest.mark.parametrize(("address", "command"), [("https://x.y/d.zip", "curl -LO"), ("s3://b/dogs/", "aws s3 cp")])
def test_an_address_is_no_file(address, command):
    with pytest.raises(DatasetError, match=f"an address is no folder or archive of this machine; fetch it .{command}"):
        open_source(address)
