"""The linear head: its start from the ImageNet classifier, and its training over all ranks."""

import copy
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
from training.distributed import World, gather, sum_over_ranks
from training.hyperparameters import HyperparameterError, Hyperparameters
from training.stopping import stop_is_requested, stop_together

_PREVIEW_EPOCHS = 5
# The pull of an unmatched class, relative to a matched one. Without it, classes with few photos are rarely recognized
# on photos unlike those.
_UNMATCHED_PULL = 0.03


class NonFiniteLossError(RuntimeError):
    """The loss or the gradient became infinite or not a number; every rank stops before the step."""


@dataclass(frozen=True)
class HeadStart:
    """The parameters that the head starts from and is pulled towards, for C classes and F features.

    weight: ``[C, F]``; a class that ImageNet knows has its ImageNet row, the others have the mean of these rows.
    bias: ``[C]``, in the same way.
    strength: ``[C]``, the strength of each class's pull; 1 for classes that ImageNet knows.
    """

    weight: Tensor
    bias: Tensor
    strength: Tensor


@dataclass(frozen=True)
class Samples:
    """This rank's photos of one split.

    features: ``[N, F]``. labels: ``[N]``, class indices. photos: the N photos, so that messages can name them.
    """

    features: Tensor
    labels: Tensor
    photos: Sequence[Photo]


