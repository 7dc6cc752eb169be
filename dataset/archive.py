"""List the members of a zip or tar: names as people wrote them, links, and what cannot be read."""

import bz2
import copy
import gzip
import io
import itertools
import lzma
import posixpath
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, Any, Generic, TypeVar

from dataset import not_archives
from dataset.class_lists import MAX_LIST_BYTES, ListError, is_list
from dataset.layout import MAX_PHOTO_BYTES, DatasetError, LeftOut, Reason, named

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
HEAD_BYTES = 512  # so many first bytes tell what an archive is
_ZIP_STARTS = (b"PK\3\4", b"PK\5\6")
_OPENERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
_ENCRYPTED, _UTF8 = 0x1, 0x800  # flags of a zip's member
_UNICODE_PATH = 0x7075  # Info-ZIP's extra field with the name in UTF-8
_METHODS = {0: "stored", 8: "Deflate", 12: "bzip2", 14: "LZMA"}
_UNREAD_METHODS = {1: "Shrink", 6: "Implode", 9: "Deflate64", 93: "Zstandard", 95: "XZ", 98: "PPMd", 99: "AES"}
_LZMA_STEP = 4096  # bytes; zipfile reads no less, and they hold 30 MB at most
# Members of a tar that are headers of the next one, with a long name or further fields. They are held in memory.
_LONG_HEADERS = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)
_MAX_HEADER = 1_000_000  # bytes of one
_MAX_LINKS = 40  # as many links to links as Linux follows
_BROKEN = "not a readable zip archive; it is damaged or not complete, so copy or pack it anew"
_MISFIT = (
    "not a readable zip archive; its list of files does not fit its content, as in those of more than 4 GB that macOS "
    "writes, so pack it anew (zip -r photos.zip FOLDER)"
)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Members(Generic[_T]):
    """What an archive contains.

    Attributes:
        files: the archive's own record of each file, by path.
        sizes: size in bytes of each file.
        left_out: members that are no files that can be read.
        lists: content of what may be lists of classes, by path. A zip's are read when they are needed.
    """

    files: dict[str, _T]
    sizes: dict[str, int]
    left_out: tuple[LeftOut, ...]
    lists: dict[str, bytes] = field(default_factory=dict)


def archive_kind(head: bytes, name: str) -> str:
    """Return ``zip`` or ``tar`` by an archive's first bytes, and by its name if they are unknown; else an empty string.

    Args:
        head: the first ``HEAD_BYTES`` of the file.
        name: the file's name.
    """
    if head.startswith(_ZIP_STARTS):
        return "zip"
    if head.startswith(tuple(_OPENERS)) or head[257:262] == b"ustar":
        return "tar"
    if not name.lower().endswith(ARCHIVE_SUFFIXES):
        return ""
    return "zip" if name.lower().endswith(".zip") else "tar"


def zip_members(file: IO[bytes], where: str) -> Members[zipfile.ZipInfo]:
    """Return the files of a zip. Only its central directory is read.

    Raises:
        DatasetError: the file is no zip, has members outside itself, or members or names that cannot be read.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            infos, end = archive.infolist(), archive.start_dir
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, struct.error) as error:
        raise DatasetError(f"dataset {where}: {_why_no_zip(file, where, _BROKEN)}") from error
    if _overlap(infos, end):
        raise DatasetError(f"dataset {where}: {_why_no_zip(file, where, _MISFIT)}")
    names = _zip_names(infos, where)
    _refuse_escapes(names, where)
    files, left_out = {}, []
    for written, info in zip(names, infos, strict=True):
        name = posixpath.normpath(written)
        if written.endswith("/"):
            left_out.append(LeftOut(name, Reason.FOLDER))
            continue
        if info.external_attr >> 28 == 0xA and info.create_system == 3:  # a link of Unix
            left_out.append(LeftOut(name, Reason.LINK))
            continue
        if info.flag_bits & _ENCRYPTED:
            raise DatasetError(f"dataset {where}: '{name}' is encrypted; pack the zip anew without a password")
        if info.compress_type not in _METHODS:
            method = _UNREAD_METHODS.get(info.compress_type, f"method {info.compress_type}")
            raise DatasetError(
                f"dataset {where}: '{name}' is compressed by {method}, which is not read; pack the zip anew with "
                "Deflate or without compression (zip -0 -r photos.zip FOLDER), or as a tar"
            )
        if name in files:
            left_out.append(LeftOut(name, Reason.TWICE))
        files[name] = info
    return Members(files, {name: info.file_size for name, info in files.items()}, tuple(left_out))


def zip_reader(file: IO[bytes], members: Members[zipfile.ZipInfo]) -> Callable[[str], bytes]:
    """Return a function that returns a file of an open zip."""

    def read(path: str) -> bytes:
        try:
            with zipfile.ZipFile(file) as archive:
                return unpacked(archive, members.files[path])
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, zlib.error, lzma.LZMAError) as error:
            raise ListError(f"{path} is damaged in the archive; copy or pack it anew") from error

    return read


def unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Return a file of a zip. No more of it is unpacked than the zip says that there is.

    Raises:
        zipfile.BadZipFile: the file is damaged; so do other errors, depending on how it is compressed.
    """
    if info.compress_type == zipfile.ZIP_BZIP2:
        return _unpacked_bzip2(archive, info)
    # Deflate stops where it is told to. LZMA unpacks all that it gets, so it gets little at a time.
    step = _LZMA_STEP if info.compress_type == zipfile.ZIP_LZMA else info.file_size
    content = bytearray()
    with archive.open(info) as member:
        while chunk := member.read(max(1, min(step, info.file_size - len(content)))):
            content += chunk
    return bytes(content)


