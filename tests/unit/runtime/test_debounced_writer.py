from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable

import pytest

from wgmesh_agent.runtime import debounced_writer
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.debounced_writer import DebouncedWriter, snapshot_interval_seconds


class Disk:
    """Keeps what is written of `value`."""

    def __init__(self) -> None:
        self.value = 0
        self.written: list[int] = []
        self.is_full = False
        self.attempts = Signal()
        self.collecting = asyncio.Event()
        self.collecting.set()

    async def collect(self) -> Callable[[], None]:
        await self.collecting.wait()
        value, is_full = self.value, self.is_full
        self.attempts.notify()

        def write() -> None:
            if is_full:
                raise OSError(errno.ENOSPC, "no space left on device")
            self.written.append(value)

        return write


@pytest.fixture
def disk() -> Disk:
    return Disk()


def writer(disk: Disk, changes: Signal | None = None) -> DebouncedWriter:
    return DebouncedWriter(changes or Signal(), disk.collect, "snapshot", lambda: 0.0)


async def test_callers_that_wait_together_share_a_write(disk: Disk) -> None:
    disk.collecting.clear()
    kept = writer(disk)
    first = asyncio.ensure_future(kept.write_now())
    await asyncio.sleep(0)
    later = [asyncio.ensure_future(kept.write_now()) for _ in range(4)]
    await asyncio.sleep(0)
    disk.collecting.set()
    assert await asyncio.gather(first, *later) == [True] * 5
    assert len(disk.written) == 2


async def test_full_disk_is_reported_and_the_next_write_succeeds(disk: Disk) -> None:
    kept = writer(disk)
    disk.is_full = True
    assert not await kept.write_now()
    disk.is_full = False
    assert await kept.write_now()
    assert disk.written == [0]


async def test_run_writes_at_the_start_and_after_each_change(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debounced_writer, "RETRY_SECONDS", 0.001)
    changes = Signal()
    disk.is_full = True
    task = asyncio.create_task(writer(disk, changes).run())
    assert await disk.attempts.wait_after(0, 10)
    disk.is_full = False
    for attempt in (1, 2, 3):
        assert await disk.attempts.wait_after(attempt, 10)
        disk.value = attempt
        changes.notify()
    task.cancel()
    assert disk.written[:2] == [0, 1]


def test_interval_grows_with_the_members_up_to_a_limit() -> None:
    assert [snapshot_interval_seconds(members) for members in (1, 100, 1000)] == [1.0, 5.0, 15.0]


async def test_one_that_is_cancelled_while_it_writes_ends_when_that_is_written(disk: Disk) -> None:
    began, may_end = threading.Event(), threading.Event()

    async def collect() -> Callable[[], None]:
        def write() -> None:
            began.set()
            may_end.wait(10)
            disk.written.append(7)

        return write

    task = asyncio.create_task(DebouncedWriter(Signal(), collect, "snapshot").run())
    await asyncio.to_thread(began.wait, 10)
    task.cancel()
    await asyncio.wait([task], timeout=0.05)
    assert not task.done()
    may_end.set()
    await asyncio.wait([task], timeout=10)
    assert task.cancelled()
    assert disk.written == [7]
