"""Tests of the training program, in this process and over two gloo ranks."""

import errno
import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dataset import Photo
from training import head, train
from training.artifact import ddp_document
from training.checkpoint import Checkpoint
from training.distributed import World, gather, process_group
from training.files import FileWriteError, replace_file
from training.head import HeadStart, HeadTraining, NonFiniteLossError, Samples, starting_head
from training.hyperparameters import HyperparameterError, Hyperparameters
from training.samples import shard

CLASSES = ("001.Beagle", "002.Pug", "003.Unicorn_hound")  # the classes of the fixture ``dataset``
REPOSITORY = Path(__file__).parents[3]
SETTINGS = Hyperparameters(epochs=4, global_batch_size=8, learning_rate=0.01, checkpoint_seconds=0)
FULL_BATCH = Hyperparameters(epochs=4, global_batch_size=21, learning_rate=0.01)


def samples(rank: int = 0, world_size: int = 1) -> tuple[Samples, Samples]:
    """Return this rank's share of 21 training and 6 validation points in 3 clusters."""
    random = torch.Generator().manual_seed(1)
    shares = []
    for count in (21, 6):
        labels = torch.arange(count) % 3
        features = torch.randn(count, 5, generator=random) + 2 * torch.eye(3, 5)[labels]
        photos = [Photo(f"train/{number}.jpg", "train", "a", 1) for number in range(count)]
        shares.append(Samples(*(each[rank::world_size] for each in (features, labels, photos))))
    return shares[0], shares[1]


def start() -> HeadStart:
    return HeadStart(torch.zeros(3, 5), torch.zeros(3), torch.tensor([1.0, 1.0, 0.0]))


def alone() -> World:
    return World(0, 1, 0, 1, torch.device("cpu"), "none", "here")


def head_training(world: World, file: Path, settings: Hyperparameters = SETTINGS, run_key: str = "key") -> HeadTraining:
    checkpoint = Checkpoint(world, file, run_key, settings.checkpoint_seconds)
    return HeadTraining(world, settings, start(), *samples(world.rank, world.world_size), 21, checkpoint)


class KilledError(Exception):
    """Stands for the end of the process after the checkpoint of an epoch."""


def killed_after(epoch: int, training: HeadTraining) -> None:
    """Run until the checkpoint of an epoch."""
    run_epoch = training._run_epoch

    def stopping(number: int) -> None:
        run_epoch(number)
        if number == epoch:
            raise KilledError

    training._run_epoch = stopping  # type: ignore[method-assign,assignment]
    with pytest.raises(KilledError):
        training.run()


def _without_ddp(module: torch.nn.Module) -> torch.nn.Module:
    """Replace DDP, so that each rank uses its own gradients only."""
    return module


def rank(folder: Path, apart: bool) -> dict[str, Any]:
    """Run as one of two ranks: a whole run, a run that is killed and resumed, and one with full batches."""
    if apart:
        head.DistributedDataParallel = _without_ddp  # type: ignore[attr-defined,assignment]
    with process_group() as world:
        whole = head_training(world, folder / "whole.pt")
        whole.run()
        if not apart:
            killed_after(2, head_training(world, folder / "cut.pt"))
        resumed = head_training(world, folder / "cut.pt")
        resumed.run()
        full = head_training(world, folder / "full.pt", FULL_BATCH)
        full.run()
        return {
            "checksums": gather(world, whole.checksum()),
            "resumed": resumed.checksum(),
            "samples_per_rank": whole.progress.samples_per_rank,
            "evaluation": whole.evaluate(),
            "full_batch_weight": full.head.weight.tolist(),
            "preview": head.preview(world, FULL_BATCH, start(), *samples(world.rank, world.world_size)),
        }


def two_ranks(port: int, folder: Path, *options: str) -> list[dict[str, Any]]:
    """Return the result of ``rank`` in each of two processes, which run this file."""
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(folder), *options],
            env={
                **os.environ,
                "RANK": str(number),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "PYTHONPATH": str(REPOSITORY),
                "OMP_NUM_THREADS": "1",
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in (0, 1)
    ]
    answers = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return [json.loads(answer.splitlines()[-1]) for answer in answers]


