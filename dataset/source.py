"""Read the photos of a dataset from a folder, a ``.zip`` or a ``.tar[.gz]``."""

import functools
import os
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from dataset.layout import DatasetError, Listing, Photo, listing, named

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")


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


def open_source(path: str | os.PathLike[str]) -> Source:
    """Open a dataset: a folder with the splits, an archive, or a folder that contains one archive.

    A SageMaker channel delivers an archive inside a folder (``/opt/ml/input/data/dataset/dogs.zip``).

    Raises:
        DatasetError: the path does not exist, the archive cannot be read or has members outside
            itself, or ``listing`` refuses the layout.
    """
    path = Path(path)
    if path.is_dir():
        inside = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
        if not inside:
            raise DatasetError(f"dataset {path}: the folder is empty")
        if len(inside) == 1 and inside[0].name.lower().endswith(ARCHIVE_SUFFIXES):
            return open_source(inside[0])
        return _Folder(path)
    if not path.exists():
        raise DatasetError(f"dataset {path}: no such file or folder")
    if not path.name.lower().endswith(ARCHIVE_SUFFIXES):
        raise DatasetError(f"dataset {path}: neither a folder nor an archive ({', '.join(ARCHIVE_SUFFIXES)})")
    return _Zip(path) if path.name.lower().endswith(".zip") else _Tar(path)


def zip_files(file: IO[bytes], where: str) -> list[tuple[str, int]]:
    """Return (path, size in bytes) of every file of a zip. Only its central directory is read.

    Raises:
        DatasetError: the file is no zip, or has members outside itself.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            files = [(i.filename, i.file_size) for i in archive.infolist() if not i.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
        raise DatasetError(f"dataset {where}: not a readable zip archive ({error})") from error
    _refuse_escapes([path for path, _ in files], where)
    return files


def tar_files(file: IO[bytes], where: str) -> list[tuple[str, int]]:
    """Return (path, size in bytes) of every regular file of a tar. The stream is read from start to end.

    Raises:
        DatasetError: the stream is no tar, or has members outside itself.
    """
    try:
        with tarfile.open(fileobj=file, mode="r|*") as archive:
            members = list(archive)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DatasetError(f"dataset {where}: not a readable tar archive ({error})") from error
    _refuse_escapes([m.name for m in members], where)
    return [(_without_dot(m.name), m.size) for m in members if m.isreg()]


def _refuse_escapes(paths: list[str], where: str) -> None:
    outside = [p for p in paths if p.startswith(("/", "\\")) or ".." in PurePosixPath(p.replace("\\", "/")).parts]
    if outside:
        raise DatasetError(f"dataset {where}: the archive has members outside itself: {named(outside)}")


def _raising_read_error(read: Callable[[Any, Photo], bytes]) -> Callable[[Any, Photo], bytes]:
    """Turn the errors of files and archives into ReadError."""

    @functools.wraps(read)
    def wrapped(self: Any, photo: Photo) -> bytes:
        try:
            return read(self, photo)
        except (OSError, zipfile.BadZipFile, zlib.error) as error:
            raise ReadError(f"{photo.path}: {error}") from error

    return wrapped


def _without_dot(path: str) -> str:
    return path.removeprefix("./")


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path
        files = [
            (file.relative_to(path).as_posix(), file.stat().st_size)
            for folder, _, names in os.walk(path)
            for file in (Path(folder, name) for name in names)
            if file.is_file()
        ]
        not_utf8 = [ascii(name) for name, _ in files if not name.isprintable()]
        if not_utf8:
            raise DatasetError(f"dataset {path}: rename the files whose names are not UTF-8: {named(not_utf8)}")
        self.listing = listing(files, str(path))

    @_raising_read_error
    def read(self, photo: Photo) -> bytes:
        return (self._path / (self.listing.prefix + photo.path)).read_bytes()


class _Zip:
    def __init__(self, path: Path) -> None:
        self._path = path
        with open(path, "rb") as file:
            self.listing = listing(zip_files(file, str(path)), str(path))
        self._local = threading.local()

    @_raising_read_error
    def read(self, photo: Photo) -> bytes:
        # Each thread and process needs its own handle, because ZipFile seeks and a fork shares the offset.
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.archive, self._local.pid = zipfile.ZipFile(self._path), os.getpid()
        return bytes(self._local.archive.read(self.listing.prefix + photo.path))


class _Tar:
    """Reads an uncompressed tar by offset, and unpacks a compressed one into memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with open(path, "rb") as file:
            self.listing = listing(tar_files(file, str(path)), str(path))
        self._spans: dict[str, tuple[int, int]] = {}
        self._bytes: dict[str, bytes] = {}
        with tarfile.open(path) as archive:
            for member in archive:
                if not member.isreg():
                    continue
                name = _without_dot(member.name)
                if path.name.lower().endswith(".tar"):
                    self._spans[name] = (member.offset_data, member.size)
                elif (content := archive.extractfile(member)) is not None:
                    self._bytes[name] = content.read()

    @_raising_read_error
    def read(self, photo: Photo) -> bytes:
        name = self.listing.prefix + photo.path
        if name in self._bytes:
            return self._bytes[name]
        offset, size = self._spans[name]
        with open(self._path, "rb") as file:
            file.seek(offset)
            return file.read(size)
