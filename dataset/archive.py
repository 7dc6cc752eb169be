"""List the members of a zip or tar: names as people wrote them, links, and what cannot be read."""

import bz2
import gzip
import lzma
import posixpath
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any, Generic, TypeVar

from dataset.layout import DatasetError, LeftOut, Reason, named

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
_MAX_LINKS = 40  # as many links to links as Linux follows
_T = TypeVar("_T")


@dataclass(frozen=True)
class Members(Generic[_T]):
    """What an archive contains.

    Attributes:
        files: the archive's own record of each file, by path.
        sizes: size in bytes of each file.
        left_out: members that are no files that can be read.
    """

    files: dict[str, _T]
    sizes: dict[str, int]
    left_out: tuple[LeftOut, ...]


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
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, struct.error) as error:
        raise DatasetError(
            f"dataset {where}: not a readable zip archive; it is damaged or not complete, so copy or pack it anew"
        ) from error
    names = _zip_names(infos, where)
    _refuse_escapes(names, where)
    files, left_out = {}, []
    for name, info in zip(names, infos, strict=True):
        if name.endswith("/"):
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
    # Windows PowerShell 5 writes backslashes.
    if not any("/" in name for name in names):
        names = [name.replace("\\", "/") for name in names]
    return names


def _unicode_path(extra: bytes, raw: bytes) -> str:
    """Return the name in Info-ZIP's extra field; empty without one, or if it belongs to another name."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        body, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == _UNICODE_PATH and len(body) > 5 and struct.unpack_from("<I", body, 1)[0] == zlib.crc32(raw):
            return body[5:].decode()
    return ""


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


def tar_members(file: IO[bytes], where: str) -> Members[tarfile.TarInfo]:
    """Return the files of a tar, compressed or not, with those that links name. The stream is read once.

    Raises:
        DatasetError: the stream is no tar, or has members outside itself.
    """
    try:
        stream = _Stream(file)
        openers = [opener for start, opener in _OPENERS.items() if stream.head.startswith(start)]
        content: Any = _Stream(openers[0](stream) if openers else stream)
        with tarfile.open(fileobj=content, mode="r|") as archive:
            members = list(archive)
        if content.tail.strip(b"\0"):  # tarfile takes a missing end for an end.
            raise EOFError
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise DatasetError(
            f"dataset {where}: not a readable tar archive; it is damaged or not complete, so copy or pack it anew"
        ) from error
    _refuse_escapes([member.name for member in members], where)
    files, left_out = {}, []
    links: dict[str, str] = {}
    for member in members:
        name = posixpath.normpath(member.name)
        if member.isreg():
            if name in files:
                left_out.append(LeftOut(name, Reason.TWICE))
            files[name] = member
        elif member.islnk():
            links[name] = posixpath.normpath(member.linkname)
        elif member.issym():
            links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
    left_out += _follow(files, links)
    return Members(files, {name: member.size for name, member in files.items()}, tuple(left_out))


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
