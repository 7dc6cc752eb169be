"""Train an image classifier on a folder of labelled photos, on one process or many.

On a laptop (the folder holds train/, valid/ and test/, each with one folder per class):

    python -m training.train --data dogImages --model-dir TrainedModels

On any machine with several processes, or several machines (torchrun's own options as usual):

    torchrun --nproc_per_node=2 -m training.train --data dogImages --model-dir TrainedModels

On SageMaker the container's entrypoint starts it on every host through the launcher:

    python3 /opt/ml/input/data/code/training/launch.py

It goes: features of this rank's share of the photos (kept, so that a restart and other runs have them), a linear
head on them over all ranks, in mode full then the whole network, and on rank 0 the model artifact. A run that was
interrupted goes on from its checkpoint when the same command is given again.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from dataset import DatasetError, Source, open_source
from dataset.layout import named
from training import hyperparameters
from training.artifact import Classifier, ddp_document, labels_document, write_model
from training.backbones import Backbone, Pretrained, pretrained
from training.checkpoint import Checkpoint
from training.curves import learning_curve
from training.distributed import PeerLostError, World, gathered, in_step, joined, num_threads
from training.files import StorageError, replace_file, replace_json
from training.full import FullTraining
from training.head import HeadTraining, NonFiniteLossError, Start, starting_head
from training.hyperparameters import HyperparameterError, Hyperparameters
from training.imagenet_dogs import imagenet_rows
from training.launch import PEER_LOST
from training.loader import TrainLoader
from training.memory import keep_freed_memory
from training.photos import decoded, hashed
from training.report import DataReport
from training.samples import head_samples, labels
from training.weights import WeightsError

SPLITS = ("train", "valid")  # the test photos are the evaluation's alone
USER_ERRORS = (
    DatasetError,
    HyperparameterError,
    NonFiniteLossError,
    StorageError,
    WeightsError,
)
_MIN_PHOTOS = 20  # a class, from which on the whole network learns more than its head


@dataclass(frozen=True)
class Folders:
    """Where a run reads and writes.

    data: folder or archive of photos. model: what rank 0 leaves. checkpoints: what a restart finds, and other runs of
    the backbone may share. scratch: decoded photos while mode full trains.
    """

    data: Path
    model: Path
    checkpoints: Path
    scratch: Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; 0, or another code with one sentence as the last line on stderr."""
    keep_freed_memory()
    options = _parser().parse_args(arguments)
    try:
        given = {name: value for name, value in vars(options).items() if name in _NAMES and value is not None}
        settings = hyperparameters.from_strings({**options.hyperparameters, **given})
        chosen = pretrained(settings.backbone, options.weights)
        checkpoints = options.checkpoint_dir or options.model_dir / "checkpoints"
        with joined() as world:
            train(world, settings, chosen, Folders(options.data, options.model_dir, checkpoints, options.scratch_dir))
    except PeerLostError as error:
        print(error, file=sys.stderr)
        return PEER_LOST
    except USER_ERRORS as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("training: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def train(world: World, settings: Hyperparameters, chosen: Pretrained, folders: Folders) -> None:
    """The whole run of one rank."""
    begin = time.monotonic()
    source = open_source(folders.data)
    classes = source.listing.classes
    mode, why = chosen_mode(settings, world.device, len(source.listing.of("train")), len(classes))
    _say(world, f"mode {mode}: {why}")

    backbone, rows = chosen.load(), imagenet_rows(classes)
    _say(world, matches(classes, rows))
    start = starting_head(backbone.fc, rows)
    photos = {split: hashed(world, source, split, num_threads(world)) for split in SPLITS}
    sampled = head_samples(world, settings, chosen, source, photos, start, folders.checkpoints)
    report = DataReport(source.listing, photos, sampled.unreadable)
    _say(world, *report.sentences())
    report.refuse_empty_classes(str(folders.data))

    run_key = _run_key(settings, world, chosen, report, mode)
    checkpoints = {
        phase: Checkpoint(world, folders.checkpoints / f"{phase}-{run_key}.pt", run_key, settings.checkpoint_seconds)
        for phase in (("head", "full") if mode == "full" else ("head",))
    }
    num_train = len(report.readable("train"))
    head_training = HeadTraining(world, settings, start, sampled.train, sampled.valid, num_train, checkpoints["head"])
    with in_step(world):
        head_training.run()
    phases = [{"name": "head", "epochs": head_training.progress.epochs}]
    last: HeadTraining | FullTraining = head_training
    head = head_training.head.cpu()
    if mode == "full":
        last = _full_training(
            world,
            settings,
            chosen,
            source,
            report,
            folders.scratch,
            backbone,
            start,
            head_training,
            checkpoints["full"],
        )
        with in_step(world):
            last.run()
        phases.append({"name": "full", "epochs": last.progress.epochs})
        backbone, head = last.result()

    checksums, hosts = gathered(world, last.checksum()), gathered(world, world.host)
    if world.is_main:
        progress = last.progress
        ddp = ddp_document(hosts, world.backend, num_train, progress.samples_per_rank, progress.steps, checksums)
        _say(
            world, f"{world.world_size} rank(s), parameters {'equal' if ddp['in_sync'] else 'NOT equal: trained apart'}"
        )
        history = {"start_top1": head_training.progress.start_top1, "phases": phases}
        documents = {
            "labels": labels_document(classes, rows),
            "preprocess": asdict(chosen.preprocess),
            "ddp": ddp,
            "data": report.document(),
            "history": history,
            "training": {
                "hyperparameters": settings.of_mode(mode) | {"mode": mode},
                "backbone": settings.backbone,
                "mode": mode,
                "torch": torch.__version__,
                "seconds": round(time.monotonic() - begin, 1),
                "photos_per_second": round(sampled.photos_per_second, 1),
                "start_top1": history["start_top1"],
                "valid_top1": last.valid_top1,
            },
        }
        for name, document in documents.items():
            replace_json(folders.model / f"{name}.json", document)
        replace_file(folders.model / "history.svg", learning_curve(history).encode())
        exporting = time.monotonic()
        write_model(folders.model / "model.pt2", Classifier(backbone, head), chosen.preprocess.image_size)
        _say(world, f"exported in {time.monotonic() - exporting:.1f} s")
        seconds = time.monotonic() - begin
        _say(world, f"trained in {seconds:.1f} s: valid_top1={last.valid_top1:.4f}, model in {folders.model}")
    gathered(world, None)  # until rank 0 has written the model
    for checkpoint in checkpoints.values():
        checkpoint.finish()


def chosen_mode(settings: Hyperparameters, device: torch.device, num_photos: int, num_classes: int) -> tuple[str, str]:
    """The mode, ``head`` or ``full``, and why."""
    if settings.mode != "auto":
        return settings.mode, "as asked for"
    if device.type != "cuda":
        return (
            "head",
            "there is no GPU, and without one the whole network takes hours; --mode full trains it all the same",
        )
    if num_photos < _MIN_PHOTOS * num_classes:
        return "head", f"{num_photos:,} photos of {num_classes} classes are too few for the whole network"
    return "full", f"there is a GPU, and {num_photos:,} photos of {num_classes} classes are enough"


def matches(classes: Sequence[str], rows: Sequence[int | None]) -> str:
    """Which classes ImageNet knows, in a sentence."""
    unknown = [label for label, row in zip(classes, rows, strict=True) if row is None]
    found = f"{len(classes) - len(unknown)} of {len(classes)} classes start from their ImageNet rows"
    return f"{found}; ImageNet does not know {named(unknown)}" if unknown else found


def _full_training(
    world: World,
    settings: Hyperparameters,
    chosen: Pretrained,
    source: Source,
    report: DataReport,
    scratch: Path,
    backbone: Backbone,
    start: Start,
    head_training: HeadTraining,
    checkpoint: Checkpoint,
) -> FullTraining:
    """The training of the whole network, its photos decoded."""
    classes, threads, spec = source.listing.classes, num_threads(world), chosen.preprocess
    train, valid = report.readable("train"), report.readable("valid")
    train_photos = decoded(world, source, train, spec, True, scratch, threads)
    valid_photos = decoded(world, source, valid, spec, False, scratch, threads)
    loader = TrainLoader(world, train_photos, labels(train, classes), spec, settings, threads)
    return FullTraining(
        world,
        settings,
        backbone,
        head_training.head,
        start,
        loader,
        train,
        valid_photos,
        labels(valid, classes),
        spec,
        checkpoint,
        threads,
    )


def _run_key(settings: Hyperparameters, world: World, chosen: Pretrained, report: DataReport, mode: str) -> str:
    parts = (settings.of_mode(mode), mode, world.world_size, asdict(chosen.preprocess), chosen.digest, report.digest())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


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
    parser.add_argument(
        "--scratch-dir",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="decoded photos, 0.2 MB each, while mode full trains (default: %(default)s)",
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
