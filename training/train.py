r"""Train an image classifier on a folder of labelled photos, in one process or many.

The folder contains train/, valid/ and test/, each with one folder per class.

On a laptop, in one process that uses all cores:

    python -m training.train --data dogImages --model-dir TrainedModels

On one machine with two processes, for example one per GPU:

    torchrun --nproc_per_node=2 -m training.train --data dogImages --model-dir TrainedModels

On two machines, the same command on each; algo-1 is the name of one of them:

    torchrun --nnodes=2 --nproc_per_node=1 --rdzv-backend=c10d --rdzv-endpoint=algo-1:29500 \
        -m training.train --data dogImages --model-dir TrainedModels

On SageMaker, the entry point of the image on every host is the launcher, which starts this program:

    python -m training.launch --root /opt/ml train

The program first computes features of the photos, each rank those of its share. They are kept, so that a restart and
other runs find them. Then all ranks train a linear head on the features and, in mode full, the whole network. At the
end rank 0 writes the model artifact. The same command again continues an interrupted run from its checkpoint. SIGTERM
makes the ranks write one and end.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from dataset import OTHER, DatasetError, Source, open_source
from dataset.layout import named
from dataset.reading import AS_IT_IS, Reading
from networks.backbone import Backbone
from networks.classifier import BreedClassifier
from training import hyperparameters
from training.artifact import MODEL, classifier_of, ddp_document, labels_document, write_manifest, write_model
from training.backbones import Pretrained, check_digests, find_backbone, weights_file
from training.checkpoint import Checkpoint, remove_finished
from training.curves import learning_curve
from training.distributed import Cores, PeerLostError, World, gather, process_group, share_cores, step_timeout
from training.files import FileWriteError, check_folder, replace_file, replace_json
from training.full import FullTraining, FullTrainingData
from training.head import HeadStart, HeadTraining, NonFiniteLossError, starting_head
from training.hyperparameters import HyperparameterError, Hyperparameters
from training.imagenet_dogs import imagenet_rows
from training.launch import PEER_LOST_EXIT_CODE, STOPPED_EXIT_CODE
from training.loader import TrainLoader
from training.memory import keep_freed_memory
from training.photos import HashedPhotos, decode_photos, hash_photos
from training.report import DataReport
from training.samples import HeadSamples, class_indices, head_samples
from training.search import Search
from training.search import parse as parse_search
from training.stopping import StopRequestedError, stopping_on_sigterm
from training.trials import Trainer, TrialRounds, data_of_all_ranks
from training.tuned import run_finals, tuned_document, winning_settings
from training.weights import WeightsError

SPLITS = ("train", "valid")  # Of the test photos only the digests are taken, for the evaluation.
USER_ERRORS = (
    DatasetError,
    HyperparameterError,
    NonFiniteLossError,
    FileWriteError,
    WeightsError,
)
# With fewer training photos per class, training the whole network gains nothing over training the head.
# See "auto takes mode full only on a GPU" in docs/decisions/training.md.
_MIN_PHOTOS_PER_CLASS = 20


@dataclass(frozen=True)
class Folders:
    """Where a run reads and writes.

    data: folder or archive of photos.
    model: folder in which rank 0 writes the model artifact.
    checkpoints: folder of checkpoints and features; runs with the same backbone may share it.
    scratch: folder of the decoded photos during full training.
    reading: what to leave out of the photos, and how to make splits.
    """

    data: Path
    model: Path
    checkpoints: Path
    scratch: Path
    reading: Reading = AS_IT_IS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the command line's arguments; None reads those of the process.

    Returns:
        The exit code. If it is not 0, the last line on stderr is a sentence that says why.
    """
    keep_freed_memory()
    options = _parser().parse_args(arguments)
    try:
        strings = {name: value for name, value in vars(options).items() if name in _NAMES and value is not None}
        named = {**options.hyperparameters, **strings}
        reading = options.reading or Reading.from_json(str(named.pop("reading", "")))
        planned = str(named.pop("weights_sha256", ""))
        tune = options.tune or named.pop("tune", None)
        settings = hyperparameters.from_strings(named)
        search = parse_search(str(tune), settings, frozenset(named)) if tune else None
        names = search.backbones() if search else [settings.backbone]
        pretrained = {name: find_backbone(name, weights_file(options.weights, name)) for name in names}
        check_digests(pretrained.values(), planned)
        checkpoints = options.checkpoint_dir or options.model_dir / "checkpoints"
        with stopping_on_sigterm(), process_group() as world:
            folders = Folders(options.data, options.model_dir, checkpoints, options.scratch_dir, reading)
            for folder in (folders.model, folders.checkpoints) if world.rank == 0 else ():
                check_folder(folder)
            train(world, settings, pretrained, folders, search)
    except PeerLostError as error:
        print(error, file=sys.stderr)
        return PEER_LOST_EXIT_CODE
    except StopRequestedError as error:
        print(error, file=sys.stderr)
        return STOPPED_EXIT_CODE
    except USER_ERRORS as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("training: stopped; run the same command again to continue from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def train(
    world: World,
    settings: Hyperparameters,
    pretrained: Mapping[str, Pretrained],
    folders: Folders,
    search: Search | None = None,
) -> None:
    """Run the whole training of one rank; all ranks must call it.

    Args:
        world: this rank among its peers.
        settings: the hyperparameters; those that a search varies have their defaults.
        pretrained: the backbone, or all backbones that a search may choose, by name.
        folders: where to read and write.
        search: the search for hyperparameters before the training; None for no search.

    Raises:
        PeerLostError: another rank ended too early or hangs.
        StopRequestedError: a rank received SIGTERM.
        DatasetError, FileWriteError, HyperparameterError, NonFiniteLossError, WeightsError: see their classes.
    """
    begin = time.monotonic()
    remove_finished(world, folders.checkpoints)
    source = open_source(folders.data, folders.reading)
    classes = source.listing.classes
    if source.listing.made_splits:
        world.print_once(source.listing.made_splits)
    mode, reason = choose_mode(settings, world.device, len(source.listing.of("train")), len(classes))
    world.print_once(f"mode {mode}: {reason}")
    if search and mode != "head":
        raise HyperparameterError(
            "tune: inside a training only mode head is searched, and this is mode full; set mode to head, "
            "or leave out tune"
        )
    rows, cores = imagenet_rows(classes), share_cores(world)
    world.print_once(imagenet_sentence(classes, rows), cores.sentence(), *world.notices)
    threads = cores.taken[world.rank]
    photos = {split: hash_photos(world, source, split, threads) for split in SPLITS}
    judged = [hash_photos(world, source, split, threads) for split in ("test", OTHER) if source.listing.of(split)]
    manifest = {path: digest for each in (*photos.values(), *judged) for path, digest in each.manifest().items()}
    prepared = {
        name: _prepare(world, settings, each, source, photos, rows, folders, threads)
        for name, each in pretrained.items()
    }
    unreadable = next(iter(prepared.values())).samples.unreadable
    report = DataReport(source.listing, photos, unreadable)
    world.print_once(*report.sentences())
    report.refuse_empty_classes(str(folders.data))

    documents: dict[str, Any] = {}
    checkpoints: list[Checkpoint] = []
    if search:
        key = _run_key(settings, world, pretrained.values(), report, repr(search.document()))
        checkpoints = _checkpoints(world, settings, folders, ("search", "finals"), key)
        settings, documents["tuned"] = _tune(world, search, cores, prepared, checkpoints)
    chosen = prepared[settings.backbone]
    key = _run_key(settings, world, [chosen.pretrained], report, mode)
    of_phases = _checkpoints(world, settings, folders, ("head", "full") if mode == "full" else ("head",), key)
    trained = _train_phases(world, settings, chosen, source, report, folders.scratch, threads, of_phases)
    checksums, hosts = gather(world, trained.last.checksum()), gather(world, world.host)
    if world.is_main:
        progress, num_train = trained.last.progress, len(report.readable("train"))
        ddp = ddp_document(hosts, world.backend, num_train, progress.samples_per_rank, progress.steps, checksums)
        equality = "equal" if ddp["in_sync"] else "NOT equal: the ranks trained separately"
        world.print_once(f"{world.world_size} rank(s), parameters {equality}")
        rate, top1 = chosen.samples.photos_per_second, trained.last.valid_top1
        documents |= {
            "labels": labels_document(classes, rows),
            "preprocess": asdict(chosen.pretrained.preprocess),
            "ddp": ddp,
            "data": {**report.document(), "photos": manifest},
            "history": trained.history,
            "training": _training_document(settings, mode, begin, rate, trained.history, top1, chosen.pretrained),
        }
        _write_artifact(folders.model, documents, trained.classifier)
        seconds = time.monotonic() - begin
        world.print_once(f"trained in {seconds:.1f} s: valid_top1={top1:.4f}, model in {folders.model}")
    gather(world, None)  # Wait until rank 0 has written the model.
    for checkpoint in checkpoints + of_phases:
        checkpoint.finish()