def test_two_ranks_train_one_model_and_resume_bit_identically(tmp_path: Path, free_port: int) -> None:
    first, second = two_ranks(free_port, tmp_path)
    checksums = first["checksums"]
    assert len(checksums) == 2
    assert checksums[0] == checksums[1]
    assert first["resumed"] == second["resumed"] == checksums[0]  # killed after epoch 2
    assert first["samples_per_rank"] == [11, 10]
    assert first["evaluation"] == second["evaluation"]
    assert first["preview"] == second["preview"] > 1 / 3
    assert ddp_document(["a", "b"], "gloo", 21, first["samples_per_rank"], 12, checksums)["in_sync"] is True

    # A step over all samples does not depend on how the ranks share them, even if the shares differ in size.
    single = head_training(alone(), tmp_path / "one.pt", FULL_BATCH)
    single.run()
    assert single.progress.steps == FULL_BATCH.epochs
    assert single.progress.samples_per_rank == [21]
    for answer in (first, second):
        weight = torch.tensor(answer["full_batch_weight"])
        torch.testing.assert_close(weight, single.head.weight.detach(), rtol=0, atol=1e-5)


def test_ranks_that_train_apart_are_found_out(tmp_path: Path, free_port: int) -> None:
    first, second = two_ranks(free_port, tmp_path, "apart")
    assert first["checksums"] == second["checksums"]
    assert first["checksums"][0] != first["checksums"][1]
    document = ddp_document(["a", "b"], "gloo", 21, first["samples_per_rank"], 12, first["checksums"])
    assert document["in_sync"] is False


def test_a_killed_run_resumes_bit_identically(tmp_path: Path) -> None:
    whole = head_training(alone(), tmp_path / "whole.pt")
    whole.run()
    killed_after(2, head_training(alone(), tmp_path / "cut.pt"))
    resumed = head_training(alone(), tmp_path / "cut.pt")
    resumed.run()
    assert torch.equal(resumed.head.weight, whole.head.weight)
    assert torch.equal(resumed.head.bias, whole.head.bias)
    assert [epoch["epoch"] for epoch in resumed.progress.epochs] == [1, 2, 3, 4]
    assert resumed.progress.steps == whole.progress.steps == 4 * 3
    assert resumed.progress.start_top1 == whole.progress.start_top1


def test_a_checkpoint_of_another_run_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head_training(alone(), tmp_path / "head.pt").run()
    other = head_training(alone(), tmp_path / "head.pt", run_key="other key")
    other.run()
    assert "is of another run" in capsys.readouterr().out
    assert other.progress.steps == 4 * 3


def test_the_pull_holds_matched_classes_only(tmp_path: Path) -> None:
    free = head_training(alone(), tmp_path / "free.pt", Hyperparameters(epochs=4, pull=0.0))
    pulled = head_training(alone(), tmp_path / "pulled.pt", Hyperparameters(epochs=4, pull=1000.0))
    free.run()
    pulled.run()
    assert pulled.head.weight[:2].norm() < 0.5 * free.head.weight[:2].norm()
    assert pulled.head.weight[2].norm() > 0.9 * free.head.weight[2].norm()


def test_a_loss_that_is_not_finite_stops_before_the_step(tmp_path: Path) -> None:
    training = head_training(alone(), tmp_path / "head.pt")
    training._train.features[3] = float("nan")
    with pytest.raises(NonFiniteLossError, match=r"nan in epoch 1, step \d, on rank 0 with train/3.jpg; look at these"):
        training.run()
    assert training.head.weight.isfinite().all()
    assert not (tmp_path / "head.pt").exists()


def test_a_batch_smaller_than_the_ranks_is_refused_with_a_sentence(tmp_path: Path) -> None:
    world = World(0, 2, 0, 1, torch.device("cpu"), "gloo", "algo-1")
    with pytest.raises(HyperparameterError, match=r"global_batch_size is 1; .* number of processes, 2"):
        head_training(world, tmp_path / "head.pt", replace(SETTINGS, global_batch_size=1))


