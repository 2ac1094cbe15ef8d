"""The collector of cycles, in a process of its own: it is set for the whole of one."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
import weakref

from wgmesh_agent.gossip.wire.messages import Dead, decode, encode
from wgmesh_agent.runtime.gc_tuning import LONGEST_STEP_SECONDS, collect_regularly

LOOK = """
import gc
from wgmesh_agent.runtime.gc_tuning import tune_garbage_collector
before = gc.get_threshold()
tune_garbage_collector()
print(gc.get_freeze_count() > 1000, gc.isenabled(), gc.get_threshold()[2] // before[2])
"""


def test_what_is_imported_is_walked_no_more_and_full_collections_are_rare_but_there() -> None:
    found = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "True", "100"]


class Cycle:
    """An object that only the collector of cycles can take away."""

    def __init__(self) -> None:
        self.itself = self


async def test_cycles_that_have_become_old_are_collected_all_the_same() -> None:
    cycle, gone = Cycle(), asyncio.Event()
    weakref.finalize(cycle, gone.set)
    for generation in range(3):
        gc.collect(generation)
    del cycle
    gc.collect(1)
    assert not gone.is_set()
    collecting = asyncio.create_task(collect_regularly(0.01))
    await asyncio.wait_for(gone.wait(), 10)
    assert not collecting.done()
    collecting.cancel()


async def test_where_a_collection_takes_long_the_next_is_far() -> None:
    collected = []

    def slow() -> None:
        collected.append(time.thread_time())
        while time.thread_time() < collected[-1] + 1.5 * LONGEST_STEP_SECONDS:
            pass

    collecting = asyncio.create_task(collect_regularly(0.01, slow))
    await asyncio.sleep(0.5)
    assert len(collected) == 1
    collecting.cancel()


async def test_what_is_cached_for_a_burst_is_forgotten_too() -> None:
    news = encode(Dead(1, "n2", "n3"))
    first = decode(news)
    collected = asyncio.Event()
    collecting = asyncio.create_task(collect_regularly(0.01, collected.set))
    await asyncio.wait_for(collected.wait(), 10)
    assert decode(news) is not first
    collecting.cancel()