@dataclass(frozen=True)
class Prepared:
    """A backbone, the start of the head, and this rank's samples in its features."""

    pretrained: Pretrained
    backbone: Backbone
    start: HeadStart
    samples: HeadSamples


@dataclass(frozen=True)
class Trained:
    """The end of a training: its last phase, the trained network, and the content of ``history.json``."""

    last: HeadTraining | FullTraining
    classifier: BreedClassifier
    history: dict[str, Any]


def _prepare(
    world: World,
    settings: Hyperparameters,
    pretrained: Pretrained,
    source: Source,
    photos: Mapping[str, HashedPhotos],
    rows: Sequence[int | None],
    folders: Folders,
    threads: int,
) -> Prepared:
    """Compute the features of one backbone; all ranks must call it."""
    backbone = pretrained.load()
    start = starting_head(backbone.fc, rows)
    samples = head_samples(world, settings, pretrained, source, photos, start, folders.checkpoints, threads)
    return Prepared(pretrained, backbone, start, samples)


def _tune(
    world: World, search: Search, cores: Cores, prepared: Mapping[str, Prepared], checkpoints: Sequence[Checkpoint]
) -> tuple[Hyperparameters, dict[str, Any]]:
    """Search hyperparameters; return the best ones and the content of ``tuned.json``; all ranks must call it."""
    data = {
        name: data_of_all_ranks(world, each.start, each.samples.train, each.samples.valid)
        for name, each in prepared.items()
    }
    trainer = Trainer(world, cores, data)
    rounds = TrialRounds(world, search, trainer, checkpoints[0])
    world.print_once(f"searching {', '.join(search.ranges)} in {search.trials} trials ({search.strategy})")
    trials, begin = rounds.run(), time.monotonic()
    finalists = run_finals(world, search, trainer, trials, checkpoints[1])
    tuned = tuned_document(world, search, trials, finalists, rounds.seconds + time.monotonic() - begin)
    world.print_once(
        f"searched {len(trials)} trials in {tuned['seconds']:.1f} s and {tuned['cpu_seconds']:.1f} s of cores: "
        f"{tuned['gain']['sentence']}"
    )
    return winning_settings(search, finalists), tuned


