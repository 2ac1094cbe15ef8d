"""Tests which packet sizes reach a peer, by `probing.padded_probe`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from wgmesh_agent.mesh.probing.padded_probe import decode_reply, encode_probe
from wgmesh_agent.wireguard.model import IPAddress

MAX_ATTEMPTS = 4
PAUSE_SECONDS = 0.4


@dataclass(slots=True)
class _Round:
    """Open probes: peer and size, by number."""

    open: dict[int, tuple[IPAddress, int]]
    passed: set[tuple[IPAddress, int]] = field(default_factory=set)
    done: asyncio.Event = field(default_factory=asyncio.Event)


class PaddedProber:
    """Sends padded probes for a prober, and matches their answers."""

    def __init__(self, send: Callable[[IPAddress, bytes], None]) -> None:
        self._send = send
        self._rounds: list[_Round] = []

    def received(self, source: IPAddress, payload: bytes) -> None:
        """Processes an answer; ignores any other datagram."""
        found = decode_reply(payload)
        if found is None:
            return
        for one in self._rounds:
            asked = one.open.get(found[0])
            if asked == (source, found[1]):
                one.passed.add(asked)
                if one.passed >= set(one.open.values()):
                    one.done.set()

    async def reachable_with_size(
        self, wanted: Iterable[tuple[IPAddress, int]]
    ) -> set[tuple[IPAddress, int]]:
        """The pairs of peer and packet size that were answered; each is tried four times within 1.6 seconds."""
        one = _Round({random.getrandbits(32): pair for pair in wanted})
        if not one.open:
            return set()
        self._rounds.append(one)
        try:
            for _ in range(MAX_ATTEMPTS):
                for number, (address, size) in one.open.items():
                    if (address, size) not in one.passed:
                        self._send(address, encode_probe(number, size, address.version))
                try:
                    async with asyncio.timeout(PAUSE_SECONDS):
                        await one.done.wait()
                    break
                except TimeoutError:
                    continue
        finally:
            self._rounds.remove(one)
        return one.passed
