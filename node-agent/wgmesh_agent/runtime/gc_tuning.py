"""Python's collector of cycles, kept from holding up the event loop.

A full collection walks every object there is: 60 ms for what an agent imports, and as much again for 5,000 members. By
itself Python makes one with each reading of so large a device. Nearly everything goes without it, when its last user
does; cycles that are young go in the collections of the younger generations, which take a millisecond. Others are
collected once a minute where that is quick, as it is in all but the largest meshes: a bootstrap node under attack had
10 MiB of them.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable

from wgmesh_agent.runtime.allocator import give_back
from wgmesh_agent.runtime.caches import forget_cached

_YOUNG, _MIDDLE = 700, 10
"""Python's own: new objects before a collection of the young, and such collections before one of the middle-aged."""
_OLD = 1000
"""Those before a full one, a hundred times Python's figure: hours apart in a mesh of thousands."""
EVERY_SECONDS = 60.0
LONGEST_STEP_SECONDS = 0.02
SELDOM_SECONDS = 3600.0
"""Between collections that hold up the event loop for far longer than that."""


def tune_garbage_collector() -> None:
    """Once in a process, when everything is imported: what there is now stays for good, and is walked no more."""
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)


async def collect_regularly(
    every_seconds: float = EVERY_SECONDS, collect: Callable[[], object] = gc.collect
) -> None:
    """Until it is cancelled: forgets what is cached, collects all cycles and gives memory back to the machine; seldom
    where that takes long.
    """
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
    """Until the next: a collection that takes twice as long as it may comes four times as seldom.

    Not an hour at once: it is what has gathered under attack that makes one long, and the next is short again.
    """
    return min(SELDOM_SECONDS, every_seconds * max(1.0, took_seconds / LONGEST_STEP_SECONDS) ** 2)