def _train_phases(
    world: World,
    settings: Hyperparameters,
    prepared: Prepared,
    source: Source,
    report: DataReport,
    scratch: Path,
    threads: int,
    checkpoints: Sequence[Checkpoint],
) -> Trained:
    """Train the head and, with a second checkpoint, the whole network; all ranks must call it."""
    samples, num_train = prepared.samples, len(report.readable("train"))
    training = HeadTraining(world, settings, prepared.start, samples.train, samples.valid, num_train, checkpoints[0])
    with step_timeout(world):
        training.run()
    phases = [{"name": "head", "epochs": training.progress.epochs}]
    history = {"start_top1": training.progress.start_top1, "phases": phases}
    head = training.head.cpu()
    if len(checkpoints) == 1:
        return Trained(training, classifier_of(prepared.backbone, head), history)
    data = _full_training_data(world, settings, prepared.pretrained, source, report, scratch, threads)
    full = FullTraining(world, settings, prepared.backbone, head, prepared.start, data, checkpoints[1], threads)
    with step_timeout(world):
        full.run()
    phases.append({"name": "full", "epochs": full.progress.epochs})
    return Trained(full, classifier_of(*full.result()), history)


def choose_mode(settings: Hyperparameters, device: torch.device, num_photos: int, num_classes: int) -> tuple[str, str]:
    """Return the mode, ``head`` or ``full``, and the reason for it."""
    if settings.mode != "auto":
        return settings.mode, "set by the hyperparameter"
    if device.type != "cuda":
        return (
            "head",
            "there is no GPU, and without one training the whole network takes hours; --mode full does it anyway",
        )
    if num_photos < _MIN_PHOTOS_PER_CLASS * num_classes:
        return "head", f"{num_photos:,} photos of {num_classes} classes are too few for the whole network"
    return "full", f"there is a GPU, and {num_photos:,} photos of {num_classes} classes are enough"


def imagenet_sentence(classes: Sequence[str], rows: Sequence[int | None]) -> str:
    """Return a sentence that says how many classes ImageNet knows, and names the others."""
    unknown = [label for label, row in zip(classes, rows, strict=True) if row is None]
    sentence = f"{len(classes) - len(unknown)} of {len(classes)} classes start from their ImageNet rows"
    return f"{sentence}; ImageNet does not know {named(unknown)}" if unknown else sentence


