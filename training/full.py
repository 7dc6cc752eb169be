"""Full training: train the whole network over all ranks, starting with a head that was already trained.

An untrained head would first damage the features of the backbone, which costs accuracy on photos unlike the training
photos (Kumar et al. 2022, arXiv:2202.10054). The result is the average of the network before and after, which is good
on both kinds of photos (Wortsman et al. 2022, arXiv:2109.01903).
"""

import copy
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataset import Photo
from dataset.layout import named
from networks.backbone import Backbone
from training.checkpoint import Checkpoint
from training.communication import ParallelNetwork
from training.distributed import World, gather, sum_over_ranks
from training.head import HeadStart, NonFiniteLossError, TrainingProgress, epoch_line, peak_memory_mb
from training.hyperparameters import Hyperparameters
from training.inference import supported_precisions
from training.loader import Batch, TrainLoader, valid_batches
from training.network import Network
from training.optimizer import adamw, averaging_rate, set_learning_rates
from training.photos import DecodedPhotos
from training.precision import autocast, depthwise_in_float32, faster_precision
from training.preprocess import TrainingPreprocess
from training.stopping import stop_is_requested, stop_together

# Photos in one forward pass on CPU. More are no faster, and each takes 100 MB at 256 pixels.
_PART = 16
# The sides of photos are multiples of the first and at least the second, pixels.
_SIDE_STEP, _MIN_SIDE = 32, 64
_PRINT_SECONDS = 5.0  # between two lines of progress


@dataclass(frozen=True)
class FullTrainingData:
    """The photos of full training.

    train: this rank's batches of training photos.
    train_photos: all training photos, so that messages can name them.
    valid: all validation photos.
    valid_labels: int64 ``[N]``, class indices of the validation photos.
    spec: how a photo becomes the network's input.
    """

    train: TrainLoader
    train_photos: Sequence[Photo]
    valid: DecodedPhotos
    valid_labels: Tensor
    spec: TrainingPreprocess


@dataclass
class _EpochState:
    """The state of an unfinished epoch, part of a checkpoint.

    steps: finished steps.
    loss, correct: summed loss and number of correct predictions in these steps, over all ranks.
    photos: photos used in these steps, by rank.
    clocks: on this rank, seconds that these steps took, that it waited for data, and that it waited for other ranks.
    """

    steps: int = 0
    loss: float = 0.0
    correct: float = 0.0
    photos: list[int] = field(default_factory=list)
    clocks: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])


