"""Processes that compute the backbone's features: our pass, and plain PyTorch.

    python -m benchmarks.feature_loops ours|peer --data FOLDER --backbone NAME

It prints ``ready``. For each line ``SOURCE PHOTOS`` on stdin it computes the features of so many photos, and prints the
seconds that this took. ``ours`` has the sources ``files`` and ``memory`` (photos decoded before); both loops have
``batch``, the bare network on one batch.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from dataset import Photo, Source, open_source
from dataset.cores import num_cores
from serving.progress import evenly_spaced
from training.backbones import find_backbone
from training.distributed import process_group
from training.features import FeaturePass
from training.hyperparameters import Hyperparameters
from training.inference import FeatureNetwork
from training.memory import keep_freed_memory
from training.preprocess import pixels
from training.workers import WorkerProgress, worker_pool

_PEER_BATCH = 32  # photos
# Number of decoded photos in memory. A longer measurement takes them again, under other hashes.
_NUM_DECODED = 512

Loop = Callable[[int], Any]


class _FromMemory(FeaturePass):
    """The pass over photos that are already decoded."""

    decoded: dict[Photo, np.ndarray]

    def _pixels(self, _: Source, photo: Photo) -> np.ndarray:
        return self.decoded[photo]


def ours(data: Path, backbone: str, folder: Path) -> dict[str, Loop]:
    """Return, by source, training's pass with its defaults and the network as the pass has configured it."""
    keep_freed_memory()  # training.train does the same.
    choice, source, settings, threads = find_backbone(backbone, None), open_source(data), Hyperparameters(), num_cores()
    with process_group() as world:
        from_files = FeaturePass(choice, world, threads, folder, settings)
        from_memory = _FromMemory(choice, world, threads, folder, settings)
    photos = evenly_spaced(source.listing.of("train"), _NUM_DECODED)
    from_memory.decoded = {photo: pixels(source.read(photo), choice.preprocess) for photo in photos}
    network = FeatureNetwork(choice, world.device, from_files.choice.precision)
    batch = network.prepare(np.stack([from_memory.decoded[photo] for photo in photos[: from_files.choice.batch_size]]))
    new_hashes = map(str, itertools.count())

    def run_pass(feature_pass: FeaturePass, num_photos: int) -> None:
        selected = list(itertools.islice(itertools.cycle(photos), num_photos))
        hashes = list(itertools.islice(new_hashes, num_photos))
        feature_pass.features(source, selected, hashes, WorkerProgress("features", num_photos, prints=True))

    @torch.inference_mode()
    def infer_batch(_: int) -> None:
        network.network(batch)

    def run_batches(num_photos: int) -> None:
        with worker_pool(threads) as pool:
            list(pool.map(infer_batch, range(num_photos // len(batch))))

    return {"files": partial(run_pass, from_files), "memory": partial(run_pass, from_memory), "batch": run_batches}


def peer(backbone: str) -> dict[str, Loop]:
    """Return the network as it is in its file: fp32, channels first, on all cores."""
    network, side = find_backbone(backbone, None).load(), find_backbone(backbone, None).preprocess.image_size
    batch = torch.randn(_PEER_BATCH, 3, side, side)

    @torch.no_grad()
    def run_batches(num_photos: int) -> None:
        for _ in range(num_photos // _PEER_BATCH):
            network.features(batch)

    return {"batch": run_batches}


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("loop", choices=("ours", "peer"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--backbone")
    options = parser.parse_args()
    answers = sys.stdout
    # The pass prints its progress, which must not reach stdout.
    with TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        sources = (
            ours(options.data, options.backbone, Path(folder)) if options.loop == "ours" else peer(options.backbone)
        )
        print("ready", file=answers, flush=True)
        for line in sys.stdin:
            source, number = line.split()
            begin = time.perf_counter()
            sources[source](int(number))
            print(time.perf_counter() - begin, file=answers, flush=True)


if __name__ == "__main__":
    _main()
