"""The linear head: how it starts, how it learns over all ranks, how it is checkpointed."""

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from training.distributed import World, gathered, same_as_main, summed
from training.files import replace_file, to_bytes
from training.hyperparameters import HyperparameterError, Hyperparameters


class NonFiniteLossError(RuntimeError):
    """The loss became infinite or not a number; every rank stops before the step."""


@dataclass(frozen=True)
class Start:
    """Where the head starts, and where it is pulled to.

    weight: ``[C, F]`` for F features, the ImageNet rows of matched classes, zero for the others.
    bias: ``[C]``, likewise.
    matched: bool ``[C]``; the others are not pulled.
    """

    weight: Tensor
    bias: Tensor
    matched: Tensor


@dataclass(frozen=True)
class Samples:
    """Features ``[N, F]`` and class indices ``[N]`` of this rank's photos of one split."""

    features: Tensor
    labels: Tensor


@dataclass
class Progress:
    """What the head's training has done so far; what a checkpoint holds beside the tensors.

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
    """The rows of the pretrained classifier for the classes that are ImageNet classes."""
    matched = torch.tensor([row is not None for row in rows])
    index = torch.tensor([row or 0 for row in rows])
    weight, bias = classifier.weight.detach()[index], classifier.bias.detach()[index]
    return Start(weight * matched[:, None], bias * matched, matched)


class HeadTraining:
    """Trains a linear head over the ranks' samples; the same result however often it is interrupted.

    Args:
        world: this rank among its peers.
        settings: the hyperparameters.
        start: the head's first weights.
        train, valid: this rank's samples.
        num_train: training photos over all ranks.
        checkpoint: the file that rank 0 writes after each epoch and resumes from.
        run_key: what makes this run; a checkpoint of another run is left alone.
    """

    def __init__(
        self,
        world: World,
        settings: Hyperparameters,
        start: Start,
        train: Samples,
        valid: Samples,
        num_train: int,
        checkpoint: Path,
        run_key: str,
    ) -> None:
        self.progress = Progress()
        self._world, self._settings, self._train, self._valid = world, settings, train, valid
        self._num_train, self._checkpoint, self._run_key = num_train, checkpoint, run_key
        if settings.global_batch_size < world.world_size:
            raise HyperparameterError(
                f"training: global_batch_size is {settings.global_batch_size}; it must be at least the number of "
                f"processes, {world.world_size}, so that each has a photo in every step"
            )
        self._steps_per_epoch = math.ceil(num_train / settings.global_batch_size)
        self._start = Start(*(t.to(world.device) for t in (start.weight, start.bias, start.matched.float())))
        self.head = nn.Linear(start.weight.shape[1], len(start.bias), device=world.device)
        self.head.load_state_dict({"weight": start.weight, "bias": start.bias})
        self._parallel: nn.Module = DistributedDataParallel(self.head) if world.world_size > 1 else self.head
        self._optimizer = torch.optim.Adam(self.head.parameters(), lr=settings.learning_rate)
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self._optimizer, settings.epochs * self._steps_per_epoch
        )

    def run(self) -> None:
        """Train to the last epoch, from the checkpoint where there is one.

        Raises:
            NonFiniteLossError: on every rank alike.
            StorageError: the checkpoint cannot be written.
        """
        if self._resume():
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

    def checksum(self) -> str:
        """16 hex digits over this rank's own copy of the trained parameters."""
        digest = hashlib.sha256()
        for parameter in self.head.parameters():
            digest.update(parameter.detach().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def _run_epoch(self, epoch: int) -> None:
        begin = time.monotonic()
        train_loss = self._train_epoch(epoch)
        valid_loss, valid_top1 = self.evaluate()
        seconds = time.monotonic() - begin
        self.progress.epochs.append(
            {
                "epoch": epoch,
                "train_loss": train_loss,
                "valid_loss": valid_loss,
                "valid_top1": valid_top1,
                "seconds": seconds,
            }
        )
        self._save()
        self._say(
            f"epoch={epoch}/{self._settings.epochs} train_loss={train_loss:.4f} valid_loss={valid_loss:.4f} "
            f"valid_top1={valid_top1:.4f} photos_per_s={self._num_train / seconds:.1f} "
            f"eta_s={(self._settings.epochs - epoch) * seconds:.1f}"
        )

    def _train_epoch(self, epoch: int) -> float:
        """One pass over this rank's samples; returns the mean loss over those of all ranks.

        Every rank takes the same number of steps. Its samples are dealt out evenly, so batches differ
        by at most one photo and none is seen twice; each photo weighs the same in the gradient.
        """
        # From the epoch alone, so that a resumed run needs no generator's state to see the same order.
        generator = torch.Generator().manual_seed(self._settings.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self._train.labels), generator=generator)
        epoch_loss, consumed = 0.0, 0
        for batch in order.tensor_split(self._steps_per_epoch):
            epoch_loss += self._step(batch.to(self._world.device), epoch)
            consumed += len(batch)
        self.progress.samples_per_rank = gathered(self._world, consumed)
        return epoch_loss / self._num_train

    def _step(self, batch: Tensor, epoch: int) -> float:
        logits = self._parallel(self._train.features[batch])
        loss = F.cross_entropy(logits, self._train.labels[batch], reduction="sum")
        total, count = summed(self._world, loss.detach(), len(batch))
        if not math.isfinite(total):
            raise NonFiniteLossError(
                f"training: the loss became {total} in epoch {epoch}, step {self.progress.steps + 1}; "
                f"lower learning_rate (it is {self._settings.learning_rate:g})"
            )
        self._optimizer.zero_grad()
        # DDP averages gradients over ranks; scaled so, the average is the mean over all photos of the step.
        objective: Tensor = loss * (self._world.world_size / count) + self._settings.pull * self._distance()
        objective.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._schedule.step()
        self.progress.steps += 1
        return total

    def _distance(self) -> Tensor:
        """Squared distance of the matched classes' parameters from where they started."""
        moved = (self.head.weight - self._start.weight).square().sum(1) + (self.head.bias - self._start.bias).square()
        return (moved * self._start.matched).sum()

    def _save(self) -> None:
        if not self._world.is_main:
            return
        state = {
            "run_key": self._run_key,
            "progress": vars(self.progress),
            "head": self.head.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }
        replace_file(self._checkpoint, to_bytes(state))

    def _resume(self) -> bool:
        """Take up rank 0's checkpoint on every rank; whether there was one of this run."""
        state = same_as_main(self._world, self._read_checkpoint() if self._world.is_main else None)
        if state is None:
            return False
        self.progress = Progress(**state["progress"])
        self.head.load_state_dict(state["head"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        return True

    def _read_checkpoint(self) -> dict[str, Any] | None:
        if not self._checkpoint.is_file():
            return None
        state: dict[str, Any] = torch.load(self._checkpoint, map_location="cpu", weights_only=True)
        if state["run_key"] == self._run_key:
            return state
        self._say(f"the checkpoint in {self._checkpoint} is of another run (data or settings differ): starting anew")
        return None

    def _say(self, line: str) -> None:
        if self._world.is_main:
            print(line, flush=True)
