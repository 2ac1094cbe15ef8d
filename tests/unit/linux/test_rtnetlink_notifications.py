"""The kernel's news of this machine: a socket that fails, or that was overrun, ends nothing."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest

from wgmesh_agent.linux import address_monitor as of_the_host
from wgmesh_agent.linux import interface_monitor as of_the_interface
from wgmesh_agent.linux.address_monitor import ANYTHING, HostChange, host_changes
from wgmesh_agent.linux.rtnetlink_notifications import receive

PAUSE_SECONDS = 0.05
DEADLINE_SECONDS = 10.0
MUCH_WAS_LOST, NO_DESCRIPTORS = (OSError(number, "injected") for number in (errno.ENOBUFS, errno.EMFILE))


class Heard(socket.socket):
    """One end of a pair that gives these before what was sent."""

    def __init__(self, *first: OSError) -> None:
        here, self.other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        super().__init__(socket.AF_UNIX, socket.SOCK_DGRAM, fileno=here.detach())
        self.setblocking(False)
        self.first = list(first)

    def recv(self, *arguments: int) -> bytes:
        if self.first:
            raise self.first.pop(0)
        return super().recv(*arguments)

    def close(self) -> None:
        self.other.close()
        super().close()


async def test_where_more_came_than_the_socket_holds_anything_may_be_among_it() -> None:
    with Heard(MUCH_WAS_LOST) as heard:
        heard.other.send(b"news")
        assert await receive(heard) is None
        assert await receive(heard) == b"news"


async def test_a_socket_that_is_of_no_more_use_is_an_error() -> None:
    with Heard(NO_DESCRIPTORS) as heard, pytest.raises(OSError, match="injected"):
        await receive(heard)


class Kernel:
    """In place of `listening`: fails some times, then gives sockets that fail, then one that is whole."""

    def __init__(self, failures: int) -> None:
        self.left = failures
        self.opened: list[float] = []
        self.whole = Heard(MUCH_WAS_LOST)

    @contextmanager
    def __call__(self, groups: int) -> Iterator[socket.socket]:
        self.opened.append(time.monotonic())
        self.left -= 1
        if self.left < 0:
            yield self.whole
        elif self.left % 2:
            raise NO_DESCRIPTORS
        else:
            with Heard(NO_DESCRIPTORS) as failing:
                yield failing


@pytest.mark.parametrize(
    ("module", "news", "anything"),
    [
        (of_the_host, host_changes, ANYTHING),
        (of_the_interface, lambda: of_the_interface.interface_news("wg0"), None),
    ],
    ids=["of the host", "of the interface"],
)
async def test_an_error_that_lasts_is_tried_again_at_leisure_and_ends_nothing(
    module: ModuleType,
    news: Callable[[], AsyncIterator[HostChange | None]],
    anything: HostChange | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = Kernel(6)
    monkeypatch.setattr(module, "listening", kernel)
    monkeypatch.setattr(module, "REOPEN_SECONDS", PAUSE_SECONDS)
    told = news()
    with kernel.whole:
        async with asyncio.timeout(DEADLINE_SECONDS):
            # One for each failure, and one for what the whole socket lost.
            assert [await anext(told) for _ in range(7)] == [anything] * 7
    assert len(kernel.opened) == 7
    pauses = [later - earlier for earlier, later in zip(kernel.opened, kernel.opened[1:], strict=False)]
    assert min(pauses) >= PAUSE_SECONDS
