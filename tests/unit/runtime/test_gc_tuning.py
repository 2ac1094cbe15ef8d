"""The collector of cycles, in a process of its own: it is set for the whole of one."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
import weakref

import pytest

from wgmesh_agent.gossip.wire.messages import Dead, decode, encode
from wgmesh_agent.runtime.gc_tuning import EVERY_SECONDS, LONGEST_STEP_SECONDS, _pause, collect_regularly

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


@pytest.mark.heavy
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


@pytest.mark.parametrize(
    ("took", "pause"), [(0.0, 60.0), (0.02, 60.0), (0.04, 240.0), (0.06, 540.0), (0.2, 3600.0), (9.0, 3600.0)]
)
def test_the_longer_a_collection_takes_the_more_seldom_it_comes(took: float, pause: float) -> None:
    assert _pause(EVERY_SECONDS, took) == pytest.approx(pause)


async def test_after_one_collection_that_took_long_the_next_come_as_often_as_before() -> None:
    collected: list[float] = []
    often = asyncio.Event()

    def slow_at_first() -> None:
        begun = time.thread_time()
        while not collected and time.thread_time() < begun + 2 * LONGEST_STEP_SECONDS:
            pass
        collected.append(time.monotonic())
        if len(collected) == 5:
            often.set()

    collecting = asyncio.create_task(collect_regularly(0.05, slow_at_first))
    await asyncio.wait_for(often.wait(), 10)
    collecting.cancel()
    assert collected[1] - collected[0] >= 4 * 0.05


async def test_what_is_cached_for_a_burst_is_forgotten_too() -> None:
    news = encode(Dead(1, "n2", "n3"))
    first = decode(news)
    collected = asyncio.Event()
    collecting = asyncio.create_task(collect_regularly(0.01, collected.set))
    await asyncio.wait_for(collected.wait(), 10)
    assert decode(news) is not first
    collecting.cancel()
