"""Decoding and the model with nothing around them: the upper limit of any server on this machine.

    python -m benchmarks.bare MODEL PHOTO…

It loads the served artifact and prints ``ready``. For each line on stdin, a number of seconds, it predicts photos for
so long, in as many threads as the server has, and prints ``[photos, seconds, CPU seconds]``.
"""

import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path

from serving.model import ServedModel
from serving.served_artifact import load_artifact


def _predict_for(model: ServedModel, photos: Sequence[bytes], seconds: float) -> tuple[int, float, float]:
    """Predict photos for some seconds; return the number of photos, the seconds and the CPU seconds."""
    remaining, began, cpu = cycle(photos), time.perf_counter(), time.process_time()

    def predict(_: int) -> int:
        count = 0
        while time.perf_counter() < began + seconds:
            model.predict(next(remaining))
            count += 1
        return count

    with ThreadPoolExecutor(model.num_threads) as threads:
        num_photos = sum(threads.map(predict, range(model.num_threads)))
    return num_photos, time.perf_counter() - began, time.process_time() - cpu


def _main(folder: str, *paths: str) -> None:
    model = ServedModel(load_artifact(folder))
    model.check_golden()
    photos = [Path(path).read_bytes() for path in paths]
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(_predict_for(model, photos, float(line))), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
