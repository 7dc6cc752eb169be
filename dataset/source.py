"""Read the photos of a dataset from a folder, a ``.zip`` or a ``.tar[.gz]``."""

import functools
import hashlib
import os
import re
import shutil
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol

from dataset import not_archives
from dataset.archive import (
    ARCHIVE_SUFFIXES,
    HEAD_BYTES,
    archive_kind,
    tar_members,
    tar_reader,
    unpacked,
    zip_members,
    zip_reader,
)
from dataset.class_lists import ListError, Read
from dataset.duplicates import duplicates, of_equal_size, without_leaks
from dataset.layout import MAX_PHOTO_BYTES, DatasetError, LeftOut, Listing, Photo, Reason, is_junk, listing
from dataset.reading import AS_IT_IS, Reading


class ReadError(OSError):
    """The bytes of one photo cannot be read, because the disk or the archive member is damaged."""


class Source(Protocol):
    """A dataset whose photos can be read. ``read`` may be called from several threads and after a fork."""

    listing: Listing

    def read(self, photo: Photo) -> bytes:
        """Return the bytes of a photo.

        Raises:
            ReadError: this photo cannot be read. Other photos of the dataset may still be readable.
        """


def open_source(path: str | os.PathLike[str], reading: Reading = AS_IT_IS) -> Source:
    """Open a dataset: a folder with the splits, an archive, or a folder that contains one archive.

    A SageMaker channel delivers an archive inside a folder (``/opt/ml/input/data/dataset/dogs.zip``).

    Args:
        path: the folder or archive.
        reading: what to leave out, and how to make splits.

    Raises:
        DatasetError: the path does not exist, the archive cannot be read or has members outside
            itself, or ``listing`` refuses the layout.
    """
    source = _opened(Path(path), reading)
    if reading.drop_leaks:
        digests = {}
        for photo in of_equal_size(source.listing):
            with suppress(ReadError):
                digests[photo] = hashlib.sha256(source.read(photo)).digest()
        leaked = [photo for photo, _ in duplicates(digests).splits]
        source.listing = without_leaks(source.listing, leaked, str(path))
    return source


def _opened(path: Path, reading: Reading) -> Source:
    if path.is_dir():
        inside = [entry for entry in path.iterdir() if not is_junk(entry.name)]
        if not inside:
            raise DatasetError(f"dataset {path}: the folder is empty")
        if len(inside) == 1 and inside[0].is_file() and inside[0].name.lower().endswith(ARCHIVE_SUFFIXES):
            return _opened(inside[0], reading)
        return _Folder(path, reading)
    if address := re.match(r"([a-z0-9+]{2,}):/", str(path), re.IGNORECASE):
        fetch = "aws s3 cp --recursive" if address[1].casefold() == "s3" else "curl -LO"
        raise DatasetError(f"dataset {path}: an address is no folder or archive of this machine; fetch it ({fetch} …)")
    if not path.exists():
        raise DatasetError(f"dataset {path}: no such file or folder")
    try:
        kind = kind_of(path)
    except OSError as error:
        raise DatasetError(f"dataset {path}: cannot be read ({error.strerror})") from error
    if not kind:
        with open(path, "rb") as file:
            words = not_archives.words(file.read(HEAD_BYTES), path.name)
        words = words or f"neither a folder nor an archive ({', '.join(ARCHIVE_SUFFIXES)})"
        raise DatasetError(f"dataset {path}: {words}")
    return _Zip(path, reading) if kind == "zip" else _Tar(path, reading)


def kind_of(path: Path) -> str:
    """Return ``zip`` or ``tar`` for an archive, by its content; an empty string for any other file."""
    with open(path, "rb") as file:
        return archive_kind(file.read(HEAD_BYTES), path.name)


def _raising_read_error(read: Callable[[Any, Photo], bytes]) -> Callable[[Any, Photo], bytes]:
    """Turn the errors of files and archives into ReadError."""

    @functools.wraps(read)
    def wrapped(self: Any, photo: Photo) -> bytes:
        try:
            return read(self, photo)
        except Exception as error:  # Readers of archives raise many kinds of errors for damaged bytes.
            raise ReadError(f"{photo.path}: {error}") from error

    return wrapped


def _listing(
    files: Iterable[tuple[str, int]], path: Path, left_out: Iterable[LeftOut], reading: Reading, read: Read
) -> Listing:
    return listing(files, str(path), left_out, reading.shares, read, reading.drop_breeds)


