"""The training program in this process, and over two gloo ranks."""

import errno
import io
import json
import multiprocessing
import os
from pathlib import Path

import pytest
import torch
from conftest import CLASSES
from training import head, train
from training.files import StorageError, replace_file
from training.head import HeadTraining, NonFiniteLossError, Samples, Start
from training.hyperparameters import Hyperparameters

from dataset import Photo

SETTINGS = Hyperparameters(epochs=4, global_batch_size=8, learning_rate=0.01)


def samples(rank: int = 0, world_size: int = 1) -> tuple[Samples, Samples]:
    """This rank's share of 21 training and 6 validation points in 3 clusters."""
    random = torch.Generator().manual_seed(1)
    shares = []
    for count in (21, 6):
        labels = torch.arange(count) % 3
        features = torch.randn(count, 5, generator=random) + 2 * torch.eye(3, 5)[labels]
        shares.append(Samples(features[rank::world_size], labels[rank::world_size]))
    return shares[0], shares[1]


def start() -> Start:
    return Start(torch.zeros(3, 5), torch.zeros(3), torch.tensor([True, True, False]))


def alone() -> "train.World":
    return train.World(0, 1, 0, 1, torch.device("cpu"), "none", "here")


def head_training(world: "train.World", checkpoint: Path, settings: Hyperparameters = SETTINGS) -> HeadTraining:
    return HeadTraining(world, settings, start(), *samples(world.rank, world.world_size), 21, checkpoint, "key")


class Killed(Exception):
    """Stands for the end of the process after an epoch's checkpoint."""


def killed_after(epoch: int, training: HeadTraining) -> None:
    """Run up to the checkpoint of an epoch and no further."""
    run_epoch = training._run_epoch

    def stopping(number: int) -> None:
        run_epoch(number)
        if number == epoch:
            raise Killed

    training._run_epoch = stopping  # type: ignore[method-assign]
    with pytest.raises(Killed):
        training.run()


