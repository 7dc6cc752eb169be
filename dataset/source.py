"""Read the photos of a dataset from a folder, a ``.zip`` or a ``.tar[.gz]``."""

import functools
import os
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from dataset.archive import ARCHIVE_SUFFIXES, HEAD_BYTES, archive_kind, tar_members, zip_members
from dataset.layout import DatasetError, Listing, Photo, listing
from dataset.split import SHARES


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


def open_source(path: str | os.PathLike[str], shares: Sequence[int] = SHARES) -> Source:
    """Open a dataset: a folder with the splits, an archive, or a folder that contains one archive.

    A SageMaker channel delivers an archive inside a folder (``/opt/ml/input/data/dataset/dogs.zip``).

    Args:
        path: the folder or archive.
        shares: shares of train, valid and test where the dataset does not have them.

    Raises:
        DatasetError: the path does not exist, the archive cannot be read or has members outside
            itself, or ``listing`` refuses the layout.
    """
    path = Path(path)
    if path.is_dir():
        inside = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
        if not inside:
            raise DatasetError(f"dataset {path}: the folder is empty")
        if len(inside) == 1 and inside[0].is_file() and inside[0].name.lower().endswith(ARCHIVE_SUFFIXES):
            return open_source(inside[0], shares)
        return _Folder(path, shares)
    if not path.exists():
        raise DatasetError(f"dataset {path}: no such file or folder")
    try:
        kind = kind_of(path)
    except OSError as error:
        raise DatasetError(f"dataset {path}: cannot be read ({error.strerror})") from error
    if not kind:
        raise DatasetError(f"dataset {path}: neither a folder nor an archive ({', '.join(ARCHIVE_SUFFIXES)})")
    return _Zip(path, shares) if kind == "zip" else _Tar(path, shares)


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


class _Folder:
    def __init__(self, path: Path, shares: Sequence[int]) -> None:
        self._path = path
        self.listing = listing(_files(path), str(path), shares=shares)

    @_raising_read_error
    def read(self, photo: Photo) -> bytes:
        return (self._path / self.listing.file(photo)).read_bytes()


def _files(top: Path) -> Iterator[tuple[str, int]]:
    """Yield (path, size in bytes) of every file below a folder. Links to folders are followed unless they are loops."""
    waiting: list[tuple[Path, str, frozenset[tuple[int, int]]]] = [(top, "", frozenset())]
    while waiting:
        folder, inner, above = waiting.pop()
        status = folder.stat()
        here = (status.st_dev, status.st_ino)
        if here in above:
            continue
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            raise DatasetError(f"dataset {top}: the folder {folder} cannot be read ({error.strerror})") from error
        for entry in entries:
            if entry.is_dir():
                waiting.append((folder / entry.name, f"{inner}{entry.name}/", above | {here}))
            elif entry.is_file():
                yield f"{inner}{entry.name}", entry.stat().st_size


class _Zip:
    def __init__(self, path: Path, shares: Sequence[int]) -> None:
        self._path = path
        with open(path, "rb") as file:
            members = zip_members(file, str(path))
        self._members = members.files
        self.listing = listing(members.sizes.items(), str(path), members.left_out, shares)
        self._local = threading.local()

    @_raising_read_error
    def read(self, photo: Photo) -> bytes:
        # Each thread and process needs its own handle, because ZipFile seeks and a fork shares the offset.
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.archive, self._local.pid = zipfile.ZipFile(self._path), os.getpid()
        return bytes(self._local.archive.read(self._members[self.listing.file(photo)]))


class _Tar:
    """Reads an uncompressed tar by offset, and unpacks a compressed one into memory."""

    def __init__(self, path: Path, shares: Sequence[int]) -> None:
        self._path = path
        with open(path, "rb") as file:
            members = tar_members(file, str(path))
        self.listing = listing(members.sizes.items(), str(path), members.left_out, shares)
        self._members = members.files
        self._bytes: dict[int, bytes] = {}
        try:
            tarfile.open(path, "r:").close()
        except tarfile.TarError:
            self._unpack({members.files[self.listing.file(photo)].offset_data for photo in self.listing.photos})

    def _unpack(self, offsets: set[int]) -> None:
        with tarfile.open(self._path) as archive:
            for member in archive:
                if member.offset_data in offsets and (content := archive.extractfile(member)) is not None:
                    self._bytes[member.offset_data] = content.read()

    @_raising_read_error
    def read(self, photo: Photo) -> bytes:
        member = self._members[self.listing.file(photo)]
        if self._bytes:
            return self._bytes[member.offset_data]
        with open(self._path, "rb") as file:
            file.seek(member.offset_data)
            content = file.read(member.size)
        if len(content) < member.size:
            raise EOFError("the archive ends before the photo does")
        return content
