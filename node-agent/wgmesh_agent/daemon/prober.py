"""Sends and takes in the probes of `links.hearing`, on this node's mesh address."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address

import structlog

from wgmesh_agent.daemon.changes import Changes
from wgmesh_agent.links.hearing import Hearing, Link
from wgmesh_agent.membership.binding import IPAddress

log = structlog.get_logger()
MAX_PROBE_BYTES = 64


class Prober(asyncio.DatagramProtocol):
    """Bound to the mesh address: what comes in was authenticated by WireGuard, its source address too."""

    def __init__(
        self, address: IPAddress, port: int, peers: Callable[[], Mapping[IPAddress, str]], changes: Changes
    ) -> None:
        """
        Args:
            peers: the members to probe now, by mesh address: those that say they listen on the same port.
            changes: when `peers` may answer differently.
        """
        self._address = address
        self._port = port
        self._peers = peers
        self._changes = changes
        self._hearing = Hearing(random.Random())  # noqa: S311
        self._transport: asyncio.DatagramTransport | None = None
        self.unsent = 0

    async def start(self) -> None:
        """Binds the port. Raises OSError if it is taken."""
        family = socket.AF_INET if self._address.version == 4 else socket.AF_INET6
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=(str(self._address), self._port), family=family
        )

    async def run(self) -> None:
        """Probes until it is cancelled."""
        seen = -1
        while True:
            now = time.monotonic()
            if seen != self._changes.generation:
                seen = self._changes.generation
                self._hearing.set_peers(self._peers(), now)
            for address, payload in self._hearing.due(now):
                self._send(address, payload)
            due = self._hearing.next_due()
            await self._changes.after(seen, None if due is None else max(0.0, due - now))

    def ask(self, addresses: Iterable[IPAddress]) -> None:
        """Probes these peers at once, and has them answer at once."""
        now = time.monotonic()
        for address in addresses:
            self._hearing.ask(address, now)
        for address, payload in self._hearing.due(now):
            self._send(address, payload)

    def links(self) -> dict[str, Link]:
        """Every probed peer by name."""
        return self._hearing.links(time.monotonic())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        source, payload, now = ip_address(addr[0]), data[:MAX_PROBE_BYTES], time.monotonic()
        if self._hearing.received(source, payload, now):
            answer = self._hearing.answer(source, payload, now)
            if answer is not None:
                self._send(source, answer)

    def error_received(self, exc: Exception) -> None:
        # What a peer without a listener answers, or the kernel while an interface changes: shows as a silent link.
        self.unsent += 1
        log.debug("probe not sent", why=str(exc))

    def _send(self, address: IPAddress, payload: bytes) -> None:
        if self._transport is not None:
            self._transport.sendto(payload, (str(address), self._port))
