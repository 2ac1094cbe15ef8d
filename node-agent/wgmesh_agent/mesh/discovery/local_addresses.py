"""Cache of this machine's addresses: many members may query them at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.wireguard.model import IPAddress


class AddressReader(Protocol):
    """Reads them from the kernel, each with the name of its interface. Raises KernelError."""

    async def reachable(self) -> Sequence[tuple[str, IPAddress]]:
        """All but those of loopback, and link-local ones."""

    async def candidates(self) -> Sequence[tuple[str, IPAddress]]:
        """Those that peers may be able to reach, best first."""


class LocalAddresses:
    """Concurrent callers share one read; `changed` invalidates it."""

    def __init__(self, reader: AddressReader, changed: Signal) -> None:
        self._reader = reader
        self._changed = changed
        self._reachable: Sequence[IPAddress] | None = None
        self._candidates: Sequence[IPAddress] | None = None
        self._reading = asyncio.Lock()
        self._generation = 0
        self.latest: frozenset[IPAddress] = frozenset()
        """The addresses as last read."""

    def invalidate(self) -> None:
        """An address was added or removed."""
        self.forget()
        self._changed.notify()

    def forget(self) -> None:
        """Invalidates the cache: the next caller reads again."""
        self._reachable = self._candidates = None
        self._generation += 1

    async def reachable(self) -> Sequence[IPAddress]:
        """All but those of loopback, and link-local ones. Raises KernelError."""
        async with self._reading:
            if self._reachable is not None:
                return self._reachable
            generation = self._generation
            found = [address for _, address in await self._reader.reachable()]
            self.latest = frozenset(found)
            # A read during which the addresses changed is not cached.
            if generation == self._generation:
                self._reachable = found
            return found

    async def candidates(self) -> Sequence[IPAddress]:
        """Those that peers may be able to reach, best first. Raises KernelError."""
        async with self._reading:
            if self._candidates is not None:
                return self._candidates
            generation = self._generation
            found = [address for _, address in await self._reader.candidates()]
            if generation == self._generation:
                self._candidates = found
            return found
