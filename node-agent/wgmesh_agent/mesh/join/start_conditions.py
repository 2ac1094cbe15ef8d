"""Waits for prerequisites at start: an address, a route, a name server, space on the disk, a free port.

Machines boot in any order. A missing prerequisite is logged in one line, and again only when it changes or is still
missing after minutes; changes of addresses and routes that the kernel reports end a wait at once, all else is retried
each second.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

import structlog

from wgmesh_agent.linux.address_monitor import host_changes
from wgmesh_agent.mesh.discovery.advertised_endpoint import NoUsableEndpoint, UnusableEndpoint
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.reminders import Reminders
from wgmesh_agent.wireguard.errors import BackEndError, ForeignInterfaceError, InterfaceGoneError, number_of

log = structlog.get_logger()
T = TypeVar("T")
TRY_SECONDS = 1.0
LEAST_SECONDS = 0.1
"""Debounces changes of the host: a lease brings several at once."""
PASSING = frozenset(
    {
        errno.EADDRINUSE,
        errno.EADDRNOTAVAIL,
        errno.EAGAIN,
        errno.EDQUOT,
        errno.EHOSTUNREACH,
        errno.EIO,
        errno.EMFILE,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.EROFS,
    }
)


class Waiting:
    """An asynchronous context: while open, it follows changes of the host."""

    def __init__(
        self, *, try_seconds: float = TRY_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` gives seconds, for reminders."""
        self._try_seconds = try_seconds
        self._clock = clock
        self._changes = Signal()
        self._seen = 0
        self._task: asyncio.Task[None] | None = None
        self._reminders = Reminders()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow(), name="host changes")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def until(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """The result of `attempt`, retried while its exceptions are transient. Raises all others."""
        while True:
            try:
                return await attempt()
            except Exception as error:
                if not is_passing(error):
                    raise
                self.say(sentence(error))
            await self.pause()

    async def pause(self, seconds: float | None = None) -> bool:
        """Returns after `seconds`, or when the host has changed since the last pause; returns whether it has."""
        if seconds is None:
            seconds = self._try_seconds
        await asyncio.sleep(min(LEAST_SECONDS, seconds))
        changed = await self._changes.wait_after(self._seen, max(0.0, seconds - LEAST_SECONDS))
        self._seen = self._changes.generation
        return changed

    def say(self, why: str) -> None:
        """Logs the prerequisite, unless it was the last one logged and not long ago: with backoff."""
        if self._reminders.is_due(why, self._clock()):
            log.warning("waiting", reason=why, next="retrying when this machine changes, and every second")

    async def _follow(self) -> None:
        async for _ in host_changes():
            self._changes.notify()


def sentence(error: BaseException) -> str:
    """A foreseeable fault as text for a user."""
    if isinstance(error, OSError) and error.strerror:
        return f"cannot use {error.filename}: {error.strerror.lower()}" if error.filename else error.strerror
    return str(error) or repr(error)


def is_passing(error: BaseException) -> bool:
    """Whether a failed attempt may succeed later on this machine without a change of the settings."""
    if isinstance(error, UnusableEndpoint | ForeignInterfaceError):
        return False
    if isinstance(error, NoUsableEndpoint | InterfaceGoneError):
        return True
    return isinstance(error, OSError | BackEndError) and number_of(error) in PASSING