def test_classes_that_imagenet_does_not_know_start_at_the_mean_of_the_others() -> None:
    classifier = torch.nn.Linear(2, 3)
    with torch.no_grad():
        classifier.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]]))
        classifier.bias.copy_(torch.tensor([0.5, 1.5, 9.0]))
    started = starting_head(classifier, [1, None, 0])
    assert started.weight.tolist() == [[3, 6], [2, 4], [1, 2]]
    assert started.bias.tolist() == [1.5, 1.0, 0.5]
    assert started.strength.tolist() == pytest.approx([1, 0.03, 1])
    assert starting_head(classifier, [None, None, None]).weight.tolist() == [[0, 0]] * 3


def test_no_epochs_leave_the_head_as_it_starts(tmp_path: Path) -> None:
    training = head_training(alone(), tmp_path / "head.pt", replace(SETTINGS, epochs=0))
    training.run()
    assert (training.progress.epochs, training.progress.steps) == ([], 0)
    assert not training.head.weight.any()
    assert training.valid_top1 == training.progress.start_top1 == 2 / 6  # all zero: always the first class


def test_balanced_sampling_gives_every_class_the_same_weight(tmp_path: Path) -> None:
    """There are 3 classes with 2, 1 and 1 photos; at the start each photo's loss is log 3."""
    photos = [Photo(f"train/{number}.jpg", "train", "a", 1) for number in range(4)]
    shares = Samples(torch.eye(4, 5), torch.tensor([0, 0, 1, 2]), photos)
    settings = replace(SETTINGS, epochs=1, global_batch_size=4, sampling="balanced", pull=0.0)
    training = HeadTraining(
        alone(), settings, start(), shares, shares, 4, Checkpoint(alone(), tmp_path / "head.pt", "key", 0)
    )
    assert training._weights is not None
    assert training._weights.tolist() == pytest.approx([4 / 6, 4 / 3, 4 / 3])
    training.run()
    gradient = training._parallel.bias.grad
    assert isinstance(gradient, torch.Tensor)
    assert gradient.tolist() == pytest.approx([0, 0, 0], abs=1e-6)  # The same as with equally many photos per class.


@pytest.mark.parametrize(
    ("mode", "device", "num_photos", "expected", "why"),
    [
        ("full", "cpu", 10, "full", "set by the hyperparameter"),
        ("auto", "cpu", 10_000, "head", "there is no GPU"),
        ("auto", "cuda", 199, "head", "199 photos of 10 classes are too few"),
        ("auto", "cuda", 200, "full", "there is a GPU"),
    ],
)
def test_mode_is_chosen_by_device_and_photos(mode: str, device: str, num_photos: int, expected: str, why: str) -> None:
    actual, reason = train.choose_mode(Hyperparameters(mode=mode), torch.device(device), num_photos, 10)
    assert actual == expected
    assert reason.startswith(why)


def test_classes_that_imagenet_does_not_know_are_named() -> None:
    assert train.imagenet_sentence(CLASSES, [162, 254, None]) == (
        "2 of 3 classes start from their ImageNet rows; ImageNet does not know 003.Unicorn_hound"
    )


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_photo_belongs_to_exactly_one_rank(world_size: int) -> None:
    photos = [Photo(f"train/a/{number}.jpg", "train", "a", 1) for number in range(10)]
    worlds = [World(r, world_size, 0, 1, torch.device("cpu"), "gloo", "here") for r in range(world_size)]
    shares = [shard(photos, world, seed=3) for world in worlds]
    assert sorted(photo for share in shares for photo in share) == sorted(photos)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert shares[0] != photos[::world_size]  # shuffled


