"""Work on many photos in parallel, with a line of progress every second."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from dataset import Photo
from dataset.cores import num_cores

T = TypeVar("T")


def map_photos(name: str, photos: Sequence[Photo], work: Callable[[Photo], T]) -> list[T]:
    """Call a function for every photo on all cores, and print the progress once a second.

    Args:
        name: Name of the work in the lines of progress.
        photos: The photos.
        work: The function.

    Returns:
        The function's results, in the order of the photos.
    """
    results: list[T] = []
    started = last_print = time.perf_counter()
    with ThreadPoolExecutor(num_cores()) as threads:
        for result in threads.map(work, photos):
            results.append(result)
            now = time.perf_counter()
            if now - last_print >= 1 or len(results) == len(photos):
                last_print = now
                rate = len(results) / (now - started)
                print(
                    f"evaluate {name} {len(results)}/{len(photos)} photos_per_s={rate:.1f} "
                    f"eta_s={(len(photos) - len(results)) / rate:.1f}",
                    flush=True,
                )
    return results


def evenly_spaced(items: Sequence[T], count: int) -> list[T]:
    """Return at most ``count`` of the items, evenly spaced."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]
