"""Changes that are waited for, and the writer that writes after them."""

import asyncio
from collections.abc import Callable

import pytest

from wgmesh_agent.runtime import debounced_writer
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.debounced_writer import DebouncedWriter

DEADLINE_SECONDS = 30.0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_a_change_that_came_before_the_question_is_answered_at_once() -> None:
    changes = Signal()
    seen = changes.generation
    changes.notify()
    assert await changes.wait_after(seen)


async def test_everybody_who_waits_hears_of_a_change() -> None:
    changes = Signal()
    waiting = [asyncio.create_task(changes.wait_after(changes.generation)) for _ in range(3)]
    await asyncio.sleep(0)
    changes.notify()
    assert await asyncio.gather(*waiting) == [True, True, True]


async def test_without_a_change_the_time_runs_out() -> None:
    changes = Signal()
    assert not await changes.wait_after(changes.generation, 0.01)


class Disk:
    """Where a writer writes: the state at each write, and whether writing works."""

    def __init__(self) -> None:
        self.state = 0
        self.written: list[int] = []
        self.full = False
        self.attempts = 0

    async def collect(self) -> Callable[[], None]:
        state = self.state
        self.attempts += 1

        def write() -> None:
            if self.full:
                raise OSError(28, "No space left on device")
            self.written.append(state)

        return write


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debounced_writer, "MIN_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(debounced_writer, "RETRY_SECONDS", 0.01)


@pytest.mark.usefixtures("hasty")
async def test_the_writer_writes_at_the_start_and_after_every_change(disk: Disk) -> None:
    changes = Signal()
    task = asyncio.create_task(DebouncedWriter(changes, disk.collect, "snapshot").run())
    await until(lambda: disk.written == [0])
    disk.state = 1
    changes.notify()
    await until(lambda: disk.written == [0, 1])
    task.cancel()


@pytest.mark.usefixtures("hasty")
async def test_a_full_disk_is_tried_again_until_the_state_of_then_is_written(disk: Disk) -> None:
    disk.full = True
    changes = Signal()
    task = asyncio.create_task(DebouncedWriter(changes, disk.collect, "snapshot").run())
    await until(lambda: disk.attempts >= 3)
    assert not disk.written
    disk.state, disk.full = 7, False
    # What was collected a moment before may be written first; the change after it is not forgotten.
    changes.notify()
    await until(lambda: disk.written[-1:] == [7])
    task.cancel()


async def test_a_write_asked_for_tells_whether_it_is_on_disk(disk: Disk) -> None:
    writer = DebouncedWriter(Signal(), disk.collect, "snapshot")
    assert await writer.write_now()
    disk.full = True
    assert not await writer.write_now()


async def test_a_hundred_who_ask_at_once_share_a_few_writes_and_all_find_their_state_in_them(
    disk: Disk,
) -> None:
    writer = DebouncedWriter(Signal(), disk.collect, "snapshot")

    async def one(number: int) -> bool:
        disk.state = max(disk.state, number)
        assert await writer.write_now()
        return max(disk.written) >= number

    assert all(await asyncio.gather(*(one(number) for number in range(100))))
    assert len(disk.written) <= 3
