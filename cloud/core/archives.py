"""Read the archives of others: a tar file is unpacked member by member, not by what it says of places and modes."""

import shutil
import tarfile
from pathlib import Path, PurePosixPath


def unpack(archive: Path, folder: Path) -> None:
    """Write the files of a ``.tar``, ``.tar.gz`` or the like into a folder, and nothing else anywhere.

    A file has its content and, of its mode, whether it is a program. A link becomes a copy of the file that it names in
    the archive, so nothing that is written later can follow it.

    Args:
        archive: The archive.
        folder: The folder, which exists.

    Raises:
        tarfile.TarError: The archive cannot be read, or a member is no file or folder inside the folder.
        OSError: A member cannot be written.
        EOFError, zlib.error: The archive ends early, or its content is not what it was packed from.
    """
    with tarfile.open(archive) as tar:
        for member in tar:
            path = folder / _place_of(member)
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            try:
                content = tar.extractfile(member) if member.isreg() or member.issym() or member.islnk() else None
            except (KeyError, RecursionError):
                content = None
            if content is None:
                raise tarfile.ExtractError(
                    f"the member {member.name!r} is no file, folder or link to a file in the archive"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            with content, path.open("wb") as file:
                shutil.copyfileobj(content, file)
            path.chmod(0o755 if member.mode & 0o100 else 0o644)


def _place_of(member: tarfile.TarInfo) -> PurePosixPath:
    """Return a member's path in the folder.

    Raises:
        tarfile.TarError: It is elsewhere.
    """
    place = PurePosixPath(member.name)
    if place.is_absolute() or ".." in place.parts or "\0" in member.name:
        raise tarfile.ExtractError(f"the member {member.name!r} is outside of the folder")
    return place
