"""Work on many photos at a time, told once a second."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from dataset import Photo
from serving.model import num_cores

T = TypeVar("T")


def map_photos(name: str, photos: Sequence[Photo], work: Callable[[Photo], T]) -> list[T]:
    """Do the work for every photo on all cores, and say how far it is once a second."""
    outcomes: list[T] = []
    started = said = time.perf_counter()
    with ThreadPoolExecutor(num_cores()) as threads:
        for outcome in threads.map(work, photos):
            outcomes.append(outcome)
            now = time.perf_counter()
            if now - said >= 1 or len(outcomes) == len(photos):
                said = now
                rate = len(outcomes) / (now - started)
                print(
                    f"evaluate {name} {len(outcomes)}/{len(photos)} photos_per_s={rate:.1f} "
                    f"eta_s={(len(photos) - len(outcomes)) / rate:.1f}",
                    flush=True,
                )
    return outcomes


def evenly_spaced(items: Sequence[T], count: int) -> list[T]:
    """At most ``count`` items, evenly spaced."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]
