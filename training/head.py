"""The linear head: how it starts, how it learns over all ranks."""

import hashlib
import math
import os
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dataset import Photo
from dataset.layout import named
from training.checkpoint import Checkpoint
from training.distributed import World, gathered, summed
from training.hyperparameters import HyperparameterError, Hyperparameters

_PREVIEW_EPOCHS = 5
_UNMATCHED_PULL = 0.03  # of a matched class's: without any, classes of few photos are lost on photos unlike those


class NonFiniteLossError(RuntimeError):
    """The loss became infinite or not a number; every rank stops before the step."""


@dataclass(frozen=True)
class Start:
    """Where the head starts, and where it is pulled to.

    weight: ``[C, F]`` for F features: the ImageNet rows of matched classes, for the others the mean of these.
    bias: ``[C]``, likewise.
    strength: ``[C]``, how strongly each class is pulled: 1 for matched ones.
    """

    weight: Tensor
    bias: Tensor
    strength: Tensor


@dataclass(frozen=True)
class Samples:
    """This rank's photos of one split.

    features: ``[N, F]``. labels: ``[N]``, class indices. photos: N, to name those of a bad step.
    """

    features: Tensor
    labels: Tensor
    photos: Sequence[Photo]


@dataclass
class Progress:
    """What a training has done so far; what a checkpoint holds beside the tensors.

    epochs: finished epochs, as in ``history.json``.
    steps: optimizer steps.
    samples_per_rank: photos that each rank consumed in the last epoch.
    start_top1: validation accuracy before the first step.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    samples_per_rank: list[int] = field(default_factory=list)
    start_top1: float = 0.0


def starting_head(classifier: nn.Linear, rows: Sequence[int | None]) -> Start:
    """The rows of the pretrained classifier for the classes that are ImageNet classes, their mean for the others.

    The mean is what most of them have in common, say a dog; where no class is matched, it is zero.
    """
    matched = [row for row in rows if row is not None]

    def started(given: Tensor) -> Tensor:
        usual = given[matched].mean(0) if matched else torch.zeros_like(given[0])
        return torch.stack([usual if row is None else given[row] for row in rows])

    strength = torch.tensor([_UNMATCHED_PULL if row is None else 1.0 for row in rows])
    return Start(started(classifier.weight.detach()), started(classifier.bias.detach()), strength)


class HeadTraining:
    """Trains a linear head over the ranks' samples; the same result however often it is interrupted.

    Args:
        world: this rank among its peers.
        settings: the hyperparameters.
        start: the head's first weights.
        train, valid: this rank's samples.
        num_train: training photos over all ranks.
        checkpoint: what this run goes on from.

    Raises:
        HyperparameterError: a step would leave a rank without a photo.
    """

    def __init__(
        self,
        world: World,
        settings: Hyperparameters,
        start: Start,
        train: Samples,
        valid: Samples,
        num_train: int,
        checkpoint: Checkpoint,
    ) -> None:
        torch.set_num_threads(1)  # a step is too little work: as fast on two, far slower beside other programs
        self.progress = Progress()
        self._world, self._settings, self._train, self._valid = world, settings, train, valid
        self._num_train, self._checkpoint = num_train, checkpoint
        if settings.global_batch_size < world.world_size:
            raise HyperparameterError(
                f"training: global_batch_size is {settings.global_batch_size}; it must be at least the number of "
                f"processes, {world.world_size}, so that each has a photo in every step"
            )
        self._steps_per_epoch = math.ceil(num_train / settings.global_batch_size)
        self._start = Start(*(each.to(world.device) for each in (start.weight, start.bias, start.strength)))
        self._weights = self._weights_of_classes()
        self.head = nn.Linear(start.weight.shape[1], len(start.bias), device=world.device)
        self.head.load_state_dict({"weight": start.weight, "bias": start.bias})
        self._parallel: nn.Module = DistributedDataParallel(self.head) if world.world_size > 1 else self.head
        self._optimizer = torch.optim.Adam(self.head.parameters(), lr=settings.learning_rate, fused=True)
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self._optimizer, max(1, settings.epochs * self._steps_per_epoch)
        )

    def run(self) -> None:
        """Train to the last epoch, from the checkpoint where there is one.

        Raises:
            NonFiniteLossError: on every rank alike.
            StorageError: the checkpoint cannot be written.
        """
        if kept := self._checkpoint.load():
            self._restore(kept)
            self._say(f"resumed from epoch {len(self.progress.epochs)} of {self._settings.epochs}")
        else:
            _, self.progress.start_top1 = self.evaluate()
            self._say(f"before training valid_top1={self.progress.start_top1:.4f}")
        for epoch in range(len(self.progress.epochs) + 1, self._settings.epochs + 1):
            self._run_epoch(epoch)

    @torch.no_grad()
    def evaluate(self) -> tuple[float, float]:
        """Mean loss and accuracy over the validation photos of all ranks."""
        logits = self.head(self._valid.features)
        loss = F.cross_entropy(logits, self._valid.labels, reduction="sum")
        correct = (logits.argmax(1) == self._valid.labels).sum()
        total_loss, total_correct, count = summed(self._world, loss, correct, len(self._valid.labels))
        return total_loss / count, total_correct / count

    @property
    def valid_top1(self) -> float:
        """Validation accuracy after what has been done so far."""
        return self.progress.epochs[-1]["valid_top1"] if self.progress.epochs else self.progress.start_top1

    def checksum(self) -> str:
        """16 hex digits over this rank's own copy of the trained parameters."""
        digest = hashlib.sha256()
        for parameter in self.head.parameters():
            digest.update(parameter.detach().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def _run_epoch(self, epoch: int) -> None:
        begin = time.monotonic()
        train_loss, comm_wait = self._train_epoch(epoch)
        valid_loss, valid_top1 = self.evaluate()
        seconds = time.monotonic() - begin
        figures = {
            "epoch": epoch,
            "train_loss": train_loss,
            "valid_loss": valid_loss,
            "valid_top1": valid_top1,
            "seconds": seconds,
            "photos_per_s": self._num_train / seconds,
            "data_wait": 0.0,  # the features lie in memory
            "comm_wait": comm_wait / seconds,
            "peak_memory_mb": peak_memory_mb(self._world),
        }
        self.progress.epochs.append(figures)
        if self._checkpoint_is_due(epoch):
            self._save()
        self._say(epoch_line(figures, self._settings.epochs, (self._settings.epochs - epoch) * seconds))

    def _checkpoint_is_due(self, epoch: int) -> bool:
        """After the last epoch, and when rank 0's clock says so; the same on every rank."""
        is_last = epoch == self._settings.epochs
        return is_last or bool(summed(self._world, self._world.is_main and self._checkpoint.due())[0])

    def _train_epoch(self, epoch: int) -> tuple[float, float]:
        """One pass over this rank's samples; the mean loss over those of all ranks, and seconds in which they spoke.

        Every rank takes the same number of steps. Its samples are dealt out evenly, so batches differ
        by at most one photo and none is seen twice; each photo weighs the same in the gradient.
        """
        # From the epoch alone, so that a resumed run needs no generator's state to see the same order.
        generator = torch.Generator().manual_seed(self._settings.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self._train.labels), generator=generator)
        epoch_loss, waited, consumed = 0.0, 0.0, 0
        for batch in order.tensor_split(self._steps_per_epoch):
            loss, seconds = self._step(batch.to(self._world.device), epoch)
            epoch_loss, waited, consumed = epoch_loss + loss, waited + seconds, consumed + len(batch)
        self.progress.samples_per_rank = gathered(self._world, consumed)
        return epoch_loss / self._num_train, waited

    def _step(self, batch: Tensor, epoch: int) -> tuple[float, float]:
        labels = self._train.labels[batch]
        losses = F.cross_entropy(self._parallel(self._train.features[batch]), labels, reduction="none")
        loss = losses.sum() if self._weights is None else losses @ self._weights[labels]
        begin = time.monotonic()
        total, count = summed(self._world, loss.detach(), len(batch))
        if not math.isfinite(total):
            self._stop(total, epoch, batch[~losses.isfinite()])
        self._optimizer.zero_grad()
        seconds = time.monotonic() - begin if self._world.world_size > 1 else 0.0
        # DDP averages gradients over ranks; scaled so, the average is the mean over all photos of the step.
        objective: Tensor = loss * (self._world.world_size / count) + self._settings.pull * self._distance()
        objective.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._schedule.step()
        self.progress.steps += 1
        return total, seconds

    def _stop(self, loss: float, epoch: int, bad: Tensor) -> NoReturn:
        """End all ranks alike, naming the photos on the ranks where it arose."""
        own = [self._train.photos[index].path for index in bad.tolist()]
        where = [
            f" on rank {rank} with {named(photos)}" for rank, photos in enumerate(gathered(self._world, own)) if photos
        ]
        raise NonFiniteLossError(
            f"training: the loss became {loss} in epoch {epoch}, step {self.progress.steps + 1},{' and'.join(where)}; "
            f"look at these photos, or lower learning_rate (it is {self._settings.learning_rate:g})"
        )

    def _weights_of_classes(self) -> Tensor | None:
        """``[C]``: what a photo weighs, so that every class weighs the same; None where all photos do."""
        if self._settings.sampling == "natural":
            return None
        num_classes = len(self._start.bias)
        counts = torch.tensor(
            summed(self._world, *self._train.labels.bincount(minlength=num_classes)), device=self._world.device
        )
        return self._num_train / (num_classes * counts.float())

    def _distance(self) -> Tensor:
        """Squared distance of the classes' parameters from where they started, each with its strength."""
        moved = (self.head.weight - self._start.weight).square().sum(1) + (self.head.bias - self._start.bias).square()
        return moved @ self._start.strength

    def _save(self) -> None:
        state = {
            "progress": vars(self.progress),
            "head": self.head.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }
        self._checkpoint.save(state)

    def _restore(self, kept: dict[str, Any]) -> None:
        self.progress = Progress(**kept["progress"])
        self.head.load_state_dict(kept["head"])
        self._optimizer.load_state_dict(kept["optimizer"])
        self._schedule.load_state_dict(kept["schedule"])

    def _say(self, line: str) -> None:
        if self._world.is_main:
            print(line, flush=True)


