"""Processes that train: our loop, and a plain version of torchvision's reference.

    python -m benchmarks.training_loops ours|peer --data FOLDER --backbone NAME --batch N --side N --cores N …

It prints ``ready``. For each line ``SOURCE STEPS`` on stdin it makes so many optimizer steps, and prints the seconds
that they took. SOURCE is ``photos`` (from the loop's own loader) or ``synthetic`` (one batch in memory). With RANK and
WORLD_SIZE in the environment it is one of several ranks, each with a batch of N.

The peer does what torchvision's references/classification/train.py does by default: fp32, channels first, batch norms
with the batch's statistics, SGD with momentum, loss and accuracy read after each step, the pipeline of
``transforms.v2`` in a DataLoader of 16 workers, and DistributedDataParallel with its defaults. Both train the same
network.
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dataset import open_source
from networks.backbone import Backbone
from networks.torchvision_import import torchvision_models
from serving.progress import evenly_spaced
from training.backbones import find_backbone
from training.checkpoint import Checkpoint
from training.distributed import World, process_group
from training.full import FullTraining, FullTrainingData
from training.head import HeadStart
from training.hyperparameters import Hyperparameters
from training.loader import Batch, TrainLoader
from training.memory import keep_freed_memory
from training.network import Network
from training.photos import decode_photos
from training.preprocess import TrainingPreprocess
from training.weights import packaged_weights

_NUM_BATCHES = 8  # batches of different photos
_WORKERS = 16

Step = Callable[[], Any]


def ours(world: World, options: argparse.Namespace) -> dict[str, Step]:
    """Return full training's step with its defaults, by source."""
    backbone, spec = _backbone(options.backbone)
    spec = replace(spec, image_size=options.side, resize_to=max(options.side, spec.resize_to))
    settings = Hyperparameters(full_epochs=10_000, global_batch_size=options.batch * world.world_size)
    source = open_source(options.data)
    classes = source.listing.classes
    photos = evenly_spaced(source.listing.of("train"), _NUM_BATCHES * settings.global_batch_size)
    labels = torch.tensor([classes.index(photo.label) for photo in photos])
    head = nn.Linear(backbone.num_features, len(classes))
    start = HeadStart(head.weight.detach().clone(), head.bias.detach().clone(), torch.ones(len(classes)))
    with TemporaryDirectory() as folder:
        pixels = decode_photos(world, source, photos, spec, True, Path(folder), len(options.cores))
        loader = TrainLoader(world, pixels, labels, spec, settings, len(options.cores))
        no_checkpoint = Checkpoint(world, Path(folder, "none"), "", math.inf)
        training = FullTraining(
            world,
            settings,
            backbone,
            head,
            start,
            FullTrainingData(loader, photos, pixels, labels, spec),
            no_checkpoint,
            len(options.cores),
        )
    batches = (batch for epoch in count(1) for batch in loader.epoch(epoch, 0, options.side))
    images, targets = _synthetic(world, options)
    synthetic = Batch(images.contiguous(memory_format=torch.channels_last), targets, torch.arange(options.batch))
    return {"photos": lambda: training.step(next(batches)), "synthetic": lambda: training.step(synthetic)}


def peer(world: World, options: argparse.Namespace) -> dict[str, Step]:
    """Return the step of torchvision's reference, by source."""
    backbone, spec = _backbone(options.backbone)
    backbone.fc.requires_grad_(False)  # The trained network does not use this layer.
    network = Network(backbone, nn.Linear(backbone.num_features, 1000)).to(world.device)
    parallel = DistributedDataParallel(network) if world.world_size > 1 else network
    parallel.train()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)

    def step(batches: Iterator[Sequence[Tensor]]) -> None:
        image, target = (tensor.to(world.device, non_blocking=True) for tensor in next(batches))
        output = parallel(image)
        loss = criterion(output, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        top5 = output.topk(5).indices == target[:, None]
        _ = loss.item(), top5[:, :1].sum().item(), top5.sum().item()

    batches, synthetic = _dataloader(spec, options), repeat(_synthetic(world, options))
    return {"photos": lambda: step(batches), "synthetic": lambda: step(synthetic)}


def _dataloader(spec: TrainingPreprocess, options: argparse.Namespace) -> Iterator[Sequence[Tensor]]:
    from torchvision import datasets  # This import needs torchvision_models() to be called before.
    from torchvision.transforms import v2

    pipeline = v2.Compose(
        [
            v2.RandomResizedCrop(options.side, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
            v2.ToDtype(torch.float, scale=True),
            v2.Normalize(spec.mean, spec.std),
            v2.ToPureTensor(),
        ]
    )
    photos = datasets.ImageFolder(options.data / "train", pipeline)
    workers: dict[str, Any] = {"num_workers": _WORKERS, "persistent_workers": True}
    loader = torch.utils.data.DataLoader(photos, options.batch, shuffle=True, drop_last=True, **workers)
    return (batch for _ in count() for batch in loader)


def _backbone(name: str) -> tuple[Backbone, TrainingPreprocess]:
    """Load a backbone, with its weights if a pip package has them, or else with random ones, which are as fast."""
    models = torchvision_models()
    if packaged_weights(name):
        choice = find_backbone(name, None)
        return choice.load(), choice.preprocess
    return Backbone(name, models.get_model(name, weights=None).eval()), TrainingPreprocess()


def _synthetic(world: World, options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    images = torch.randn(options.batch, 3, options.side, options.side, device=world.device)
    return images, torch.arange(options.batch, device=world.device) % 2


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("loop", choices=("ours", "peer"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--backbone")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--side", type=int)
    parser.add_argument("--cores", type=int, nargs="+")
    options = parser.parse_args()
    os.sched_setaffinity(0, options.cores)
    torch.set_num_threads(len(options.cores))
    if options.loop == "ours":
        keep_freed_memory()  # training.train does the same.
    with process_group() as world:
        steps = (ours if options.loop == "ours" else peer)(world, options)
        print("ready", flush=True)
        for line in sys.stdin:
            source, number = line.split()
            begin = time.perf_counter()
            for _ in range(int(number)):
                steps[source]()
            if world.device.type == "cuda":
                torch.cuda.synchronize()
            print(time.perf_counter() - begin, flush=True)
        os._exit(0)  # training.train exits in this way too, and says why.


if __name__ == "__main__":
    _main()
