"""Checkpoints: one file with everything that a run needs to continue as if it had never stopped."""

import io
import pickle
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from training.distributed import World, broadcast_from_main, gather
from training.files import replace_file, to_bytes
from training.finished import FINISHED, is_finished


class Checkpoint:
    """The file that rank 0 writes at intervals and that all ranks resume from.

    Args:
        world: this rank among its peers.
        path: the file; only rank 0's copy is read and written.
        run_key: identifies the run; a checkpoint with another key is ignored.
        seconds: least time between two checkpoints.
    """

    def __init__(self, world: World, path: Path, run_key: str, seconds: float) -> None:
        self._world, self._path, self._run_key, self._seconds = world, path, run_key, seconds
        self._last_save = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to save, by this rank's clock; ranks must agree before they save."""
        return time.monotonic() - self._last_save >= self._seconds

    def save(self, state: dict[str, Any]) -> None:
        """Write the state and each rank's random generators; all ranks must call it.

        Args:
            state: tensors, numbers, texts, and lists and dicts of them; the same on every rank.

        Raises:
            FileWriteError: the file cannot be written.
        """
        generators = gather(self._world, _generator_states(self._world))
        if self._world.is_main:
            replace_file(self._path, to_bytes({"run_key": self._run_key, "generators": generators, "state": state}))
        self._last_save = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Restore this rank's random generators and return the state; all ranks must call it.

        Returns:
            The saved state, the same on every rank; None if this run has no checkpoint, or a damaged one.
        """
        saved = broadcast_from_main(self._world, self._read() if self._world.is_main else None)
        if saved is None:
            return None
        for generator, value in saved["generators"][self._world.rank].items():
            (torch if generator == "cpu" else torch.cuda).set_rng_state(value)
        state: dict[str, Any] = saved["state"]
        return state

    def finish(self) -> None:
        """Replace the file on this host by a few bytes that say that nothing is left to do.

        Other runs share the folder, and each would otherwise download the file. It is not deleted yet, because the last
        checkpoint was written a moment ago and SageMaker may be uploading it.
        """
        if self._path.exists():
            replace_file(self._path, FINISHED)

    def _read(self) -> dict[str, Any] | None:
        if not self._path.is_file() or is_finished(self._path):
            return None
        data = self._path.read_bytes()
        if not _is_whole(data):
            print(f"the checkpoint in {self._path} is damaged: starting from the beginning", flush=True)
            return None
        try:
            saved: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            print(
                f"the checkpoint in {self._path} holds more than tensors and could run code, so it was not loaded: "
                "starting from the beginning",
                flush=True,
            )
            return None
        if isinstance(saved, dict) and saved.get("run_key") == self._run_key:
            return saved
        print(
            f"the checkpoint in {self._path} is of another run (data or settings differ): starting from the beginning",
            flush=True,
        )
        return None


def remove_finished(world: World, folder: Path) -> None:
    """Delete what runs that have finished left in the folder; SageMaker then deletes it in S3.

    It is called before a run writes, because nothing uploads these files then.
    """
    if world.local_rank == 0:
        for file in folder.glob("*.pt"):
            with suppress(FileNotFoundError):  # Another host of this machine may delete it, too.
                if is_finished(file):
                    file.unlink()


def _is_whole(data: bytes) -> bool:
    """Whether a file of ``torch.save`` is undamaged: a ZIP archive, whose checksums ``torch.load`` does not compare."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, EOFError, NotImplementedError):
        return False


def _generator_states(world: World) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if world.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state()
    return states
