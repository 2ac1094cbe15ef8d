"""This machine's addresses as they were last read: members may ask for them all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.wireguard.model import IPAddress


class AddressReader(Protocol):
    """Reads them from the kernel, each with the name of its interface. Raises KernelError."""

    async def reachable(self) -> Sequence[tuple[str, IPAddress]]:
        """All but those of the loopback and link-local ones."""

    async def candidates(self) -> Sequence[tuple[str, IPAddress]]:
        """Those that others could use, best first."""


class LocalAddresses:
    """Concurrent callers share one look; `changed` announces that the next look may find others."""

    def __init__(self, reader: AddressReader, changed: Signal) -> None:
        self._reader = reader
        self._changed = changed
        self._reachable: Sequence[IPAddress] | None = None
        self._candidates: Sequence[IPAddress] | None = None
        self._reading = asyncio.Lock()
        self._generation = 0
        self.latest: frozenset[IPAddress] = frozenset()
        """As they were last read."""

    def invalidate(self) -> None:
        """An address came or went."""
        self.forget()
        self._changed.notify()

    def forget(self) -> None:
        """The next who asks has them read anew."""
        self._reachable = self._candidates = None
        self._generation += 1

    async def reachable(self) -> Sequence[IPAddress]:
        """All but those of the loopback and link-local ones. Raises KernelError."""
        async with self._reading:
            if self._reachable is not None:
                return self._reachable
            generation = self._generation
            found = [address for _, address in await self._reader.reachable()]
            self.latest = frozenset(found)
            # What changed while it was read is not kept.
            if generation == self._generation:
                self._reachable = found
            return found

    async def candidates(self) -> Sequence[IPAddress]:
        """Those that others could use, best first. Raises KernelError."""
        async with self._reading:
            if self._candidates is not None:
                return self._candidates
            generation = self._generation
            found = [address for _, address in await self._reader.candidates()]
            if generation == self._generation:
                self._candidates = found
            return found
