"""Settings of the C library's allocator: what a burst took goes back to the machine.

glibc gives each of many threads a heap of its own. With the first large block that is freed it also raises the size
from which blocks are mapped one by one, and how much it keeps at the end of a heap (mallopt(3)). Of a
bootstrap node's heaps of 23 MiB 9 were free, and kept, after the hostile member's attacks of a minute and a half.
"""

from __future__ import annotations

import ctypes
import os

_SETTINGS = {
    "MALLOC_TRIM_THRESHOLD_": (-1, 128 << 10),
    "MALLOC_MMAP_THRESHOLD_": (-3, 128 << 10),
    "MALLOC_ARENA_MAX": (-8, 2),
}
"""Names in the environment, which have the last word, and parameters of mallopt: glibc's defaults but for the heaps."""


def bound_allocator() -> bool:
    """Once in a process, before it has threads. False: the C library is not glibc, or takes no such settings."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    taken = [mallopt(*setting) for name, setting in _SETTINGS.items() if name not in os.environ]
    return all(taken)


def give_back() -> bool:
    """Returns free pages within the heaps to the machine: some milliseconds. False: as above."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return False
    trim(0)
    return True
