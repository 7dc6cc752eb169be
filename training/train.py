"""Train an image classifier on a folder of labelled photos, on one process or many.

On a laptop (the folder holds train/, valid/ and test/, each with one folder per class):

    python -m training.train --data dogImages --model-dir TrainedModels

On any machine with several processes, or several machines (torchrun's own options as usual):

    torchrun --nproc_per_node=2 -m training.train --data dogImages --model-dir TrainedModels

On SageMaker the container's entrypoint starts it on every host through the launcher:

    python3 /opt/ml/input/data/code/training/launch.py

It goes: features of this rank's share of the photos (kept, so that a restart has them), a linear head
on them over all ranks, and on rank 0 the model artifact. A run that was interrupted goes on from its
checkpoint when the same command is given again.
"""

import argparse
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from dataset import DatasetError, Listing, Photo, Source, open_source
from dataset.layout import check_classes, named
from training import hyperparameters
from training.artifact import Classifier, ddp_document, labels_document, write_model
from training.backbones import Pretrained, pretrained
from training.distributed import PeerLostError, World, gathered, joined
from training.features import FeaturePass, Shard, num_cores
from training.files import StorageError, replace_json
from training.head import HeadTraining, NonFiniteLossError, Samples, starting_head
from training.hyperparameters import HyperparameterError, Hyperparameters
from training.imagenet_dogs import imagenet_rows
from training.weights import WeightsError

