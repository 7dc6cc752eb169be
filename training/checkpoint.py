"""What a run needs to go on as if it had never stopped, in one file that is whole at any time."""

import time
from pathlib import Path
from typing import Any

import torch

from training.distributed import World, gathered, same_as_main
from training.files import replace_file, to_bytes


class Checkpoint:
    """The file that rank 0 writes every so many seconds, and that all ranks go on from.

    Args:
        world: this rank among its peers.
        path: the file; only rank 0's is read and written.
        run_key: what makes this run; the checkpoint of another is left alone.
        seconds: at least so long between two of them.
    """

    def __init__(self, world: World, path: Path, run_key: str, seconds: float) -> None:
        self._world, self._path, self._run_key, self._seconds = world, path, run_key, seconds
        self._saved = time.monotonic()

    def due(self) -> bool:
        """Whether it is time; by this rank's clock, so ranks must agree before they save."""
        return time.monotonic() - self._saved >= self._seconds

    def save(self, state: dict[str, Any]) -> None:
        """Write the state, which must be the same on every rank, and each rank's random generators; all must call it.

        Args:
            state: tensors, numbers, texts, and lists and dicts of them.

        Raises:
            StorageError: the file cannot be written.
        """
        generators = gathered(self._world, _generators(self._world))
        if self._world.is_main:
            replace_file(self._path, to_bytes({"run_key": self._run_key, "generators": generators, "state": state}))
        self._saved = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The state on every rank, its generators set; None where this run has no checkpoint. All must call it."""
        kept = same_as_main(self._world, self._read() if self._world.is_main else None)
        if kept is None:
            return None
        for generator, value in kept["generators"][self._world.rank].items():
            (torch if generator == "cpu" else torch.cuda).set_rng_state(value)
        state: dict[str, Any] = kept["state"]
        return state

    def finish(self) -> None:
        """Delete the file, on this host; in S3 SageMaker follows. Runs that share the folder would all download it."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any] | None:
        if not self._path.is_file():
            return None
        kept: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
        if kept["run_key"] == self._run_key:
            return kept
        print(f"the checkpoint in {self._path} is of another run (data or settings differ): starting anew", flush=True)
        return None


def _generators(world: World) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if world.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state()
    return states
