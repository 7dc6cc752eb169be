"""Tests of full training over two gloo ranks: one model, also after a kill, and bad photos that stop both."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.futures import Future

from dataset import Photo
from networks.backbone import Backbone
from training import communication
from training.checkpoint import Checkpoint
from training.distributed import World, gather, process_group
from training.full import FullTraining, FullTrainingData
from training.head import HeadStart, NonFiniteLossError
from training.hyperparameters import Hyperparameters
from training.loader import TrainLoader
from training.photos import DecodedPhotos
from training.preprocess import TrainingPreprocess

REPOSITORY = Path(__file__).parents[3]
NUM_PHOTOS, NUM_CLASSES, SIDE = 40, 4, 64
STEPS_PER_EPOCH = 3  # 40 photos by 16
SPEC = TrainingPreprocess(image_size=SIDE, resize_to=SIDE)
SETTINGS = Hyperparameters(
    full_epochs=3,
    global_batch_size=16,
    full_learning_rate=0.01,
    precision="bf16",
    start_resolution=0.5,
    checkpoint_seconds=0,  # a checkpoint after each step
)


def backbone() -> Backbone:
    """Return a small network with norms, a depthwise convolution and dropout."""
    torch.manual_seed(1)
    layers = (
        *(nn.Conv2d(3, 16, 3, 2, bias=False), nn.BatchNorm2d(16), nn.ReLU6()),
        *(nn.Conv2d(16, 16, 3, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU6()),
        *(nn.Conv2d(16, 32, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(32, 1000)),
    )
    return Backbone("small", nn.Sequential(*layers))


def noise_photos() -> tuple[DecodedPhotos, torch.Tensor]:
    """Return photos of noise and their labels; each class has another brightness."""
    labels = torch.arange(NUM_PHOTOS) % NUM_CLASSES
    noise = np.random.default_rng(0).integers(0, 64, (NUM_PHOTOS, SIDE, SIDE, 3))
    pixels = (noise + 48 * labels.numpy()[:, None, None, None]).astype(np.uint8)
    return DecodedPhotos(pixels, np.full((NUM_PHOTOS, 2), SIDE, np.int32)), labels


def full_training(world: World, checkpoint: Path, settings: Hyperparameters = SETTINGS) -> FullTraining:
    network, head = backbone(), nn.Linear(32, NUM_CLASSES)
    start = HeadStart(head.weight.detach().clone(), head.bias.detach().clone(), torch.tensor([1.0, 1.0, 0.03, 1.0]))
    photos, labels = noise_photos()
    named = [Photo(f"train/{label}/{number}.jpg", "train", str(label), 1) for number, label in enumerate(labels)]
    loader = TrainLoader(world, photos, labels, SPEC, settings, num_threads=1)
    data = FullTrainingData(loader, named, photos, labels, SPEC)
    file = Checkpoint(world, checkpoint, "key", settings.checkpoint_seconds)
    return FullTraining(world, settings, network, head, start, data, file, num_threads=1)


def whole(world: World, folder: Path) -> dict[str, Any]:
    training = full_training(world, folder / "whole.pt")
    training.run()
    return {
        "checksums": gather(world, training.checksum()),
        "photos": [sum(training.progress.samples_per_rank), training.progress.steps],
        "losses": [training.progress.epochs[0]["train_loss"], training.progress.epochs[-1]["train_loss"]],
        "waits": [training.progress.epochs[-1][wait] for wait in ("data_wait", "comm_wait")],
    }


def apart(world: World, folder: Path) -> list[str]:
    """Train so that each rank uses its own gradients only."""

    def own_gradients(_: Any, bucket: Any) -> Future[torch.Tensor]:
        future: Future[torch.Tensor] = Future()
        future.set_result(bucket.buffer())
        return future

    training = full_training(world, folder / "apart.pt")
    communication.allreduce_hook = own_gradients  # type: ignore[attr-defined,assignment]
    training.run()
    return gather(world, training.checksum())


def poisoned(world: World, folder: Path) -> dict[str, Any]:
    """Give the second rank two photos with infinite pixels."""
    training = full_training(world, folder / "poisoned.pt")
    batches = training._data.train.epoch(1, 0, SIDE)
    training.step(next(batches))
    before, batch = training.checksum(), next(batches)
    if world.rank == 1:
        images = batch.images.clone()
        images[1:3] = torch.inf
        batch = replace(batch, images=images)
    with pytest.raises(NonFiniteLossError) as stopped:
        training.step(batch)
    batches.close()  # type: ignore[attr-defined]
    return {
        "message": str(stopped.value),
        "photos": [training._data.train_photos[index].path for index in batch.indices[1:3].tolist()],
        "unchanged": training.checksum() == before,
    }


def killed(world: World, folder: Path) -> None:
    """Kill the second rank after its fifth step, before the first rank writes the checkpoint of that step."""
    training = full_training(world, folder / "cut.pt")
    step = training.step

    def step_and_die(batch: Any) -> bool:
        is_due = step(batch)
        if training.progress.steps == STEPS_PER_EPOCH + 2 and world.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return is_due

    training.step = step_and_die  # type: ignore[method-assign]
    training.run()


def resumed(world: World, folder: Path) -> list[str]:
    training = full_training(world, folder / "cut.pt")
    training.run()
    return gather(world, training.checksum())


PROGRAMS = {each.__name__: each for each in (whole, apart, poisoned, killed, resumed)}


def two_ranks(port: int, folder: Path, *programs: str) -> tuple[list[int], list[str]]:
    """Return exit codes and output of two processes, which run these programs of this file."""
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(folder), *programs],
            env={
                **os.environ,
                "RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "PYTHONPATH": str(REPOSITORY),
                "OMP_NUM_THREADS": "1",
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    return [process.returncode for process in processes], outputs


def answers(output: str) -> list[Any]:
    return [json.loads(line.removeprefix("answer ")) for line in output.splitlines() if line.startswith("answer ")]


def test_two_ranks_train_one_network_that_a_kill_does_not_change(tmp_path: Path, free_port: int) -> None:
    codes, outputs = two_ranks(free_port, tmp_path, "whole")
    assert codes == [0, 0]
    (first,), (second,) = map(answers, outputs)
    assert first == second
    assert first["checksums"][0] == first["checksums"][1]
    assert first["photos"] == [NUM_PHOTOS, 3 * STEPS_PER_EPOCH]
    assert first["losses"][1] < first["losses"][0]
    assert all(0 < wait < 1 for wait in first["waits"])

    codes, outputs = two_ranks(free_port, tmp_path, "killed")
    assert codes[1] == -signal.SIGKILL
    assert codes[0] != 0
    assert answers(outputs[0]) == []

    codes, outputs = two_ranks(free_port, tmp_path, "resumed")
    assert codes == [0, 0]
    assert "resumed from epoch 1 of 3 and 1 steps more" in outputs[0]
    assert answers(outputs[0]) == [first["checksums"]]


def test_ranks_apart_differ_and_a_bad_photo_stops_both_before_the_step(tmp_path: Path, free_port: int) -> None:
    codes, outputs = two_ranks(free_port, tmp_path, "poisoned", "apart")
    assert codes == [0, 0]
    (first, checksums), (second, _) = map(answers, outputs)
    assert checksums[0] != checksums[1]
    assert first["message"] == second["message"]
    where = f"in epoch 1, step 2, on rank 1 with {', '.join(second['photos'])}; look at these photos, or lower"
    assert first["message"].startswith(f"training: the loss became nan {where} full_learning_rate")
    assert first["unchanged"]
    assert second["unchanged"]


if __name__ == "__main__":
    with process_group() as world:
        for name in sys.argv[2:]:
            print("answer", json.dumps(PROGRAMS[name](world, Path(sys.argv[1]))), flush=True)
    os._exit(0)  # For the same reason as training.train.