@dataclass
class TrainingProgress:
    """The progress of a training; a checkpoint contains it beside the tensors.

    epochs: the figures of finished epochs, as in ``history.json``.
    steps: optimizer steps so far.
    samples_per_rank: photos that each rank used in the last epoch.
    start_top1: validation accuracy before the first step.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    samples_per_rank: list[int] = field(default_factory=list)
    start_top1: float = 0.0


def starting_head(classifier: nn.Linear, rows: Sequence[int | None]) -> HeadStart:
    """Return the head's start: the classifier's rows for classes that ImageNet knows, and their mean for the others.

    The mean stands for what these classes have in common, for example being dogs. If ImageNet knows no class, it is 0.

    Args:
        classifier: the pretrained classifier of ImageNet's classes.
        rows: the ImageNet row of each class, None where ImageNet does not know it.
    """
    matched = [row for row in rows if row is not None]

    def start_values(pretrained: Tensor) -> Tensor:
        mean = pretrained[matched].mean(0) if matched else torch.zeros_like(pretrained[0])
        return torch.stack([mean if row is None else pretrained[row] for row in rows])

    strength = torch.tensor([_UNMATCHED_PULL if row is None else 1.0 for row in rows])
    return HeadStart(start_values(classifier.weight.detach()), start_values(classifier.bias.detach()), strength)


class HeadTraining:
    """Trains a linear head over the ranks' samples; interruptions do not change the result.

    Args:
        world: this rank among its peers.
        settings: the hyperparameters.
        start: the head's first parameters.
        train, valid: this rank's samples.
        num_train: training photos over all ranks.
        checkpoint: the checkpoint to resume from and to write.

    Attributes:
        progress: the figures for ``history.json``.
        head: the linear layer.

    Raises:
        HyperparameterError: a step would have fewer photos than ranks.
    """

    def __init__(
        self,
        world: World,
        settings: Hyperparameters,
        start: HeadStart,
        train: Samples,
        valid: Samples,
        num_train: int,
        checkpoint: Checkpoint,
    ) -> None:
        # A step is too little work for more threads. Two are no faster, and much slower beside other programs.
        torch.set_num_threads(1)
        self.progress = TrainingProgress()
        self._world, self._settings, self._train, self._valid = world, settings, train, valid
        self._num_train, self._checkpoint = num_train, checkpoint
        if settings.global_batch_size < world.world_size:
            raise HyperparameterError(
                f"training: global_batch_size is {settings.global_batch_size}; it must be at least the number of "
                f"processes, {world.world_size}, so that each has a photo in every step"
            )
        self._steps_per_epoch = math.ceil(num_train / settings.global_batch_size)
        self._start = HeadStart(*(each.to(world.device) for each in (start.weight, start.bias, start.strength)))
        self._pull = 2 * settings.pull * self._start.strength  # [C], the gradient of a class per distance
        self._weights = self._weights_of_classes()
        self.head = nn.Linear(start.weight.shape[1], len(start.bias), device=world.device)
        self.head.load_state_dict({"weight": start.weight, "bias": start.bias})
        self._parallel: nn.Module = DistributedDataParallel(self.head) if world.world_size > 1 else self.head
        self._optimizer = torch.optim.Adam(self.head.parameters(), lr=settings.learning_rate, fused=True)
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self._optimizer, max(1, settings.epochs * self._steps_per_epoch)
        )

    def run(self) -> None:
        """Train to the last epoch, from the checkpoint if there is one.

        Raises:
            NonFiniteLossError: the loss is not finite; every rank raises it.
            FileWriteError: the checkpoint cannot be written.
            StopRequestedError: a rank received SIGTERM; every rank raises it after the epoch, with a checkpoint.
        """
        if state := self._checkpoint.load():
            self.restore(state)
            self._world.print_once(f"resumed from epoch {len(self.progress.epochs)} of {self._settings.epochs}")
        else:
            _, self.progress.start_top1 = self.evaluate()
            self._world.print_once(f"before training valid_top1={self.progress.start_top1:.4f}")
        for epoch in range(len(self.progress.epochs) + 1, self._settings.epochs + 1):
            self._run_epoch(epoch)

    @torch.no_grad()
    def correct(self) -> Tensor:
        """Return whether each of this rank's validation photos is named correctly, bool ``[N]``."""
        answers: Tensor = self.head(self._valid.features).argmax(1)
        return answers == self._valid.labels

    @torch.no_grad()
    def evaluate(self) -> tuple[float, float]:
        """Return mean loss and accuracy over the validation photos of all ranks."""
        logits = self.head(self._valid.features)
        loss = F.cross_entropy(logits, self._valid.labels, reduction="sum")
        correct = (logits.argmax(1) == self._valid.labels).sum()
        total_loss, total_correct, count = sum_over_ranks(self._world, loss, correct, len(self._valid.labels))
        return total_loss / count, total_correct / count

    @property
    def valid_top1(self) -> float:
        """The validation accuracy so far, in [0, 1]."""
        return self.progress.epochs[-1]["valid_top1"] if self.progress.epochs else self.progress.start_top1

    def checksum(self) -> str:
        """Return 16 hex digits over this rank's own copy of the parameters."""
        digest = hashlib.sha256()
        for parameter in self.head.parameters():
            digest.update(parameter.detach().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def _run_epoch(self, epoch: int) -> None:
        begin = time.monotonic()
        train_loss, comm_wait = self.train_epoch(epoch)
        valid_loss, valid_top1 = self.evaluate()
        seconds = time.monotonic() - begin
        figures = {
            "epoch": epoch,
            "train_loss": train_loss,
            "valid_loss": valid_loss,
            "valid_top1": valid_top1,
            "seconds": seconds,
            "photos_per_s": self._num_train / seconds,
            "data_wait": 0.0,  # The features are in memory.
            "comm_wait": comm_wait / seconds,
            "peak_memory_mb": peak_memory_mb(self._world),
        }
        self.progress.epochs.append(figures)
        # The ranks agree: rank 0 decides whether its interval is over, and any rank whether to stop.
        is_due, is_stopping = sum_over_ranks(
            self._world, self._world.is_main and self._checkpoint.due(), stop_is_requested()
        )
        is_last = epoch == self._settings.epochs
        if is_last or is_due or is_stopping:
            self._checkpoint.save(self.state())
        self._world.print_once(epoch_line(figures, self._settings.epochs, (self._settings.epochs - epoch) * seconds))
        if is_stopping:
            stop_together(self._world)

    def train_epoch(self, epoch: int) -> tuple[float, float]:
        """Train one pass over this rank's samples, number ``epoch`` of all.

        Every rank takes the same number of steps. Each divides its samples evenly among them, so batches differ by at
        most one photo. Each photo is used once and has the same weight in the gradient.

        Returns:
            The mean loss over the photos of all ranks, and the seconds spent in communication.
        """
        # The order depends only on seed and epoch, so a resumed run repeats it without a saved generator.
        generator = torch.Generator().manual_seed(self._settings.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self._train.labels), generator=generator)
        epoch_loss, comm_seconds, num_samples = 0.0, 0.0, 0
        for batch in order.tensor_split(self._steps_per_epoch):
            loss, seconds = self._step(batch.to(self._world.device), epoch)
            epoch_loss, comm_seconds, num_samples = epoch_loss + loss, comm_seconds + seconds, num_samples + len(batch)
        self.progress.samples_per_rank = gather(self._world, num_samples)
        return epoch_loss / self._num_train, comm_seconds

    def _step(self, batch: Tensor, epoch: int) -> tuple[float, float]:
        """Take an optimizer step; return the summed loss of all ranks and the seconds spent in communication."""
        labels = self._train.labels[batch]
        losses = F.cross_entropy(self._parallel(self._train.features[batch]), labels, reduction="none")
        loss = losses.sum() if self._weights is None else losses @ self._weights[labels]
        begin = time.monotonic()
        total, count = sum_over_ranks(self._world, loss.detach(), len(batch))
        if not math.isfinite(total):
            self._raise_non_finite(total, epoch, batch[~losses.isfinite()])
        self._optimizer.zero_grad()
        seconds = time.monotonic() - begin if self._world.world_size > 1 else 0.0
        # DDP averages gradients over ranks. With this factor the average is the mean over all photos of the step.
        objective: Tensor = loss * (self._world.world_size / count)
        objective.backward()  # type: ignore[no-untyped-call]
        self._add_pull()
        self._optimizer.step()
        self._schedule.step()
        self.progress.steps += 1
        return total, seconds

    def _raise_non_finite(self, loss: float, epoch: int, bad: Tensor) -> NoReturn:
        """Raise the same error on all ranks, which names the photos whose loss is not finite, and their ranks."""
        own_paths = [self._train.photos[index].path for index in bad.tolist()]
        where = [
            f" on rank {rank} with {named(paths)}" for rank, paths in enumerate(gather(self._world, own_paths)) if paths
        ]
        raise NonFiniteLossError(
            f"training: the loss became {loss} in epoch {epoch}, step {self.progress.steps + 1},{' and'.join(where)}; "
            f"look at these photos, or lower learning_rate (it is {self._settings.learning_rate:g})"
        )

    def _weights_of_classes(self) -> Tensor | None:
        """Return each class's weight of a photo, ``[C]``, so that all classes have equal weight; None if photos do."""
        if self._settings.sampling == "natural":
            return None
        num_classes = len(self._start.bias)
        counts = torch.tensor(
            sum_over_ranks(self._world, *self._train.labels.bincount(minlength=num_classes)), device=self._world.device
        )
        return self._num_train / (num_classes * counts.float())

    @torch.no_grad()
    def _add_pull(self) -> None:
        """Add the gradient of the pull, which is the same on all ranks.

        In the graph of the loss it would read and write arrays of the head's size eight times more: a third of a step.
        """
        weight, bias = self.head.weight, self.head.bias
        assert weight.grad is not None
        assert bias.grad is not None
        weight.grad.addcmul_(weight - self._start.weight, self._pull[:, None])
        bias.grad.addcmul_(bias - self._start.bias, self._pull)

    def state(self) -> dict[str, Any]:
        """Return all that another HeadTraining with the same settings and samples needs to continue."""
        return {
            "progress": vars(self.progress),
            "head": self.head.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state, which stays as it is."""
        state = copy.deepcopy(state)  # The optimizer would go on in the state's own tensors.
        self.progress = TrainingProgress(**state["progress"])
        self.head.load_state_dict(state["head"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])


def preview(world: World, settings: Hyperparameters, start: HeadStart, train: Samples, valid: Samples) -> float:
    """Return the validation accuracy of a head after a short training on the photos so far; all ranks must call it.

    Args:
        world: this rank among its peers.
        settings: the hyperparameters.
        start: the head's first parameters.
        train, valid: this rank's samples.
    """
    settings = replace(settings, epochs=min(settings.epochs, _PREVIEW_EPOCHS))
    num_train = round(sum_over_ranks(world, len(train.labels))[0])
    training = HeadTraining(world, settings, start, train, valid, num_train, no_checkpoint(world))
    for epoch in range(1, settings.epochs + 1):
        training.train_epoch(epoch)
    return training.evaluate()[1]


def no_checkpoint(world: World) -> Checkpoint:
    """Return the checkpoint of a training that nobody continues."""
    return Checkpoint(world, Path(os.devnull), "", math.inf)


def epoch_line(figures: dict[str, float], epochs: int, eta: float) -> str:
    """Return the line to print after an epoch, for people, the runner and SageMaker's metrics.

    Args:
        figures: the epoch's entry in ``history.json``.
        epochs: number of epochs of the training.
        eta: seconds until the last epoch is finished.
    """
    side = "side={side} " if "side" in figures else ""
    return (
        "epoch={epoch}/{epochs} " + side + "train_loss={train_loss:.4f} valid_loss={valid_loss:.4f} "
        "valid_top1={valid_top1:.4f} photos_per_s={photos_per_s:.1f} data_wait={data_wait:.3f} "
        "comm_wait={comm_wait:.3f} peak_memory_mb={peak_memory_mb:.0f} eta_s={eta:.1f}"
    ).format(**figures, epochs=epochs, eta=eta)


def peak_memory_mb(world: World) -> float:
    """Return the largest amount of memory that this rank has used, of its GPU or otherwise of its process, in MiB."""
    if world.device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
