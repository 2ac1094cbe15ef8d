"""An event loop in virtual time: a sleeping task is woken as soon as no other task is runnable.

The agent's own code runs on it unchanged: sleeps, timeouts and timers take no real time, threads run at once.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from contextvars import Context, ContextVar
from datetime import UTC, datetime, tzinfo
from typing import Any, Self

EPOCH_UNIX = 1_800_000_000.0
"""The wall clock when virtual time begins."""
TIE_SECONDS = 1e-12
"""Between timers that were set for the same time: a run sets some ten thousands."""
OFFSET: ContextVar[Callable[[], float]] = ContextVar("how far this machine's wall clock is off, in seconds")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Virtual seconds since it was made; deaf to the real world."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers = 0
        self.bind: Callable[[int, Callable[[bytes, tuple[str, int]], None]], object] = _nowhere
        super().__init__(_Skipping(self))

    def time(self) -> float:
        return self.now

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Of timers for the same time the first that was set is the first to go off, which no heap says by itself."""
        self._timers += 1
        return super().call_at(when + self._timers * TIE_SECONDS, callback, *args, context=context)

    def remove_reader(self, fd: Any) -> bool:
        """No process was ever watched."""
        return False

    async def create_datagram_endpoint(  # type: ignore[override]
        self, protocol_factory: Any, local_addr: Any = None, **_: Any
    ) -> Any:
        """A port of the machine whose code runs."""
        protocol = protocol_factory()
        return self.bind(local_addr[1], protocol.datagram_received), protocol

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """At once, in this thread."""
        future: asyncio.Future[Any] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def _nowhere(port: int, _: object) -> object:
    raise OSError(f"no machine to bind port {port} on")


class _Skipping(selectors.SelectSelector):
    """Instead of waiting, it moves the time on."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing will ever happen again: everybody waits and no timer is set")
        if timeout > 0:
            self._loop.now += timeout
        return []


class VirtualTime:
    """In place of the module `time`."""

    CLOCK_BOOTTIME = 7

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.monotonic = loop.time

    def time(self) -> float:
        """Of the machine whose code runs."""
        return EPOCH_UNIX + self._loop.now + OFFSET.get(lambda: 0.0)()

    def time_ns(self) -> int:
        """The same in nanoseconds."""
        return int(self.time() * 1e9)

    def clock_gettime(self, clock: int) -> float:
        """Of all clocks the same: no machine is suspended."""
        return self._loop.time()


class VirtualClock:
    """The clock of the machine whose code runs."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._time = VirtualTime(loop)

    def monotonic(self) -> float:
        return self._time.monotonic()

    def boot(self) -> float:
        """The same: no machine is suspended."""
        return self._time.monotonic()

    def unix(self) -> float:
        return self._time.time()

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._time.time(), UTC)


def virtual_clocks(loop: VirtualLoop) -> tuple[VirtualTime, type[datetime]]:
    """What stands in for the module `time` and the class `datetime` in the agent's modules."""
    stand_in = VirtualTime(loop)

    class VirtualDatetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp(stand_in.time(), tz or UTC)

    return stand_in, VirtualDatetime
