"""Settings of the C library's allocator, so that memory of a burst is returned to the system.

glibc gives each of many threads its own heap. When the first large block is freed it also raises the size from which
blocks are mapped one by one, and how much it keeps at the end of a heap (mallopt(3)). Of a bootstrap node's heaps of
23 MiB, 9 were free, and kept, after the hostile member's attacks of a minute and a half.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

_SETTINGS = {
    "MALLOC_TRIM_THRESHOLD_": (-1, 128 << 10),
    "MALLOC_MMAP_THRESHOLD_": (-3, 128 << 10),
    "MALLOC_ARENA_MAX": (-8, 2),
}
"""Names in the environment, which take precedence, and parameters of mallopt: glibc's defaults except for the heaps."""


def bound_allocator() -> bool:
    """Call once per process, before it has threads. False: the C library is not glibc, or does not accept such
    settings."""
    mallopt = _function("mallopt")
    if mallopt is None:
        return False
    taken = [mallopt(*setting) for name, setting in _SETTINGS.items() if name not in os.environ]
    return all(taken)


def give_back() -> None:
    """Returns free pages within the heaps to the system, if the C library is glibc: takes some milliseconds."""
    trim = _function("malloc_trim")
    if trim is not None:
        trim(0)


def _function(name: str) -> Callable[..., int] | None:
    """Returns a function of the C library; None if it does not exist."""
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        return None
    return found
