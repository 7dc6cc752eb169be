"""A test of hashing and decoding by three ranks on two hosts: real processes over gloo."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from dataset import Photo, Source, open_source
from training.distributed import process_group
from training.photos import decode_photos, hash_photos
from training.preprocess import TrainingPreprocess, pixels

REPOSITORY = Path(__file__).parents[3]
SPEC = TrainingPreprocess(image_size=32, resize_to=32)
# The ranks: local rank, ranks of the host, host.
RANKS = ((0, 2, "algo-1"), (1, 2, "algo-1"), (0, 1, "algo-2"))


class Counting:
    """A dataset that counts what is read from it."""

    def __init__(self, source: Source) -> None:
        self.listing, self._source, self.num_read = source.listing, source, 0

    def read(self, photo: Photo) -> bytes:
        self.num_read += 1
        return self._source.read(photo)


def rank(dataset: Path, scratch: Path) -> dict[str, Any]:
    """Run as one of the ranks, which all run this file."""
    source = Counting(open_source(dataset))
    with process_group() as world:
        hashed = hash_photos(world, source, "train", num_threads=1)
        num_hashed, source.num_read = source.num_read, 0
        # Each host has a disk of its own, even if the hosts are processes of one machine.
        photos = decode_photos(world, source, hashed.photos, SPEC, False, scratch / world.host, num_threads=1)
        return {
            "hashes": hashed.hashes,
            "num_hashed": num_hashed,
            "num_decoded": source.num_read,
            "pixels": hashlib.sha256(photos.pixels.tobytes()).hexdigest(),
            "sizes": photos.sizes.tolist(),
        }


def test_hosts_decode_once_and_ranks_share_it(dataset: Path, tmp_path: Path, free_port: int) -> None:
    common = {"WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port)}
    common |= {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(dataset), str(tmp_path / "scratch")],
            env={**os.environ, **common, "RANK": str(number), "LOCAL_RANK": str(local_rank)}
            | {"LOCAL_WORLD_SIZE": str(local_world_size), "HOST_NAME": host},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number, (local_rank, local_world_size, host) in enumerate(RANKS)
    ]
    answers = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    ranks = [json.loads(answer.splitlines()[-1]) for answer in answers]

    source = open_source(dataset)
    photos = source.listing.of("train")
    data = [source.read(photo) for photo in photos]
    expected = np.stack([pixels(each, SPEC) for each in data])
    for result in ranks:
        assert result["hashes"] == [hashlib.sha256(each).hexdigest()[:16] for each in data]
        assert result["pixels"] == hashlib.sha256(expected.tobytes()).hexdigest()
        assert result["sizes"] == [[48, 40]] * 15
    assert [result["num_hashed"] for result in ranks] == [5, 5, 5]
    assert [result["num_decoded"] for result in ranks] == [8, 7, 15]
    assert [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()] == []


if __name__ == "__main__":
    print(json.dumps(rank(Path(sys.argv[1]), Path(sys.argv[2]))), flush=True)
    os._exit(0)  # For the same reason as training.train.
