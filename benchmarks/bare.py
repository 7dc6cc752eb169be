"""Decoding and model with nothing around them: the limit of any server on this machine.

    python -m benchmarks.bare MODEL PHOTO…

loads the served artifact, answers a line on stdin, a number of seconds, by working so long on the photos with as many
threads as the server has, and prints ``[photos, seconds, CPU seconds]``.
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


def _work(model: ServedModel, photos: Sequence[bytes], seconds: float) -> tuple[int, float, float]:
    todo, began, cpu = cycle(photos), time.perf_counter(), time.process_time()

    def predict(_: int) -> int:
        done = 0
        while time.perf_counter() < began + seconds:
            model.predict(next(todo))
            done += 1
        return done

    with ThreadPoolExecutor(model.num_threads) as threads:
        done = sum(threads.map(predict, range(model.num_threads)))
    return done, time.perf_counter() - began, time.process_time() - cpu


def _main(folder: str, *paths: str) -> None:
    model = ServedModel(load_artifact(folder))
    model.check_golden()
    photos = [Path(path).read_bytes() for path in paths]
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(_work(model, photos, float(line))), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