def preview(world: World, settings: Hyperparameters, start: Start, train: Samples, valid: Samples) -> float:
    """Validation accuracy of a head that has learnt a little from the photos so far; all ranks must call it."""
    settings = replace(settings, epochs=min(settings.epochs, _PREVIEW_EPOCHS))
    num_train = round(summed(world, len(train.labels))[0])
    never = Checkpoint(world, Path(os.devnull), "", math.inf)
    training = HeadTraining(world, settings, start, train, valid, num_train, never)
    for epoch in range(1, settings.epochs + 1):
        training._train_epoch(epoch)
    return training.evaluate()[1]


def epoch_line(figures: dict[str, float], epochs: int, eta: float) -> str:
    """What is said after an epoch, for people and for SageMaker's metrics.

    Args:
        figures: the epoch's of ``history.json``.
        epochs: how many there will be.
        eta: seconds until the last one is done.
    """
    side = "side={side} " if "side" in figures else ""
    return (
        "epoch={epoch}/{epochs} " + side + "train_loss={train_loss:.4f} valid_loss={valid_loss:.4f} "
        "valid_top1={valid_top1:.4f} photos_per_s={photos_per_s:.1f} data_wait={data_wait:.3f} "
        "comm_wait={comm_wait:.3f} peak_memory_mb={peak_memory_mb:.0f} eta_s={eta:.1f}"
    ).format(**figures, epochs=epochs, eta=eta)


def peak_memory_mb(world: World) -> float:
    """Most memory that this rank has had at once: of its GPU, else of its process; MiB."""
    if world.device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
