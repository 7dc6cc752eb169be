"""How archives are unpacked: files, folders and links inside, and nothing else."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from cloud.core import archives


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o600) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


def pack(path: Path, *members: tarfile.TarInfo, content: bytes = b"text", mode: str = "w:gz") -> Path:
    """Write an archive in which each regular file has the same content, and return its path."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for info in members:
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("mode", ["w:gz", "w", "w:xz"])
def test_files_and_folders_have_their_content_and_plain_modes(tmp_path: Path, folder: Path, mode: str) -> None:
    members = (member("./a/b.txt", mode=0o6666), member("run.sh", mode=0o4777), member("empty", tarfile.DIRTYPE))
    archives.unpack(pack(tmp_path / "x.tar", *members, mode=mode), folder)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    assert found == {"a", "a/b.txt", "run.sh", "empty"}
    assert (folder / "a/b.txt").read_bytes() == b"text"
    assert (folder / "a/b.txt").stat().st_mode & 0o7777 == 0o644
    assert (folder / "run.sh").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize(("kind", "link"), [(tarfile.SYMTYPE, "b.txt"), (tarfile.LNKTYPE, "a/b.txt")])
def test_a_link_is_a_copy_of_its_file(tmp_path: Path, folder: Path, kind: bytes, link: str) -> None:
    archives.unpack(pack(tmp_path / "x.tar", member("a/b.txt"), member("a/link", kind, link)), folder)
    assert not (folder / "a/link").is_symlink()
    assert (folder / "a/link").stat().st_nlink == 1
    assert (folder / "a/link").read_bytes() == b"text"


@pytest.mark.parametrize(
    "members",
    [
        (member("/etc/x"),),
        (member("../x"),),
        (member("a/../../x"),),
        (member("a/.."),),
        (member("link", tarfile.SYMTYPE, "/etc/passwd"),),
        (member("link", tarfile.SYMTYPE, "../secret"),),
        (member("link", tarfile.LNKTYPE, "../secret"),),
        (member("link", tarfile.SYMTYPE, "link"),),
        (member("out", tarfile.SYMTYPE, ".."), member("out/x")),  # CVE-2007-4559, and those after it
        (member("a", tarfile.DIRTYPE), member("b", tarfile.SYMTYPE, "a"), member("b/../../x")),
        (member("pipe", tarfile.FIFOTYPE),),
        (member("device", tarfile.CHRTYPE),),
    ],
)
def test_members_elsewhere_and_of_other_kinds_are_refused(
    tmp_path: Path, folder: Path, members: tuple[tarfile.TarInfo, ...]
) -> None:
    (tmp_path / "secret").write_text("secret")
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(folder)}
    archive = pack(tmp_path / "x.tar", *members)
    with pytest.raises(tarfile.TarError, match="the member '"):
        archives.unpack(archive, folder)
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(folder)} == {*before, archive}
    assert not [path for path in folder.rglob("*") if path.is_symlink() or path.is_fifo()]


def test_what_was_there_is_written_over_and_no_link_is_followed(tmp_path: Path, folder: Path) -> None:
    """The second member of a name is the one that counts, as for tar itself."""
    archive = tmp_path / "x.tar"
    with tarfile.open(archive, "w") as tar:
        for content in (b"old", b"newer"):
            info = member("file")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    archives.unpack(archive, folder)
    assert (folder / "file").read_bytes() == b"newer"


def test_an_archive_that_ends_early_is_told(tmp_path: Path, folder: Path) -> None:
    archive = pack(tmp_path / "x.tar", member("a"), content=os.urandom(100_000))
    archive.write_bytes(archive.read_bytes()[:50_000])
    with pytest.raises((tarfile.TarError, EOFError)):
        archives.unpack(archive, folder)
