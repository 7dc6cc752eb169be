"""Full training: the whole network over all ranks, from a head that was trained on its features before.

A head that still knows nothing would first spoil the features it reads, which costs most on photos unlike the
training's (Kumar et al. 2022, arXiv:2202.10054). What results is the average of the network before and after, which
knows both kinds of photos (Wortsman et al. 2022, arXiv:2109.01903).
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
from training.backbones import Backbone
from training.checkpoint import Checkpoint
from training.communication import Parallel
from training.distributed import World, gathered, summed
from training.head import NonFiniteLossError, Progress, Start, epoch_line, peak_memory_mb
from training.hyperparameters import Hyperparameters
from training.inference import supported_precisions
from training.loader import Batch, TrainLoader, valid_batches
from training.network import Network
from training.optimizer import adamw, averaging_rate, set_rates
from training.photos import Decoded
from training.precision import autocast, depthwise_in_float32, faster
from training.preprocess import Preprocess

_PART = 16  # photos that go through the network at once on CPU: as fast as more, and 100 MB each at 256 pixels
_STRIDE, _LEAST_SIDE = 32, 64  # pixels: sides are multiples of the one and no less than the other
_SAY_SECONDS = 5.0


@dataclass
class _Epoch:
    """An epoch under way, as a checkpoint in its middle holds it.

    steps: done so far.
    loss, correct: of their photos, over all ranks.
    photos: how many, by rank.
    clocks: seconds that the steps took, and of these what this rank waited for data and for other ranks.
    """

    steps: int = 0
    loss: float = 0.0
    correct: float = 0.0
    photos: list[int] = field(default_factory=list)
    clocks: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])


class FullTraining:
    """Trains backbone and head over the ranks; the same result however often it is interrupted, on CPU to the bit.

    Batch norms keep the statistics of their pretraining, and only their scales and shifts learn: a rank sees too few
    photos at once for good ones, and each rank would have its own. So no photo has a part in another's answer, and on
    CPU a step can go through the network in parts, for less memory. The ImageNet classifier ``backbone.fc`` stays as
    it is: it tells what is no dog.

    Args:
        world: this rank among its peers.
        settings: the hyperparameters.
        backbone, head: as they are before; they are taken over.
        start: where the head once started, and is pulled to.
        train: this rank's batches.
        train_photos: all training photos, to name those of a bad step.
        valid, valid_labels: all validation photos, and their classes ``[N]``.
        spec: how a photo becomes the network's input.
        checkpoint: what this run goes on from; all ranks read it here.
        num_threads: cores that this rank may use.

    Attributes:
        progress: what ``history.json`` tells.
        precision: ``fp32`` or ``bf16``, given or measured.
        valid_top1: validation accuracy of what results.
    """

    def __init__(
        self,
        world: World,
        settings: Hyperparameters,
        backbone: Backbone,
        head: nn.Linear,
        start: Start,
        train: TrainLoader,
        train_photos: Sequence[Photo],
        valid: Decoded,
        valid_labels: Tensor,
        spec: Preprocess,
        checkpoint: Checkpoint,
        num_threads: int,
    ) -> None:
        torch.set_num_threads(num_threads)
        self.progress, self.valid_top1 = Progress(), 0.0
        self._world, self._settings, self._spec, self._checkpoint = world, settings, spec, checkpoint
        self._train, self._train_photos, self._valid, self._valid_labels = train, train_photos, valid, valid_labels
        self._start = Start(*(t.to(world.device) for t in (start.weight, start.bias, start.strength)))
        self._photos_per_step = len(train_photos) / train.steps_per_epoch
        per_rank = math.ceil(self._photos_per_step / world.world_size)
        self._part = min(_PART, per_rank) if world.device.type == "cpu" else per_rank

        self._average = Network(backbone, head).eval().to(world.device)
        self._average.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._before = [parameter.detach().clone() for parameter in self._average.parameters()]
        self._network = copy.deepcopy(self._average)
        self._network.drop_at_random()
        if world.device.type == "cpu":
            depthwise_in_float32(self._network)
        self._sides = self._possible_sides()

        torch.manual_seed(settings.seed + world.rank)  # of what drops at random
        kept = checkpoint.load()
        with torch.random.fork_rng([world.device] if world.device.type == "cuda" else []):
            self.precision: str = kept["precision"] if kept else self._chosen_precision()
            self._parallel = self._rehearsed()
        self._optimizer = adamw(self._network.backbone.layers, self._network.head, settings)
        pairs = zip(self._average.parameters(), self._network.parameters(), strict=True)
        self._averaged, self._trained = zip(*(pair for pair in pairs if pair[1].requires_grad), strict=True)
        self._epoch = _Epoch(photos=[0] * world.world_size)
        if kept:
            self._restore(kept)

    def run(self) -> None:
        """Train to the last epoch, from the checkpoint where there is one, and average with the network before.

        Raises:
            NonFiniteLossError: on every rank alike.
            StorageError: the checkpoint cannot be written.
        """
        done, epochs = len(self.progress.epochs), self._settings.full_epochs
        if self.progress.steps:
            self._say(f"resumed from epoch {done} of {epochs} and {self._epoch.steps} steps more")
        else:
            _, self.progress.start_top1 = self.evaluate()
            self._say(f"before full training valid_top1={self.progress.start_top1:.4f}")
        for epoch in range(done + 1, epochs + 1):
            self._run_epoch(epoch)
        with torch.no_grad():
            torch._foreach_lerp_(list(self._average.parameters()), self._before, self._settings.keep)
        _, self.valid_top1 = self.evaluate()
        self._say(f"averaged with the start: valid_top1={self.valid_top1:.4f}")

    def step(self, batch: Batch) -> bool:
        """One optimizer step on this rank's part of the photos.

        Returns:
            Whether rank 0 wants a checkpoint.

        Raises:
            NonFiniteLossError: on every rank alike, before the optimizer's step.
        """
        set_rates(self._optimizer, self.progress.steps, self._settings.full_epochs * self._train.steps_per_epoch)
        self._optimizer.zero_grad()
        losses, figures = self._passes(batch)
        self._parallel.wait()
        loss, correct, is_due, *photos = figures.tolist()
        if not math.isfinite(loss):
            self._stop(f"the loss became {loss}", batch.indices[~losses.isfinite().cpu()])
        norm = nn.utils.clip_grad_norm_(self._network.parameters(), self._settings.clip_norm)
        if not norm.isfinite():
            self._stop(f"the gradient's norm became {norm:g}", batch.indices[:0])
        self._optimizer.step()
        with torch.no_grad():
            share = averaging_rate(self._settings.ema_decay, self.progress.steps)
            torch._foreach_lerp_(self._averaged, self._trained, share)
        self.progress.steps += 1
        seen = self._epoch
        seen.steps, seen.loss, seen.correct = seen.steps + 1, seen.loss + loss, seen.correct + correct
        seen.photos = [before + int(now) for before, now in zip(seen.photos, photos, strict=True)]
        return bool(is_due)

    @torch.no_grad()
    def evaluate(self) -> tuple[float, float]:
        """Mean loss and accuracy of the averaged weights over the validation photos of all ranks."""
        loss, correct, count = 0.0, 0, 0
        for photos, labels in valid_batches(self._world, self._valid, self._valid_labels, self._spec, self._part):
            with autocast(self._world, self.precision):
                logits = self._average(photos)
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            correct += int((logits.argmax(1) == labels).sum())
            count += len(labels)
        total_loss, total_correct, total = summed(self._world, loss, correct, count)
        return total_loss / total, total_correct / total

    def checksum(self) -> str:
        """16 hex digits over all that this rank's own copies of the network hold, trained and averaged."""
        digest = hashlib.sha256()
        for network in (self._network, self._average):
            for tensor in network.state_dict().values():
                digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def result(self) -> tuple[Backbone, nn.Linear]:
        """The averaged network after ``run``: on the CPU, fp32, in eval mode."""
        average = self._average.cpu()
        average.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        return average.backbone, average.head

    def _run_epoch(self, epoch: int) -> None:
        side = self._sides[epoch - 1]
        self._train_epoch(epoch, side)
        valid_loss, valid_top1 = self.evaluate()
        seen, num_ranks = self._epoch, self._world.world_size
        num_photos = sum(seen.photos)
        seconds, data_wait, comm_wait = summed(self._world, *seen.clocks)
        figures = {
            "epoch": epoch,
            "side": side,
            "train_loss": seen.loss / num_photos,
            "train_top1": seen.correct / num_photos,
            "valid_loss": valid_loss,
            "valid_top1": valid_top1,
            "seconds": seconds / num_ranks,
            "photos_per_s": num_photos * num_ranks / seconds,
            "data_wait": data_wait / seconds,
            "comm_wait": comm_wait / seconds,
            "peak_memory_mb": max(gathered(self._world, peak_memory_mb(self._world))),
        }
        eta = self._eta()
        self.progress.epochs.append(figures)
        self.progress.samples_per_rank = seen.photos
        self._epoch = _Epoch(photos=[0] * num_ranks)
        self._save()
        self._say(epoch_line(figures, len(self._sides), eta))

    def _train_epoch(self, epoch: int, side: int) -> None:
        """The steps of an epoch that are not done yet."""
        last, said = self._clocks(), time.monotonic()
        for batch in self._train.epoch(epoch, self._epoch.steps, side):
            is_due = self.step(batch)
            now = self._clocks()
            self._epoch.clocks = [sum_ + b - a for sum_, a, b in zip(self._epoch.clocks, last, now, strict=True)]
            last = now
            if is_due:
                self._save()
            if now[0] - said >= _SAY_SECONDS:
                said = now[0]
                self._say_progress(epoch)

    def _say_progress(self, epoch: int) -> None:
        seen, steps = self._epoch, self._train.steps_per_epoch
        num_photos = sum(seen.photos)
        self._say(
            f"epoch {epoch}/{len(self._sides)} step {seen.steps}/{steps} loss={seen.loss / num_photos:.4f} "
            f"photos_per_s={num_photos / seen.clocks[0]:.1f} eta_s={self._eta():.1f}"
        )

    def _eta(self) -> float:
        """Seconds to the end of the last epoch, for a step takes as long as its photos are large."""
        now, *later = (side**2 for side in self._sides[len(self.progress.epochs) :])
        steps = self._train.steps_per_epoch * (1 + sum(later) / now) - self._epoch.steps
        return self._epoch.clocks[0] / self._epoch.steps * steps

    def _passes(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Forward and backward, part by part.

        Returns:
            The loss of each photo of this rank; and loss, correct, whether a checkpoint is due and photos by rank,
            which the ranks are still summing.
        """
        settings, world = self._settings, self._world
        losses: list[Tensor] = []
        figures = torch.zeros(3 + world.world_size, dtype=torch.float64, device=world.device)
        figures[2] = world.is_main and self._checkpoint.due()
        figures[3 + world.rank] = len(batch.labels)

        def objective(photos: Tensor, labels: Tensor) -> Tensor:
            with autocast(world, self.precision):
                logits = self._parallel(photos)
            loss = F.cross_entropy(logits, labels, reduction="none", label_smoothing=settings.label_smoothing)
            losses.append(loss.detach())
            figures[0] += losses[-1].sum()
            figures[1] += (logits.argmax(1) == labels).sum()
            # DDP averages gradients over ranks; scaled so, each photo of the epoch weighs the same.
            return loss.sum() * (world.world_size / self._photos_per_step)

        *first, last = zip(torch.split(batch.images, self._part), torch.split(batch.labels, self._part), strict=True)
        with self._parallel.silent():
            for part in first:
                objective(*part).backward()  # type: ignore[no-untyped-call]
        total = objective(*last) + settings.pull * self._distance()
        self._parallel.begin_sum(figures)
        total.backward()  # type: ignore[no-untyped-call]
        return torch.cat(losses), figures

    def _distance(self) -> Tensor:
        """Squared distance of the classes' parameters from where they started, each with its strength."""
        head, start = self._network.head, self._start
        moved = (head.weight - start.weight).square().sum(1) + (head.bias - start.bias).square()
        distance: Tensor = moved @ start.strength
        return distance

    def _stop(self, what: str, bad: Tensor) -> NoReturn:
        """End all ranks alike, naming the photos on the ranks where it arose."""
        own = [self._train_photos[index].path for index in bad.tolist()]
        where = [f"on rank {rank} with {named(each)}" for rank, each in enumerate(gathered(self._world, own)) if each]
        place = ", ".join([f"epoch {len(self.progress.epochs) + 1}", f"step {self._epoch.steps + 1}", *where])
        raise NonFiniteLossError(
            f"training: {what} in {place}; {'look at these photos, or ' if where else ''}lower full_learning_rate "
            f"(it is {self._settings.full_learning_rate:g})"
        )

    def _possible_sides(self) -> list[int]:
        """The photos' side in each epoch: small ones first where the network takes them."""
        rising = sides(self._settings, self._spec.image_size)
        if self._average.takes(rising[0]):
            return rising
        self._say(f"the backbone takes no photos of {rising[0]} pixels: all epochs have {rising[-1]}")
        return rising[-1:] * len(rising)

    def _chosen_precision(self) -> str:
        if self._settings.precision != "auto":
            return self._settings.precision
        supported = min(gathered(self._world, supported_precisions(self._world.device)), key=len)
        side = self._sides[-1]
        return faster(self._world, supported, lambda precision: self._rehearse(self._network, precision, side))

    def _rehearsed(self) -> Parallel:
        """The network over all ranks, as a first pass leaves it: DDP orders its buckets by it, and so its sums."""
        self._rehearse(self._network, self.precision, self._sides[0])
        self._network.freeze_unused()
        self._network.zero_grad()
        parallel = Parallel(self._world, self._network)
        self._rehearse(parallel, self.precision, self._sides[0])
        return parallel

    def _rehearse(self, network: Callable[[Tensor], Tensor], precision: str, side: int) -> None:
        """Forward and backward on black photos."""
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

    def _restore(self, kept: dict[str, Any]) -> None:
        self._before = [tensor.to(self._world.device) for tensor in kept["before"]]
        self._network.load_state_dict(kept["network"])
        self._average.load_state_dict(kept["average"])
        self._optimizer.load_state_dict(kept["optimizer"])
        self.progress, self._epoch = Progress(**kept["progress"]), _Epoch(**kept["epoch"])

    def _clocks(self) -> tuple[float, float, float]:
        return time.monotonic(), self._train.waited, self._parallel.waited

    def _say(self, line: str) -> None:
        if self._world.is_main:
            print(line, flush=True)


def sides(settings: Hyperparameters, last: int) -> list[int]:
    """The photos' side in each epoch, pixels: from small to ``last``.

    Small photos first are faster, and teach what large ones refine (Tan and Le 2021, arXiv:2104.00298).
    """
    first, steps = settings.start_resolution * last, max(1, settings.full_epochs - 1)
    rising = [first + (last - first) * epoch / steps for epoch in range(settings.full_epochs - 1)]
    return [*(min(last, max(_LEAST_SIDE, round(side / _STRIDE) * _STRIDE)) for side in rising), last]