def _unpacked_bzip2(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Unpack a file without zipfile, which cannot stop bzip2: 4 KB of it can hold gigabytes."""
    packed = copy.copy(info)
    packed.compress_type, packed.file_size = zipfile.ZIP_STORED, info.compress_size
    del packed.CRC  # It is that of the content.
    with archive.open(packed) as member:
        content = bz2.BZ2Decompressor().decompress(member.read(2 * MAX_PHOTO_BYTES), info.file_size)
    if len(content) < info.file_size or zlib.crc32(content) != info.CRC:
        raise zipfile.BadZipFile(f"{info.filename} is damaged")
    return content


def tar_reader(members: Members[tarfile.TarInfo]) -> Callable[[str], bytes]:
    """Return a function that returns what may be a list of classes in a tar."""

    def read(path: str) -> bytes:
        if path not in members.lists:
            raise ListError(f"{path} is a link in the archive; pack the file itself")
        return members.lists[path]

    return read


def _why_no_zip(file: IO[bytes], where: str, otherwise: str) -> str:
    try:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - 65_557))
        if not_archives.is_last_part(file.read()):
            return "not a readable zip archive; it is the last of several parts, so join them (zip -s 0 X --out Y)"
        file.seek(0)
        return not_archives.words(file.read(HEAD_BYTES), where) or otherwise
    except OSError:
        return otherwise


def _overlap(infos: Iterable[zipfile.ZipInfo], end: int) -> bool:
    """Whether files of a zip lie in each other, or behind its end.

    Archive Utility of macOS writes offsets modulo 4 GB (https://github.com/thejoshwolfe/yauzl/issues/69).
    """
    places = [*sorted((info.header_offset, info.compress_size) for info in infos), (end, 0)]
    return places[0][0] < 0 or any(
        offset + 30 + size > following for (offset, size), (following, _) in itertools.pairwise(places)
    )


def _with_slashes(name: str) -> str:
    """Return a name with ``/`` if it was written with backslashes, as Windows PowerShell 5 does."""
    return name.replace("\\", "/") if "\\" in name and "/" not in name.removesuffix("/") else name


def _zip_names(infos: Iterable[zipfile.ZipInfo], where: str) -> list[str]:
    """Return the members' names with ``/``.

    Raises:
        DatasetError: how a name is written cannot be known.
    """
    names, unknown = [], []
    for info in infos:
        name = info.orig_filename.partition("\0")[0]
        if not info.flag_bits & _UTF8 and not name.isascii():
            raw = name.encode("cp437", "replace")  # how zipfile reads names without the flag
            try:
                name = _unicode_path(info.extra, raw) or raw.decode()
            except UnicodeDecodeError:
                unknown.append(f"'{name}'")
        names.append(name)
    if unknown:
        raise DatasetError(
            f"dataset {where}: the zip does not say how its names are written: {named(unknown)}; make it anew with "
            "UTF-8 names, for example with 7-Zip (add cu=on to its parameters) or as a tar"
        )
    return [_with_slashes(name) for name in names]


def _unicode_path(extra: bytes, raw: bytes) -> str:
    """Return the name in Info-ZIP's extra field; empty without one, or if it belongs to another name."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        body, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == _UNICODE_PATH and len(body) > 5 and struct.unpack_from("<I", body, 1)[0] == zlib.crc32(raw):
            return body[5:].decode()
    return ""


class _Member(tarfile.TarInfo):
    """A member of a tar, whose header must not be long. Names and fields of any length can be written as one."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _LONG_HEADERS and self.size > _MAX_HEADER:
            raise tarfile.ReadError("a header is too long")
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]


class _Stream:
    """A file that is read from start to end, of which the first and the last bytes read are known.

    Args:
        file: the file.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.head = self._unread = self.tail = file.read(HEAD_BYTES)

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        chunk: bytes = self._unread[:size]
        self._unread = self._unread[size:]
        if len(chunk) < size:
            chunk += self._file.read(size - len(chunk))
        self.tail = (self.tail + chunk)[-HEAD_BYTES:]
        return chunk


def tar_members(
    file: IO[bytes], where: str, look: Callable[[tarfile.TarInfo, bytes], None] | None = None
) -> Members[tarfile.TarInfo]:
    """Return the files of a tar, compressed or not, with those that links name. The stream is read once.

    Args:
        file: the tar.
        where: name of the tar in messages.
        look: called with the content of each file of up to ``MAX_PHOTO_BYTES`` bytes as it passes.

    Raises:
        DatasetError: the stream is no tar, or has members outside itself.
    """
    stream: _Stream | None = None
    content: Any = None
    try:
        stream = _Stream(file)
        openers = [opener for start, opener in _OPENERS.items() if stream.head.startswith(start)]
        content = _Stream(openers[0](stream) if openers else stream)
        with tarfile.open(fileobj=content, mode="r|", tarinfo=_Member) as archive:
            members, lists = [], {}
            for member in archive:
                members.append(member)
                is_a_list = is_list(member.name) and member.size <= MAX_LIST_BYTES
                if member.isreg() and (is_a_list or (look and member.size <= MAX_PHOTO_BYTES)):
                    content_file = archive.extractfile(member)
                    assert content_file
                    passing = content_file.read()
                    if is_a_list:
                        lists[posixpath.normpath(_with_slashes(member.name))] = passing
                    if look:
                        look(member, passing)
            tail = content.tail
            goes_on = _goes_on(archive.fileobj)
        if not goes_on and tail.strip(b"\0"):  # tarfile takes a missing end for an end.
            raise EOFError
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
        words = stream and not_archives.words(stream.head, where)
        words = words or (content and not_archives.inner_words(content.head))
        raise DatasetError(
            f"dataset {where}: "
            f"{words or 'not a readable tar archive; it is damaged or not complete, so copy or pack it anew'}"
        ) from error
    if goes_on:
        raise DatasetError(
            f"dataset {where}: another tar follows behind its end, which would be lost; pack all photos as one tar, or "
            "unpack it with tar -xif and give the folder"
        )
    _refuse_escapes([_with_slashes(member.name) for member in members], where)
    files, left_out = {}, []
    links: dict[str, str] = {}
    for member in members:
        name = posixpath.normpath(_with_slashes(member.name))
        if member.isdir():
            left_out.append(LeftOut(name, Reason.FOLDER))
        elif member.isreg():
            if name in files:
                left_out.append(LeftOut(name, Reason.TWICE))
            files[name] = member
        elif member.islnk():
            links[name] = posixpath.normpath(member.linkname)
        elif member.issym():
            links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
    left_out += _follow(files, links)
    return Members(files, {name: member.size for name, member in files.items()}, tuple(left_out), lists)


def _goes_on(file: Any) -> bool:
    """Whether another tar follows in the rest of a file of tarfile, as after ``cat a.tar b.tar``."""
    while block := file.read(tarfile.BLOCKSIZE):
        if block[257:262] == b"ustar":
            return True
    return False


def _follow(files: dict[str, tarfile.TarInfo], links: dict[str, str]) -> list[LeftOut]:
    """Add the files to which links lead; return the links that lead nowhere."""
    lost = []
    own = dict(files)
    folders: dict[str, list[str]] = {}
    for name in own:
        for folder in map(str, PurePosixPath(name).parents):
            folders.setdefault(folder, []).append(name)
    for name, first in links.items():
        target, steps = first, 0
        while target in links and steps < _MAX_LINKS:
            target, steps = links[target], steps + 1
        if target in own:
            files[name] = own[target]
        elif target in folders and not PurePosixPath(name).is_relative_to(target):
            files |= {f"{name}{inner[len(target) :]}": own[inner] for inner in folders[target]}
        else:
            lost.append(LeftOut(name, Reason.LINK))
    return lost


def _refuse_escapes(paths: list[str], where: str) -> None:
    outside = [
        path
        for path in paths
        if path.startswith(("/", "\\"))
        or re.match(r"[A-Za-z]:[\\/]", path)
        or ".." in PurePosixPath(path.replace("\\", "/")).parts
    ]
    if outside:
        raise DatasetError(f"dataset {where}: the archive has members outside itself: {named(outside)}")
