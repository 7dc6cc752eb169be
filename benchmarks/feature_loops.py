"""The backbone's features as processes: our pass, and plain PyTorch.

    python -m benchmarks.feature_loops ours|peer --data FOLDER --backbone NAME

says ``ready``, then answers each line ``SOURCE PHOTOS`` with the seconds that the features of so many photos took.
SOURCE is ``files`` or ``memory`` (decoded before) of ours, and ``batch`` of both: the bare network on one batch.
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
from serving.progress import evenly_spaced
from training.backbones import find_backbone
from training.distributed import num_cores, process_group
from training.features import FeaturePass
from training.hyperparameters import Hyperparameters
from training.inference import FeatureNetwork
from training.memory import keep_freed_memory
from training.preprocess import pixels
from training.workers import WorkerProgress, worker_pool

_PEER_BATCH = 32  # photos
_DECODED = 512  # photos in memory; where more are asked for, they come again under other hashes

Work = Callable[[int], Any]


class _FromMemory(FeaturePass):
    """Whose photos are decoded."""

    decoded: dict[Photo, np.ndarray]

    def _pixels(self, _: Source, photo: Photo) -> np.ndarray:
        return self.decoded[photo]


def ours(data: Path, backbone: str, folder: Path) -> dict[str, Work]:
    """Training's pass with its defaults, and the network as it has configured it, by source."""
    keep_freed_memory()  # as training.train does
    chosen, source, settings, threads = find_backbone(backbone, None), open_source(data), Hyperparameters(), num_cores()
    with process_group() as world:
        from_files = FeaturePass(chosen, world, threads, folder, settings)
        from_memory = _FromMemory(chosen, world, threads, folder, settings)
    photos = evenly_spaced(source.listing.of("train"), _DECODED)
    from_memory.decoded = {photo: pixels(source.read(photo), chosen.preprocess) for photo in photos}
    network = FeatureNetwork(chosen, world.device, from_files.choice.precision)
    batch = network.prepare(np.stack([from_memory.decoded[photo] for photo in photos[: from_files.choice.batch_size]]))
    never_seen = map(str, itertools.count())

    def through(work: FeaturePass, num_photos: int) -> None:
        some = list(itertools.islice(itertools.cycle(photos), num_photos))
        hashes = list(itertools.islice(never_seen, num_photos))
        work.features(source, some, hashes, WorkerProgress("features", num_photos, prints=True))

    @torch.inference_mode()
    def bare(_: int) -> None:
        network.network(batch)

    def on_a_batch(num_photos: int) -> None:
        with worker_pool(threads) as pool:
            list(pool.map(bare, range(num_photos // len(batch))))

    return {"files": partial(through, from_files), "memory": partial(through, from_memory), "batch": on_a_batch}


def peer(backbone: str) -> dict[str, Work]:
    """The network as it comes from its file: fp32, channels first, on all cores."""
    network, side = find_backbone(backbone, None).load(), find_backbone(backbone, None).preprocess.image_size
    batch = torch.randn(_PEER_BATCH, 3, side, side)

    @torch.no_grad()
    def on_a_batch(num_photos: int) -> None:
        for _ in range(num_photos // _PEER_BATCH):
            network.features(batch)

    return {"batch": on_a_batch}


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("loop", choices=("ours", "peer"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--backbone")
    given = parser.parse_args()
    answers = sys.stdout
    with TemporaryDirectory() as folder, redirect_stdout(sys.stderr):  # the pass tells its progress
        sources = ours(given.data, given.backbone, Path(folder)) if given.loop == "ours" else peer(given.backbone)
        print("ready", file=answers, flush=True)
        for line in sys.stdin:
            source, number = line.split()
            begin = time.perf_counter()
            sources[source](int(number))
            print(time.perf_counter() - begin, file=answers, flush=True)


if __name__ == "__main__":
    _main()
