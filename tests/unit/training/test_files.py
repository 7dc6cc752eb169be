"""Tests of writing whole files, above all into a folder that SageMaker mirrors while the job runs."""

import ctypes
import errno
import hashlib
import os
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from training import files
from training.checkpoint import Checkpoint, remove_finished
from training.distributed import World
from training.features import FeatureCache
from training.files import FileWriteError, check_folder, replace_file, replace_json
from training.finished import FINISHED
from training.train import main

ALONE = World(0, 1, 0, 1, torch.device("cpu"), "none", "here")
IN_CREATE, IN_MOVED_FROM, IN_MOVED_TO, IN_DELETE = 0x100, 0x40, 0x80, 0x200

Events = Callable[[], list[tuple[str, str]]]


@pytest.fixture
def mirrored(tmp_path: Path) -> Path:
    folder = tmp_path / "ml" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def events(mirrored: Path) -> Iterator[Events]:
    """Return what the kernel reports of the folder since the last call: each name that appeared or vanished."""
    if sys.platform != "linux":
        pytest.skip("inotify is Linux's")
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    libc.inotify_add_watch(watch, os.fsencode(mirrored), IN_CREATE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE)

    def read() -> list[tuple[str, str]]:
        try:
            data = os.read(watch, 65536)
        except BlockingIOError:
            return []
        found = []
        while data:
            _, mask, _, length = struct.unpack_from("iIII", data)
            kind = "appears" if mask & (IN_CREATE | IN_MOVED_TO) else "vanishes"
            found.append((kind, data[16 : 16 + length].rstrip(b"\0").decode()))
            data = data[16 + length :]
        return found

    yield read
    os.close(watch)


def write_everything(folder: Path) -> None:
    """Write whatever a training writes into the folder of checkpoints."""
    saved = Checkpoint(ALONE, folder / "head-1.pt", "key", 0.0)
    saved.save({"step": 1})
    saved.save({"step": 2})
    replace_json(folder / "inference-1.json", {"precision": "bf16"})
    FeatureCache(folder, "k").add({"a": torch.zeros(2).half()})
    saved.finish()


def test_only_whole_files_appear_in_the_mirrored_folder_and_none_vanishes(mirrored: Path, events: Events) -> None:
    write_everything(mirrored)
    assert {name[:9] for _, name in events()} == {"head-1.pt", "inference", "features-"}
    assert sorted(path.name[:9] for path in mirrored.iterdir()) == ["features-", "head-1.pt", "inference"]
    assert list(mirrored.parent.iterdir()) == [mirrored]


def test_what_a_finished_run_leaves_is_deleted_before_the_next_one_writes(mirrored: Path, events: Events) -> None:
    write_everything(mirrored)
    unfinished = Checkpoint(ALONE, mirrored / "full-2.pt", "other", 0.0)
    unfinished.save({"step": 1})
    assert Checkpoint(ALONE, mirrored / "head-1.pt", "key", 0.0).load() is None
    events()
    remove_finished(ALONE, mirrored)
    assert events() == [("vanishes", "head-1.pt")]
    assert unfinished.load() == {"step": 1}


def test_a_damaged_checkpoint_is_told_and_not_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = Checkpoint(ALONE, tmp_path / "head-1.pt", "key", 0.0)
    whole = []
    for step in (1, 2):
        saved.save({"step": step, "parameters": torch.full((5000,), float(step))})
        whole.append((tmp_path / "head-1.pt").read_bytes())
    loaded = saved.load()
    assert loaded is not None
    assert loaded["parameters"].unique().tolist() == [2.0]
    first, second = whole
    assert len(first) == len(second)
    for damaged in (first[:10_000] + second[10_000:], second[:10_000], b"nothing", b""):
        (tmp_path / "head-1.pt").write_bytes(damaged)
        assert saved.load() is None
        assert f"the checkpoint in {tmp_path / 'head-1.pt'} is damaged: starting" in capsys.readouterr().out