class FullTraining:
    """Trains backbone and head over the ranks; interruptions do not change the result, on CPU not by a bit.

    Batch norms keep the statistics of their pretraining; only their scales and shifts are trained. A rank has too few
    photos in a step for good statistics, and each rank would get different ones. So a photo's logits do not depend on
    other photos, and on CPU a step can compute its photos in parts, which takes less memory. The ImageNet classifier
    ``backbone.fc`` is not trained, because it recognizes photos without a dog.

    Args:
        world: this rank among its peers.
        settings: the hyperparameters.
        backbone, head: the network to train; this object modifies them.
        start: the parameters that the head is pulled towards.
        data: the photos.
        checkpoint: the checkpoint to resume from and to write; the constructor reads it, on all ranks.
        num_threads: cores that this rank may use.

    Attributes:
        progress: the figures for ``history.json``.
        precision: ``fp32`` or ``bf16``, from the hyperparameters or measured.
        valid_top1: validation accuracy of the result, in [0, 1].
    """

    def __init__(
        self,
        world: World,
        settings: Hyperparameters,
        backbone: Backbone,
        head: nn.Linear,
        start: HeadStart,
        data: FullTrainingData,
        checkpoint: Checkpoint,
        num_threads: int,
    ) -> None:
        torch.set_num_threads(num_threads)
        self.progress, self.valid_top1, self._is_stopping = TrainingProgress(), 0.0, False
        self._world, self._settings, self._data, self._checkpoint = world, settings, data, checkpoint
        self._start = HeadStart(*(t.to(world.device) for t in (start.weight, start.bias, start.strength)))
        self._photos_per_step = len(data.train_photos) / data.train.steps_per_epoch
        per_rank = math.ceil(self._photos_per_step / world.world_size)
        self._part = min(_PART, per_rank) if world.device.type == "cpu" else per_rank

        self._average = Network(backbone, head).eval().to(world.device)
        self._average.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._before = [parameter.detach().clone() for parameter in self._average.parameters()]
        self._network = copy.deepcopy(self._average)
        self._network.enable_dropout()
        if world.device.type == "cpu":
            depthwise_in_float32(self._network)
        self._sides = self._supported_sides()

        torch.manual_seed(settings.seed + world.rank)  # Decides what dropout drops.
        state = checkpoint.load()
        with torch.random.fork_rng([world.device] if world.device.type == "cuda" else []):
            self.precision: str = state["precision"] if state else self._choose_precision()
            self._parallel = self._parallelize()
        self._optimizer = adamw(self._network.backbone.layers, self._network.head, settings)
        pairs = zip(self._average.parameters(), self._network.parameters(), strict=True)
        self._averaged, self._trained = zip(*(pair for pair in pairs if pair[1].requires_grad), strict=True)
        self._epoch = _EpochState(photos=[0] * world.world_size)
        if state:
            self._restore(state)

    def run(self) -> None:
        """Train to the last epoch, from the checkpoint if there is one, then average with the network before.

        Raises:
            NonFiniteLossError: loss or gradient is not finite; every rank raises it.
            FileWriteError: the checkpoint cannot be written.
            StopRequestedError: a rank received SIGTERM; every rank raises it after the step, with a checkpoint.
        """
        done, epochs = len(self.progress.epochs), self._settings.full_epochs
        if self.progress.steps:
            self._world.print_once(f"resumed from epoch {done} of {epochs} and {self._epoch.steps} steps more")
        else:
            _, self.progress.start_top1 = self.evaluate()
            self._world.print_once(f"before full training valid_top1={self.progress.start_top1:.4f}")
        for epoch in range(done + 1, epochs + 1):
            self._run_epoch(epoch)
        with torch.no_grad():
            torch._foreach_lerp_(list(self._average.parameters()), self._before, self._settings.keep)
        _, self.valid_top1 = self.evaluate()
        self._world.print_once(f"averaged with the start: valid_top1={self.valid_top1:.4f}")

    def step(self, batch: Batch) -> bool:
        """Take one optimizer step on this rank's part of the photos.

        Returns:
            Whether rank 0 must save a checkpoint.

        Raises:
            NonFiniteLossError: loss or gradient is not finite; every rank raises it, before the optimizer's step.
        """
        num_steps = self._settings.full_epochs * self._data.train.steps_per_epoch
        set_learning_rates(self._optimizer, self.progress.steps, num_steps)
        self._optimizer.zero_grad()
        losses, figures = self._forward_and_backward(batch)
        self._parallel.wait()
        loss, correct, is_due, is_stopping, *photos = figures.tolist()
        if not math.isfinite(loss):
            self._raise_non_finite(f"the loss became {loss}", batch.indices[~losses.isfinite().cpu()])
        norm = nn.utils.clip_grad_norm_(self._network.parameters(), self._settings.clip_norm)
        if not norm.isfinite():
            self._raise_non_finite(f"the gradient's norm became {norm:g}", batch.indices[:0])
        self._optimizer.step()
        with torch.no_grad():
            share = averaging_rate(self._settings.ema_decay, self.progress.steps)
            torch._foreach_lerp_(self._averaged, self._trained, share)
        self.progress.steps += 1
        state = self._epoch
        state.steps, state.loss, state.correct = state.steps + 1, state.loss + loss, state.correct + correct
        state.photos = [total + int(count) for total, count in zip(state.photos, photos, strict=True)]
        self._is_stopping = bool(is_stopping)
        return bool(is_due or is_stopping)

    @torch.no_grad()
    def evaluate(self) -> tuple[float, float]:
        """Return mean loss and accuracy of the averaged weights over the validation photos of all ranks."""
        loss, correct, count = 0.0, 0, 0
        data = self._data
        for photos, labels in valid_batches(self._world, data.valid, data.valid_labels, data.spec, self._part):
            with autocast(self._world, self.precision):
                logits = self._average(photos)
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            correct += int((logits.argmax(1) == labels).sum())
            count += len(labels)
        total_loss, total_correct, total = sum_over_ranks(self._world, loss, correct, count)
        return total_loss / total, total_correct / total

    def checksum(self) -> str:
        """Return 16 hex digits over this rank's own copies of the network, the trained and the averaged one."""
        digest = hashlib.sha256()
        for network in (self._network, self._average):
            for tensor in network.state_dict().values():
                digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def result(self) -> tuple[Backbone, nn.Linear]:
        """Return backbone and head of the averaged network after ``run``, on the CPU, in fp32 and eval mode."""
        average = self._average.cpu()
        average.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        return average.backbone, average.head

    def _run_epoch(self, epoch: int) -> None:
        side = self._sides[epoch - 1]
        self._train_epoch(epoch, side)
        valid_loss, valid_top1 = self.evaluate()
        state, num_ranks = self._epoch, self._world.world_size
        num_photos = sum(state.photos)
        seconds, data_wait, comm_wait = sum_over_ranks(self._world, *state.clocks)
        figures = {
            "epoch": epoch,
            "side": side,
            "train_loss": state.loss / num_photos,
            "train_top1": state.correct / num_photos,
            "valid_loss": valid_loss,
            "valid_top1": valid_top1,
            "seconds": seconds / num_ranks,
            "photos_per_s": num_photos * num_ranks / seconds,
            "data_wait": data_wait / seconds,
            "comm_wait": comm_wait / seconds,
            "peak_memory_mb": max(gather(self._world, peak_memory_mb(self._world))),
        }
        eta = self._eta()
        self.progress.epochs.append(figures)
        self.progress.samples_per_rank = state.photos
        self._epoch = _EpochState(photos=[0] * num_ranks)
        self._save()
        self._world.print_once(epoch_line(figures, len(self._sides), eta))

    def _train_epoch(self, epoch: int, side: int) -> None:
        """Take the steps of an epoch that are still missing."""
        last, last_print = self._clocks(), time.monotonic()
        for batch in self._data.train.epoch(epoch, self._epoch.steps, side):
            is_due = self.step(batch)
            now = self._clocks()
            self._epoch.clocks = [sum_ + b - a for sum_, a, b in zip(self._epoch.clocks, last, now, strict=True)]
            last = now
            if is_due:
                self._save()
            if self._is_stopping:
                stop_together(self._world)
            if now[0] - last_print >= _PRINT_SECONDS:
                last_print = now[0]
                self._print_progress(epoch)

    def _print_progress(self, epoch: int) -> None:
        state, steps = self._epoch, self._data.train.steps_per_epoch
        num_photos = sum(state.photos)
        self._world.print_once(
            f"epoch {epoch}/{len(self._sides)} step {state.steps}/{steps} loss={state.loss / num_photos:.4f} "
            f"photos_per_s={num_photos / state.clocks[0]:.1f} eta_s={self._eta():.1f}"
        )

    def _eta(self) -> float:
        """Return the seconds until the last epoch ends; a step takes time in proportion to its photos' area."""
        current, *later = (side**2 for side in self._sides[len(self.progress.epochs) :])
        steps = self._data.train.steps_per_epoch * (1 + sum(later) / current) - self._epoch.steps
        return self._epoch.clocks[0] / self._epoch.steps * steps

    def _forward_and_backward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Compute the gradients, part by part.

        Returns:
            The loss of each photo of this rank, and the step's figures: loss, number of correct predictions, whether
            a checkpoint is due, whether to stop, and photos by rank. The ranks are still summing the figures.
        """
        settings, world = self._settings, self._world
        losses: list[Tensor] = []
        figures = torch.zeros(4 + world.world_size, dtype=torch.float64, device=world.device)
        figures[2] = world.is_main and self._checkpoint.due()
        figures[3] = stop_is_requested()
        figures[4 + world.rank] = len(batch.labels)

        def objective(photos: Tensor, labels: Tensor) -> Tensor:
            with autocast(world, self.precision):
                logits = self._parallel(photos)
            loss = F.cross_entropy(logits, labels, reduction="none", label_smoothing=settings.label_smoothing)
            losses.append(loss.detach())
            figures[0] += losses[-1].sum()
            figures[1] += (logits.argmax(1) == labels).sum()
            # DDP averages gradients over ranks. With this factor each photo of the epoch has the same weight.
            return loss.sum() * (world.world_size / self._photos_per_step)

        *first, last = zip(torch.split(batch.images, self._part), torch.split(batch.labels, self._part), strict=True)
        with self._parallel.no_sync():
            for part in first:
                objective(*part).backward()  # type: ignore[no-untyped-call]
        total = objective(*last) + settings.pull * self._distance()
        self._parallel.begin_sum(figures)
        total.backward()  # type: ignore[no-untyped-call]
        return torch.cat(losses), figures

    def _distance(self) -> Tensor:
        """Return the squared distance of the classes' parameters from their start, weighted by their strengths."""
        head, start = self._network.head, self._start
        moved = (head.weight - start.weight).square().sum(1) + (head.bias - start.bias).square()
        distance: Tensor = moved @ start.strength
        return distance

    def _raise_non_finite(self, problem: str, bad: Tensor) -> NoReturn:
        """Raise the same error on all ranks, which names the photos whose loss is not finite, and their ranks."""
        own_paths = [self._data.train_photos[index].path for index in bad.tolist()]
        ranks = [
            f"on rank {rank} with {named(paths)}" for rank, paths in enumerate(gather(self._world, own_paths)) if paths
        ]
        where = ", ".join([f"epoch {len(self.progress.epochs) + 1}", f"step {self._epoch.steps + 1}", *ranks])
        raise NonFiniteLossError(
            f"training: {problem} in {where}; {'look at these photos, or ' if ranks else ''}lower full_learning_rate "
            f"(it is {self._settings.full_learning_rate:g})"
        )

    def _supported_sides(self) -> list[int]:
        """Return the photos' side in each epoch, rising if the network accepts small photos."""
        rising = photo_sides(self._settings, self._data.spec.image_size)
        if self._average.accepts_side(rising[0]):
            return rising
        self._world.print_once(
            f"the backbone accepts no photos of {rising[0]} pixels: all epochs use {rising[-1]} pixels"
        )
        return rising[-1:] * len(rising)

    def _choose_precision(self) -> str:
        if self._settings.precision != "auto":
            return self._settings.precision
        supported = min(gather(self._world, supported_precisions(self._world.device)), key=len)
        side = self._sides[-1]
        return faster_precision(
            self._world, supported, lambda precision: self._rehearse(self._network, precision, side)
        )

    def _parallelize(self) -> ParallelNetwork:
        """Return the network over all ranks, after a first pass, because DDP orders its buckets in the first pass.

        The order of the buckets decides the order of additions, and with it the last bits of the result.
        """
        self._rehearse(self._network, self.precision, self._sides[0])
        self._network.freeze_unused()
        self._network.zero_grad()
        parallel = ParallelNetwork(self._world, self._network)
        self._rehearse(parallel, self.precision, self._sides[0])
        return parallel

    def _rehearse(self, network: Callable[[Tensor], Tensor], precision: str, side: int) -> None:
        """Run a forward and a backward pass on black photos."""
        photos = torch.zeros(self._part, 3, side, side, device=self._world.device)
        with autocast(self._world, precision):
            logits = network(photos.contiguous(memory_format=torch.channels_last))
        logits.sum().backward()  # type: ignore[no-untyped-call]

    def _save(self) -> None:
        state = {
            "precision": self.precision,
            "before": self._before,
            "network": self._network.state_dict(),
            "average": self._average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "progress": vars(self.progress),
            "epoch": vars(self._epoch),
        }
        self._checkpoint.save(state)

    def _restore(self, state: dict[str, Any]) -> None:
        self._before = [tensor.to(self._world.device) for tensor in state["before"]]
        self._network.load_state_dict(state["network"])
        self._average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.progress, self._epoch = TrainingProgress(**state["progress"]), _EpochState(**state["epoch"])

    def _clocks(self) -> tuple[float, float, float]:
        return time.monotonic(), self._data.train.waited, self._parallel.waited


def photo_sides(settings: Hyperparameters, last: int) -> list[int]:
    """Return the photos' side in each epoch, pixels, rising to ``last``.

    Epochs with small photos are faster, and those with large photos refine the result (Tan and Le 2021,
    arXiv:2104.00298).
    """
    first, steps = settings.start_resolution * last, max(1, settings.full_epochs - 1)
    rising = [first + (last - first) * epoch / steps for epoch in range(settings.full_epochs - 1)]
    return [*(min(last, max(_MIN_SIDE, round(side / _SIDE_STEP) * _SIDE_STEP)) for side in rising), last]