SPLITS = ("train", "valid")  # the test photos are the evaluation's alone
USER_ERRORS = (
    DatasetError,
    HyperparameterError,
    NonFiniteLossError,
    PeerLostError,
    StorageError,
    WeightsError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; 0, or 1 with one sentence as the last line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        given = {name: value for name, value in vars(options).items() if name in _NAMES and value is not None}
        settings = hyperparameters.from_strings({**options.hyperparameters, **given})
        chosen = pretrained(settings.backbone, options.weights)
        checkpoint_dir = options.checkpoint_dir or options.model_dir / "checkpoints"
        with joined() as world:
            train(world, settings, chosen, options.data, options.model_dir, checkpoint_dir)
    except USER_ERRORS as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("training: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def train(
    world: World, settings: Hyperparameters, chosen: Pretrained, data: Path, model_dir: Path, checkpoint_dir: Path
) -> None:
    """The whole run of one rank."""
    begin = time.monotonic()
    source = open_source(data)
    classes = source.listing.classes
    shards, photos_per_second = _features(world, settings, chosen, source, checkpoint_dir)
    report = DataReport(world, source.listing, shards)
    _say(world, *report.sentences())
    report.refuse_empty_classes(str(data))

    backbone = chosen.load()
    rows = imagenet_rows(classes)
    num_matched = sum(row is not None for row in rows)
    _say(world, f"{num_matched} of {len(classes)} classes start from their ImageNet rows")
    training = HeadTraining(
        world,
        settings,
        starting_head(backbone.fc, rows),
        _samples(shards["train"], classes, world.device),
        _samples(shards["valid"], classes, world.device),
        num_train=report.num_photos("train"),
        checkpoint=checkpoint_dir / "head.pt",
        run_key=_run_key(settings, world, chosen, report),
    )
    training.run()

    checksums, hosts = gathered(world, training.checksum()), gathered(world, world.host)
    if not world.is_main:
        return
    progress = training.progress
    ddp = ddp_document(
        hosts, world.backend, report.num_photos("train"), progress.samples_per_rank, progress.steps, checksums
    )
    _say(
        world, f"{world.world_size} ranks, parameters {'equal' if ddp['in_sync'] else 'NOT equal: they trained apart'}"
    )
    replace_json(model_dir / "labels.json", labels_document(classes, rows))
    replace_json(model_dir / "preprocess.json", asdict(chosen.preprocess))
    replace_json(model_dir / "ddp.json", ddp)
    replace_json(model_dir / "data.json", report.document())
    replace_json(model_dir / "history.json", {"epochs": progress.epochs})
    exporting = time.monotonic()
    write_model(model_dir / "model.pt2", Classifier(backbone, training.head.cpu()), chosen.preprocess.image_size)
    _say(world, f"exported in {time.monotonic() - exporting:.1f} s")
    summary = {
        "hyperparameters": asdict(settings),
        "backbone": settings.backbone,
        "mode": settings.mode,
        "torch": torch.__version__,
        "seconds": round(time.monotonic() - begin, 1),
        "photos_per_second": round(photos_per_second, 1),
        "start_top1": progress.start_top1,
        "valid_top1": progress.epochs[-1]["valid_top1"],
    }
    replace_json(model_dir / "training.json", summary)
    _say(world, f"trained in {summary['seconds']} s: valid_top1={summary['valid_top1']:.4f}, model in {model_dir}")


class DataReport:
    """What the ranks found in the photos together: unreadable ones, and photos that are in two splits."""

    def __init__(self, world: World, listing: Listing, shards: dict[str, Shard]) -> None:
        self._listing = listing
        self._unreadable: dict[str, list[str]] = {}
        self._hashes: dict[str, dict[str, str]] = {}
        self._num_photos: dict[str, int] = {}
        for split, shard in shards.items():
            hashed = list(zip(shard.hashes, (photo.path for photo in shard.photos), strict=True))
            parts = gathered(world, (shard.unreadable, hashed))
            self._unreadable[split] = sorted(path for unreadable, _ in parts for path in unreadable)
            # Sorted by path, so that of equal photos within a split the first is named, on any world size.
            pairs = sorted((path, digest) for _, part in parts for digest, path in part)
            self._num_photos[split] = len(pairs)
            self._hashes[split] = {digest: path for path, digest in reversed(pairs)}

    def num_photos(self, split: str) -> int:
        """Readable photos of a split over all ranks."""
        return self._num_photos[split]

    def digest(self) -> str:
        """16 hex digits over every photo's bytes and place."""
        return hashlib.sha256(repr(self._hashes).encode()).hexdigest()[:16]

    def leaked(self) -> list[dict[str, str]]:
        """Validation photos that are training photos too, byte for byte."""
        train, valid = self._hashes["train"], self._hashes["valid"]
        return [
            {"photo": valid[d], "also": train[d]} for d in sorted(valid.keys() & train.keys(), key=valid.__getitem__)
        ]

    def refuse_empty_classes(self, where: str) -> None:
        """Refuse a class that has no readable photo left in a split.

        Raises:
            DatasetError: naming the classes and the unreadable photos.
        """
        bad = {path for paths in self._unreadable.values() for path in paths}
        readable: list[Photo] = [photo for photo in self._listing.photos if photo.path not in bad]
        try:
            check_classes(self._listing.classes, readable, where)
        except DatasetError as error:
            raise DatasetError(f"{error}; {len(bad)} photos could not be read: {named(sorted(bad))}") from error

    def sentences(self) -> list[str]:
        """What a person should know, empty when all is well."""
        lines = []
        for split, paths in self._unreadable.items():
            if paths:
                lines.append(f"{len(paths)} unreadable photos in {split}/ left out: {named(paths)}")
        if leaked := self.leaked():
            pairs = (f"{leak['photo']} is {leak['also']}" for leak in leaked)
            lines.append(f"{len(leaked)} photos are in two splits: {named(pairs)}")
        return lines

    def document(self) -> dict[str, object]:
        """``data.json``."""
        return {
            "splits": {
                split: {"photos": self._num_photos[split], "unreadable": self._unreadable[split]}
                for split in self._hashes
            },
            "hashes": self._hashes,
            "leaked": self.leaked(),
            "ignored": len(self._listing.ignored),
        }


def _features(
    world: World, settings: Hyperparameters, chosen: Pretrained, source: Source, cache_dir: Path
) -> tuple[dict[str, Shard], float]:
    """This rank's share of both splits, and photos per second over all ranks."""
    # "Hosts" may be processes of one machine, which then share its cores.
    ranks_here = gathered(world, socket.gethostname()).count(socket.gethostname())
    num_threads = max(1, num_cores() // ranks_here)
    work = FeaturePass(chosen, world.device, num_threads, cache_dir, world.is_main)
    num_photos = sum(len(source.listing.of(split)) for split in SPLITS)
    _say(
        world,
        f"{num_photos} photos of {len(source.listing.classes)} classes over {world.world_size} ranks, "
        f"{chosen.name} in {str(work.precision).removeprefix('torch.')} with {num_threads} threads per rank",
    )
    begin = time.monotonic()
    shards = {split: work.shard(source, share(source.listing.of(split), world, settings.seed)) for split in SPLITS}
    gathered(world, None)  # until the slowest rank is done
    seconds = time.monotonic() - begin
    _say(world, f"features of {num_photos} photos in {seconds:.1f} s, photos_per_s={num_photos / seconds:.1f}")
    return shards, num_photos / seconds


def share(photos: Sequence[Photo], world: World, seed: int) -> list[Photo]:
    """This rank's photos: every ``world_size``-th of a seeded shuffle; each photo falls to one rank."""
    order = torch.randperm(len(photos), generator=torch.Generator().manual_seed(seed)).tolist()
    return [photos[index] for index in order[world.rank :: world.world_size]]


def _samples(shard: Shard, classes: Sequence[str], device: torch.device) -> Samples:
    index = {label: number for number, label in enumerate(classes)}
    labels = torch.tensor([index[photo.label] for photo in shard.photos], dtype=torch.int64)
    return Samples(shard.features.float().to(device), labels.to(device))


def _run_key(settings: Hyperparameters, world: World, chosen: Pretrained, report: DataReport) -> str:
    parts = (asdict(settings), world.world_size, asdict(chosen.preprocess), chosen.digest, report.digest())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _say(world: World, *lines: str) -> None:
    if world.is_main:
        for line in lines:
            print(line, flush=True)


def _json_object(text: str) -> dict[str, object]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("must be a JSON object")
    return value


_NAMES = frozenset(Hyperparameters.__dataclass_fields__)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder or .zip/.tar archive of photos")
    parser.add_argument("--model-dir", type=Path, required=True, help="where rank 0 writes the model artifact")
    parser.add_argument(
        "--checkpoint-dir", type=Path, help="features and checkpoints, to go on from (default: MODEL_DIR/checkpoints)"
    )
    parser.add_argument(
        "--weights", type=Path, help="the backbone's .pth or .safetensors (default: that of its pip package)"
    )
    parser.add_argument(
        "--hyperparameters", type=_json_object, default={}, metavar="JSON", help="all of the below as one JSON object"
    )
    hyperparameters.add_arguments(parser)
    return parser


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Without the interpreter's own goodbye: there torch 2.13's gloo threads sometimes end a rank that has done
    # its work with SIGABRT ("terminate called without an active exception", 1 of 50 ranks here).
    os._exit(code)
