"""The forgeries of the drill ``tamper`` fit in themselves, and their pickles would run if they were loaded."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import pytest
import torch

from proofs.drills import forgeries
from serving.served_artifact import pack, unpack, verified_files
from training.artifact import write_manifest


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "calibration.json").write_text(json.dumps({"temperature": 1.5, "dog_threshold": 0.4}))
    (folder / "model.safetensors").write_bytes(b"tensors")
    write_manifest(folder, ["calibration.json", "model.safetensors"])
    pack(folder, tmp_path / "model.tar.gz")
    return (tmp_path / "model.tar.gz").read_bytes()


def files_of(archive: bytes, folder: Path) -> dict[str, bytes]:
    """Return what a reader takes from an archive that it has verified against the manifest inside."""
    folder.mkdir()
    (folder / "a.tar.gz").write_bytes(archive)
    unpack(folder / "a.tar.gz", folder / "a")
    return verified_files(folder / "a")[0]


def test_forged_archives_pass_for_whole(archive: bytes, tmp_path: Path) -> None:
    assert files_of(archive, tmp_path / "0")["model.safetensors"] == b"tensors"
    blind = json.loads(files_of(forgeries.blind(archive), tmp_path / "1")["calibration.json"])
    assert blind == {"temperature": 1.5, "dog_threshold": 1.0}
    assert files_of(forgeries.other_tensors(archive), tmp_path / "2")["model.safetensors"] == b"tensorr"
    assert "model.pt2" in files_of(forgeries.with_program(archive, tmp_path / "ran"), tmp_path / "3")


def test_trap_runs_when_it_is_unpickled(tmp_path: Path) -> None:
    pickle.loads(forgeries.trap(tmp_path / "ran"))  # noqa: S301 - that it runs is what the drill relies on
    assert (tmp_path / "ran").exists()


def test_archive_keeps_its_other_files(archive: bytes, tmp_path: Path) -> None:
    (tmp_path / "forged.tar.gz").write_bytes(forgeries.blind(archive))
    with tarfile.open(tmp_path / "forged.tar.gz") as tar:
        assert sorted(tar.getnames()) == ["calibration.json", "manifest.json", "model.safetensors"]


@pytest.mark.parametrize("zipped", [True, False])
def test_other_weights_are_weights_with_other_numbers(zipped: bool) -> None:
    buffer = io.BytesIO()
    tensors = {"weight": torch.ones(64)}
    torch.save(tensors, buffer, _use_new_zipfile_serialization=zipped)
    forged = torch.load(io.BytesIO(forgeries.other_weights(buffer.getvalue())), weights_only=True)
    assert forged["weight"].shape == (64,)
    assert not torch.equal(forged["weight"], tensors["weight"])