def test_the_same_command_again_reads_features_from_the_checkpoints_and_writes_the_same_model(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--data", str(dataset), "--model-dir", str(tmp_path / "model"), "--epochs", "2"]
    assert train.main(command) == 0
    features = list((tmp_path / "model/checkpoints").glob("features-*.pt"))
    times = {path: path.stat().st_mtime_ns for path in features}
    assert times
    model = (tmp_path / "model/ddp.json").read_text()
    capsys.readouterr()
    assert train.main(command) == 0
    assert "21 of 21 photos' features come from the cache" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert (tmp_path / "model/ddp.json").read_text() == model
    assert json.loads(model)["world_size"] == 1
    assert json.loads(model)["samples_per_rank"] == [15]


def test_previews_come_with_the_first_features_and_change_nothing(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("training.samples._FIRST_PREVIEW", 4)
    previews, models = [], []
    for run in ("first", "second"):
        command = ["--data", str(dataset), "--model-dir", str(tmp_path / run), "--epochs", "2"]
        assert train.main([*command, "--checkpoint-dir", str(tmp_path / "shared")]) == 0
        previews.append(re.findall(r"after (\d+) of 15 training photos valid_top1=[01]\.\d+", capsys.readouterr().out))
        models.append((tmp_path / run / "ddp.json").read_text())
    assert previews == [["4", "8"], []]  # The second run reads all features from the cache.
    assert models[0] == models[1]


def test_a_class_left_empty_by_unreadable_photos_is_refused(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for photo in (dataset / "valid" / CLASSES[2]).iterdir():
        photo.write_bytes(b"no photo")
    assert train.main(["--data", str(dataset), "--model-dir", str(tmp_path / "model")]) == 1
    message = capsys.readouterr().err.strip()
    assert f"class '{CLASSES[2]}' has 0 photos in valid/" in message
    assert f"2 photos could not be read: valid/{CLASSES[2]}/0.png, valid/{CLASSES[2]}/1.png" in message
    assert "\n" not in message
    assert not (tmp_path / "model/model.safetensors").exists()


def test_photos_are_left_out_as_the_run_says(dataset: Path, tmp_path: Path) -> None:
    copy = dataset / "valid" / CLASSES[0] / "copy.png"
    copy.write_bytes((dataset / "train" / CLASSES[0] / "0.png").read_bytes())
    reading = json.dumps({"leaks": "drop", "drop_breeds": [CLASSES[2]]})
    hyperparameters = json.dumps({"reading": reading, "epochs": "1"})
    model = tmp_path / "model"
    arguments = ["--data", str(dataset), "--model-dir", str(model), "--hyperparameters", hyperparameters]
    assert train.main(arguments) == 0
    assert json.loads((model / "data.json").read_text())["leaked"] == []
    labels = json.loads((model / "labels.json").read_text())["classes"]
    assert [each["id"] for each in labels] == [label for label in CLASSES if label != CLASSES[2]]


def test_a_damaged_member_of_an_archive_is_named_and_left_out(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "dogs.zip"
    damaged = f"train/{CLASSES[0]}/0.png"
    with zipfile.ZipFile(archive, "w") as file:
        for photo in dataset.rglob("*.png"):
            file.write(photo, photo.relative_to(dataset))
        offset = file.getinfo(damaged).header_offset + 200
    data = bytearray(archive.read_bytes())
    data[offset] ^= 0xFF  # Now the checksum is wrong.
    archive.write_bytes(data)
    assert train.main(["--data", str(archive), "--model-dir", str(tmp_path / "model"), "--epochs", "1"]) == 0
    assert f"1 unreadable photos in train/ left out: {damaged}" in capsys.readouterr().out


def test_a_missing_dataset_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--data", str(tmp_path / "none"), "--model-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"dataset {tmp_path / 'none'}: no such file or folder\n"


def test_a_full_disk_is_a_sentence_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "head.pt"
    replace_file(file, b"old")

    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FileWriteError, match=r"head.pt .No space left on device.; give the job a larger volume"):
        replace_file(file, b"new")
    assert file.read_bytes() == b"old"


if __name__ == "__main__":
    print(json.dumps(rank(Path(sys.argv[1]), apart="apart" in sys.argv[2:])), flush=True)
    os._exit(0)  # For the same reason as training.train.