def worker(rank: int, port: int, folder: Path, broken: bool, results: "multiprocessing.Queue[object]") -> None:
    """One of two ranks: an uninterrupted run, and one that is killed and resumed."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if broken:
        head.DistributedDataParallel = lambda module: module  # type: ignore[misc,assignment]
    with train.joined() as world:
        whole = head_training(world, folder / "whole.pt")
        whole.run()
        if not broken:
            killed_after(2, head_training(world, folder / "cut.pt"))
        resumed = head_training(world, folder / "cut.pt")
        resumed.run()
        checksums = train.gathered(world, whole.checksum())
        results.put((rank, checksums, resumed.checksum(), whole.progress.samples_per_rank, whole.evaluate()))


def two_ranks(port: int, folder: Path, broken: bool = False) -> list[tuple]:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [context.Process(target=worker, args=(rank, port, folder, broken, results)) for rank in (0, 1)]
    for process in workers:
        process.start()
    answers = sorted(results.get(timeout=60) for _ in workers)
    for process in workers:
        process.join(10)
    return answers


def test_two_ranks_train_one_model_and_resume_bit_identically(tmp_path: Path, free_port: int) -> None:
    first, second = two_ranks(free_port, tmp_path)
    checksums = first[1]
    assert len(checksums) == 2 and checksums[0] == checksums[1]
    assert first[2] == second[2] == checksums[0]  # killed after epoch 2 and resumed
    assert first[3] == [11, 10]
    assert first[4] == second[4]
    assert train.ddp_document(["a", "b"], "gloo", 21, first[3], 12, checksums)["in_sync"] is True


def test_ranks_that_train_apart_are_found_out(tmp_path: Path, free_port: int) -> None:
    first, second = two_ranks(free_port, tmp_path, broken=True)
    assert first[1] == second[1] and first[1][0] != first[1][1]
    assert train.ddp_document(["a", "b"], "gloo", 21, first[3], 12, first[1])["in_sync"] is False


def test_two_ranks_take_the_same_steps_as_one(tmp_path: Path, free_port: int) -> None:
    """A step over all samples does not depend on how they are shared out."""
    single = head_training(alone(), tmp_path / "one.pt", Hyperparameters(epochs=4, global_batch_size=21))
    single.run()
    assert single.progress.steps == 4 and single.progress.samples_per_rank == [21]


def test_a_killed_run_resumes_bit_identically(tmp_path: Path) -> None:
    whole = head_training(alone(), tmp_path / "whole.pt")
    whole.run()
    killed_after(2, head_training(alone(), tmp_path / "cut.pt"))
    resumed = head_training(alone(), tmp_path / "cut.pt")
    resumed.run()
    assert torch.equal(resumed.head.weight, whole.head.weight) and torch.equal(resumed.head.bias, whole.head.bias)
    assert [epoch["epoch"] for epoch in resumed.progress.epochs] == [1, 2, 3, 4]
    assert resumed.progress.steps == whole.progress.steps == 4 * 3
    assert resumed.progress.start_top1 == whole.progress.start_top1


def test_a_checkpoint_of_another_run_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head_training(alone(), tmp_path / "head.pt").run()
    other = HeadTraining(alone(), SETTINGS, start(), *samples(), 21, tmp_path / "head.pt", "other key")
    other.run()
    assert "is of another run" in capsys.readouterr().out
    assert other.progress.steps == 4 * 3


def test_the_pull_holds_matched_classes_and_no_others(tmp_path: Path) -> None:
    free = head_training(alone(), tmp_path / "free.pt", Hyperparameters(epochs=4, pull=0.0))
    pulled = head_training(alone(), tmp_path / "pulled.pt", Hyperparameters(epochs=4, pull=1000.0))
    free.run()
    pulled.run()
    assert pulled.head.weight[:2].norm() < 0.5 * free.head.weight[:2].norm()
    assert pulled.head.weight[2].norm() > 0.9 * free.head.weight[2].norm()


def test_a_loss_that_is_not_finite_stops_before_the_step(tmp_path: Path) -> None:
    training = head_training(alone(), tmp_path / "head.pt")
    training._train.features[3] = float("nan")
    with pytest.raises(NonFiniteLossError, match="the loss became nan in epoch 1"):
        training.run()
    assert training.head.weight.isfinite().all()
    assert not (tmp_path / "head.pt").exists()


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_photo_falls_to_exactly_one_rank(world_size: int) -> None:
    photos = [Photo(f"train/a/{number}.jpg", "train", "a", 1) for number in range(10)]
    worlds = [train.World(r, world_size, 0, 1, torch.device("cpu"), "gloo", "here") for r in range(world_size)]
    shares = [train.share(photos, world, seed=3) for world in worlds]
    assert sorted(photo for share in shares for photo in share) == sorted(photos)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert shares[0] != photos[::world_size]  # shuffled


def test_the_same_command_again_takes_features_and_epochs_from_the_checkpoints(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--data", str(dataset), "--model-dir", str(tmp_path / "model"), "--epochs", "2"]
    assert train.main(command) == 0
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "model/checkpoints").iterdir()}
    model = (tmp_path / "model/ddp.json").read_text()
    capsys.readouterr()
    assert train.main(command) == 0
    assert "resumed from epoch 2 of 2" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert (tmp_path / "model/ddp.json").read_text() == model
    assert json.loads(model)["world_size"] == 1 and json.loads(model)["samples_per_rank"] == [15]


def test_a_class_left_empty_by_unreadable_photos_is_refused(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for photo in (dataset / "valid" / CLASSES[2]).iterdir():
        photo.write_bytes(b"no photo")
    assert train.main(["--data", str(dataset), "--model-dir", str(tmp_path / "model")]) == 1
    message = capsys.readouterr().err.strip()
    assert f"class '{CLASSES[2]}' has 0 photos in valid/" in message
    assert f"2 photos could not be read: valid/{CLASSES[2]}/0.png, valid/{CLASSES[2]}/1.png" in message
    assert "\n" not in message and not (tmp_path / "model/model.pt2").exists()


def test_a_missing_dataset_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--data", str(tmp_path / "none"), "--model-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"dataset {tmp_path / 'none'}: no such file or folder\n"


def test_a_full_disk_is_a_sentence_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "head.pt"
    replace_file(file, b"old")

    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="head.pt .No space left on device.; give the job a larger volume"):
        replace_file(file, b"new")
    assert file.read_bytes() == b"old"