class Hostile:
    """Unpickling it creates a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch {self.trace}",))


def test_checkpoint_and_features_with_a_pickled_object_run_nothing_and_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = files.to_bytes({"run_key": "key", "state": Hostile(tmp_path / "ran")})
    (tmp_path / "head-1.pt").write_bytes(hostile)
    assert Checkpoint(ALONE, tmp_path / "head-1.pt", "key", 0.0).load() is None
    name = f"features-k-{hashlib.sha256(hostile).hexdigest()[:16]}.pt"
    (tmp_path / name).write_bytes(hostile)
    assert FeatureCache(tmp_path, "k").rows == {}
    output = capsys.readouterr().out
    assert f"the checkpoint in {tmp_path / 'head-1.pt'} holds more than tensors and could run code" in output
    assert f"{tmp_path / name} holds more than tensors and could run code" in output
    assert not (tmp_path / "ran").exists()


def test_a_second_rank_of_the_host_deletes_nothing(mirrored: Path) -> None:
    (mirrored / "head-1.pt").write_bytes(FINISHED)
    remove_finished(World(1, 2, 1, 2, torch.device("cpu"), "gloo", "here"), mirrored)
    assert (mirrored / "head-1.pt").exists()


def no_way_beside(error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it impossible to move a file from another folder into the mirrored one."""
    replace = os.replace

    def within(source: Path, target: Path) -> None:
        if Path(source).parent.resolve() != Path(target).parent.resolve():
            raise OSError(error, os.strerror(error))
        replace(source, target)

    monkeypatch.setattr(os, "replace", within)


@pytest.mark.parametrize("error", [errno.EXDEV, errno.EACCES, errno.EROFS])
def test_a_mount_of_its_own_sees_new_files_only_by_their_names(
    mirrored: Path, events: Events, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    no_way_beside(error, monkeypatch)
    replace_file(mirrored / "features-1.pt", b"new")
    assert events() == [("appears", "features-1.pt")]
    # Linux cannot put an unnamed file in the place of a named one, so a replacement has a second name for a moment.
    replace_file(mirrored / "features-1.pt", b"newer")
    temporary = f".features-1.pt.{os.getpid()}.tmp"
    assert events() == [("appears", temporary), ("vanishes", temporary), ("appears", "features-1.pt")]
    assert (mirrored / "features-1.pt").read_bytes() == b"newer"
    assert [path.name for path in mirrored.iterdir()] == ["features-1.pt"]
    assert list(mirrored.parent.iterdir()) == [mirrored]


def test_a_system_without_unnamed_files_replaces_by_a_name_in_the_folder(
    mirrored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_way_beside(errno.EXDEV, monkeypatch)
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    for data in (b"one", b"two"):
        replace_file(mirrored / "head-1.pt", data)
        assert (mirrored / "head-1.pt").read_bytes() == data
    assert [path.name for path in mirrored.iterdir()] == ["head-1.pt"]


def test_a_folder_is_made_and_may_be_a_link_or_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    replace_file(Path("a/b/file"), b"1")
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "deep")
    replace_file(Path("link/file"), b"2")
    replace_file(Path("file"), b"3")
    assert [Path(name).read_bytes() for name in ("a/b/file", "elsewhere/deep/file", "file")] == [b"1", b"2", b"3"]
    names = ["a", "b", "deep", "elsewhere", "file", "file", "file", "link"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == names


@pytest.mark.parametrize("beside", [True, False])
def test_a_failed_write_leaves_the_old_file_and_no_other(
    mirrored: Path, monkeypatch: pytest.MonkeyPatch, beside: bool
) -> None:
    replace_file(mirrored / "head-1.pt", b"old")
    if not beside:
        no_way_beside(errno.EXDEV, monkeypatch)

    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "replace", fails) if beside else monkeypatch.setattr(files, "_replace_within", fails)
    with pytest.raises(FileWriteError, match=r"storage: cannot write .*/checkpoints/head-1.pt \(No space left"):
        replace_file(mirrored / "head-1.pt", b"new")
    assert (mirrored / "head-1.pt").read_bytes() == b"old"
    assert [path.name for path in mirrored.parent.rglob("*")] == ["checkpoints", "head-1.pt"]


def test_a_folder_that_cannot_be_written_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_folder(tmp_path / "new" / "model")
    assert not (tmp_path / "new").exists()
    file, link = tmp_path / "OUT", tmp_path / "LINK"
    file.touch()
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileWriteError, match=f"^storage: cannot write {file} \\(it is a file\\)$"):
        check_folder(file)
    with pytest.raises(FileWriteError, match=f"cannot write {file}/model \\({file} is a file\\)$"):
        check_folder(file / "model")
    with pytest.raises(FileWriteError, match="it is a link to nothing"):
        check_folder(link)
    with pytest.raises(FileWriteError, match="File name too long"):
        check_folder(tmp_path / ("x" * 300))
    for arguments in (["--model-dir", str(file)], ["--model-dir", str(tmp_path), "--checkpoint-dir", str(file)]):
        assert main(["--data", str(tmp_path), *arguments]) == 1
        assert f"storage: cannot write {file} (it is a file)" in capsys.readouterr().err