def _full_training_data(
    world: World,
    settings: Hyperparameters,
    pretrained: Pretrained,
    source: Source,
    report: DataReport,
    scratch: Path,
    threads: int,
) -> FullTrainingData:
    """Decode the photos for the training of the whole network; all ranks must call it."""
    classes, spec = source.listing.classes, pretrained.preprocess
    train, valid = report.readable("train"), report.readable("valid")
    train_decoded = decode_photos(world, source, train, spec, True, scratch, threads)
    valid_decoded = decode_photos(world, source, valid, spec, False, scratch, threads)
    loader = TrainLoader(world, train_decoded, class_indices(train, classes), spec, settings, threads)
    return FullTrainingData(loader, train, valid_decoded, class_indices(valid, classes), spec)


def _training_document(
    settings: Hyperparameters,
    mode: str,
    begin: float,
    photos_per_second: float,
    history: Mapping[str, Any],
    valid_top1: float,
    pretrained: Pretrained,
) -> dict[str, object]:
    """Return the content of ``training.json``."""
    return {
        "hyperparameters": settings.of_mode(mode) | {"mode": mode},
        "backbone": settings.backbone,
        "mode": mode,
        "torch": torch.__version__,
        "seconds": round(time.monotonic() - begin, 1),
        "photos_per_second": round(photos_per_second, 1),
        "start_top1": history["start_top1"],
        "valid_top1": valid_top1,
        **pretrained.provenance,
    }


def _write_artifact(folder: Path, documents: dict[str, Any], classifier: BreedClassifier) -> None:
    """Write the documents, the learning curve, the trained tensors, and the manifest of all of them."""
    for name, document in documents.items():
        replace_json(folder / f"{name}.json", document)
    replace_file(folder / "history.svg", learning_curve(documents["history"]).encode())
    write_model(folder / MODEL, classifier)
    write_manifest(folder, [*(f"{name}.json" for name in documents), "history.svg", MODEL])


def _checkpoints(
    world: World, settings: Hyperparameters, folders: Folders, names: Iterable[str], key: str
) -> list[Checkpoint]:
    return [
        Checkpoint(world, folders.checkpoints / f"{name}-{key}.pt", key, settings.checkpoint_seconds) for name in names
    ]


def _run_key(
    settings: Hyperparameters, world: World, pretrained: Iterable[Pretrained], report: DataReport, what: str
) -> str:
    """Return 16 hex digits that differ between runs which must not resume from each other's checkpoint.

    Args:
        settings: the hyperparameters.
        world: this rank among its peers.
        pretrained: the backbones.
        report: the photos.
        what: the mode, or what is searched in mode head.
    """
    parts = (
        settings.of_mode("full" if what == "full" else "head"),
        what,
        world.world_size,
        *((asdict(each.preprocess), each.digest) for each in pretrained),
        report.digest(),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _json_object(text: str) -> dict[str, object]:
    with suppress(ValueError):
        if isinstance(value := json.loads(text), dict):
            return value
    raise argparse.ArgumentTypeError(f"'{text}' must be a JSON object, such as {{}}")


_NAMES = frozenset(Hyperparameters.__dataclass_fields__)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder or .zip/.tar archive of photos")
    parser.add_argument(
        "--model-dir", type=Path, required=True, help="folder in which rank 0 writes the model artifact"
    )
    parser.add_argument(
        "--checkpoint-dir",
        type=Path,
        help="folder of features and checkpoints to continue from (default: MODEL_DIR/checkpoints)",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        help="the backbone's .pth or .safetensors, or a folder with BACKBONE.pth for each backbone that is searched "
        "(default: the file of its pip package)",
    )
    parser.add_argument(
        "--tune",
        metavar="JSON",
        help="search hyperparameters before the training, such as '{\"trials\": 64}'; see docs/training.md",
    )
    parser.add_argument(
        "--reading",
        type=Reading.from_json,
        metavar="JSON",
        help='what to leave out of the photos, and the shares of splits that they lack, such as \'{"leaks": "drop", '
        '"split": "70/15/15", "drop_breeds": ["Pug"]}\'',
    )
    parser.add_argument(
        "--hyperparameters",
        type=_json_object,
        default={},
        metavar="JSON",
        help="all hyperparameters below as one JSON object",
    )
    parser.add_argument(
        "--scratch-dir",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="folder for decoded photos in mode full, 0.2 MB each (default: %(default)s)",
    )
    hyperparameters.add_arguments(parser)
    return parser


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Exit without the interpreter's shutdown, in which torch 2.13's gloo threads sometimes abort a finished rank
    # ("terminate called without an active exception"). See "A rank leaves by os._exit" in docs/decisions/training.md.
    os._exit(code)