class _Folder:
    def __init__(self, path: Path, reading: Reading) -> None:
        self._path = path
        left_out: list[LeftOut] = []
        files = list(_files(path, left_out))
        self.listing = _listing(files, path, left_out, reading, self._read_list)

    def _read_list(self, path: str) -> bytes:
        try:
            return (self._path / path).read_bytes()
        except OSError as error:
            raise ListError(f"{path} cannot be read ({error.strerror})") from error

    @_raising_read_error
    def read(self, photo: Photo) -> bytes:
        with open(self._path / self.listing.file(photo), "rb") as file:
            content = file.read(MAX_PHOTO_BYTES + 1)
        if len(content) > MAX_PHOTO_BYTES:
            raise OSError(f"the file has more than {MAX_PHOTO_BYTES:,} bytes now")
        return content


def _files(top: Path, left_out: list[LeftOut]) -> Iterator[tuple[str, int]]:
    """Yield (path, size in bytes) of every file below a folder. Links to folders are followed unless they are loops.

    Args:
        top: the folder.
        left_out: to it are added links that lead nowhere, and folders without an entry.
    """
    waiting: list[tuple[Path, str, frozenset[tuple[int, int]]]] = [(top, "", frozenset())]
    while waiting:
        folder, inner, above = waiting.pop()
        try:
            status = folder.stat()
            here = (status.st_dev, status.st_ino)
            if here in above:
                continue
            entries = list(os.scandir(folder))
            if not entries:
                left_out.append(LeftOut(inner, Reason.FOLDER))
            for entry in entries:
                if entry.is_dir():
                    waiting.append((folder / entry.name, f"{inner}{entry.name}/", above | {here}))
                elif entry.is_file():
                    yield f"{inner}{entry.name}", entry.stat().st_size
                else:  # a link that leads nowhere, or no file of a disk, such as a pipe
                    left_out.append(LeftOut(f"{inner}{entry.name}", Reason.LINK))
        except OSError as error:
            raise DatasetError(f"dataset {top}: the folder {folder} cannot be read ({error.strerror})") from error


class _Zip:
    def __init__(self, path: Path, reading: Reading) -> None:
        self._path = path
        with open(path, "rb") as file:
            members = zip_members(file, str(path))
            read = zip_reader(file, members)
            self.listing = _listing(members.sizes.items(), path, members.left_out, reading, read)
        self._members = members.files
        self._local = threading.local()

    @_raising_read_error
    def read(self, photo: Photo) -> bytes:
        # Each thread and process needs its own handle, because ZipFile seeks and a fork shares the offset.
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.archive, self._local.pid = zipfile.ZipFile(self._path), os.getpid()
        return unpacked(self._local.archive, self._members[self.listing.file(photo)])


class _Tar:
    """Reads an uncompressed tar by offset. The photos of a compressed one are first unpacked into a temporary file."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self._path = path
        with open(path, "rb") as file:
            members = tar_members(file, str(path))
        self.listing = _listing(members.sizes.items(), path, members.left_out, reading, tar_reader(members))
        self._members = members.files
        self._unpacked: IO[bytes] | None = None
        self._places: dict[int, int] = {}  # of photos in that file, by their place in the tar
        try:
            tarfile.open(path, "r:").close()
        except tarfile.TarError:
            self._unpack({members.files[self.listing.file(photo)].offset_data for photo in self.listing.photos})

    def _unpack(self, offsets: set[int]) -> None:
        self._unpacked = tempfile.TemporaryFile(prefix="kennel-")  # noqa: SIM115 - It lives as long as the source.
        try:
            with tarfile.open(self._path) as archive:
                for member in archive:
                    if member.offset_data in offsets and (content := archive.extractfile(member)) is not None:
                        self._places[member.offset_data] = self._unpacked.tell()
                        shutil.copyfileobj(content, self._unpacked)
            self._unpacked.flush()
        except OSError as error:
            raise DatasetError(
                f"dataset {self._path}: its photos cannot be unpacked into {tempfile.gettempdir()} ({error.strerror}); "
                "make room there, set TMPDIR to another folder, or give the folder itself or a zip"
            ) from error

    @_raising_read_error
    def read(self, photo: Photo) -> bytes:
        member = self._members[self.listing.file(photo)]
        if self._unpacked is not None:
            # All threads and processes share the file, and no position in it.
            content = os.pread(self._unpacked.fileno(), member.size, self._places[member.offset_data])
        elif member.sparse is not None:
            with tarfile.open(self._path, "r:") as archive, archive.extractfile(member) as inner:  # type: ignore[union-attr]
                return inner.read()
        else:
            with open(self._path, "rb") as file:
                file.seek(member.offset_data)
                content = file.read(member.size)
        if len(content) < member.size:
            raise EOFError("the archive ends before the photo does")
        return content
