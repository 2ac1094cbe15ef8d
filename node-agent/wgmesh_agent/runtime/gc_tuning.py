"""Tuning of Python's cycle collector, so that it does not block the event loop.

A full collection walks every object: 60 ms for an agent's imports, and as much again for 5,000 members. By default
Python runs one at each read of so large a device. Nearly all objects are freed by reference counting; young cycles
are freed in the collections of the younger generations, which take a millisecond. Others are collected once a minute
if that is fast, as it is in all but the largest meshes: a bootstrap node under attack had 10 MiB of them.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable

from wgmesh_agent.runtime.allocator import give_back
from wgmesh_agent.runtime.caches import forget_cached

_YOUNG, _MIDDLE = 700, 10
"""Python's defaults: new objects before a collection of the young generation, and such collections before one of the
middle generation."""
_OLD = 1000
"""Middle collections before a full one, a hundred times Python's figure: hours apart in a mesh of thousands."""
EVERY_SECONDS = 60.0
LONGEST_STEP_SECONDS = 0.02
SELDOM_SECONDS = 3600.0
"""Interval of collections that block the event loop for far longer than that."""


def tune_garbage_collector() -> None:
    """Call once per process, when everything is imported: existing objects stay permanently, and are not walked
    again."""
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)


async def collect_regularly(
    every_seconds: float = EVERY_SECONDS, collect: Callable[[], object] = gc.collect
) -> None:
    """Runs until cancelled: empties caches, collects all cycles and returns memory to the system; rarely if that
    takes long."""
    pause = every_seconds
    while True:
        await asyncio.sleep(pause)
        forget_cached()
        begun = time.thread_time()
        collect()
        took = time.thread_time() - begun
        pause = _pause(every_seconds, took)
        await asyncio.to_thread(give_back)


def _pause(every_seconds: float, took_seconds: float) -> float:
    """Returns the pause until the next: a collection that takes twice the allowed time is run a quarter as often.

    Not an hour at once: garbage of an attack makes one collection long, and the next is short again.
    """
    return min(SELDOM_SECONDS, every_seconds * max(1.0, took_seconds / LONGEST_STEP_SECONDS) ** 2)
