"""Joins gossip at the mesh addresses of known members, and dials members that gossip does not list."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import structlog

from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.mesh.dataplane.device_cache import DeviceCache
from wgmesh_agent.mesh.dataplane.handshake_trigger import HandshakeTrigger
from wgmesh_agent.mesh.membership.claims import Binding
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.runtime.backoff import Backoff
from wgmesh_agent.runtime.borders import border
from wgmesh_agent.runtime.clock import Pause
from wgmesh_agent.runtime.scaling import interval_scale
from wgmesh_agent.wireguard.model import IPAddress

log = structlog.get_logger()
ANSWERS = border("gossip join", "responses of members to this node's join by TCP")
HANDSHAKE_SECONDS = 5.0
HANDSHAKE_POLL = Backoff(first_seconds=0.02, longest_seconds=0.5)
RECONNECT_SECONDS = 2.0
MAX_CONCURRENT_JOINS = 3
SCALE_ABOVE_MEMBERS = 8
"""Number of members above which the interval grows: all of them together make about four attempts a second."""


class GossipJoiner:
    """Joins of a node's gossip."""

    def __init__(
        self,
        gossip: GossipNode,
        port: int,
        ledger: Ledger,
        absent: Callable[[], list[Binding]],
        device: DeviceCache,
        trigger: HandshakeTrigger,
        pause: Pause = asyncio.sleep,
    ) -> None:
        """
        Args:
            port: of gossip, on mesh addresses.
            absent: the bound members that gossip does not list.
        """
        self._gossip = gossip
        self._port = port
        self._ledger = ledger
        self._absent = absent
        self._device = device
        self._trigger = trigger
        self._pause = pause

    async def join_any(self) -> bool:
        """Joins gossip at known members' mesh addresses, bootstrap nodes first; False if none was reachable."""
        bindings = sorted(self._ledger, key=lambda b: (not b.claim.bootstrap, -b.last_seen, random.random()))  # noqa: S311
        if not bindings:
            return False
        await self._wait_for_handshake([b.claim.addresses[0] for b in bindings[:MAX_CONCURRENT_JOINS]])
        for start in range(0, len(bindings), MAX_CONCURRENT_JOINS):
            if await self._join(bindings[start : start + MAX_CONCURRENT_JOINS]):
                return True
        return False

    async def join_known(self) -> None:
        """Like `join_any`, if members are known; logs it if none answers."""
        if len(self._ledger) and not await self.join_any():
            log.warning("no member answers yet", known=len(self._ledger), next="retrying")

    async def reconnect(self) -> None:
        """Dials members that gossip does not list: serf itself retries only those it has seen fail.

        Gossip announces a newcomer soon. So a node that is connected waits for that, the longer the larger the mesh:
        otherwise a newcomer would have to send all members the state of all members before it can do anything else.
        """
        while True:
            before = self._absent()
            known = len(self._ledger) - len(before)
            pause = RECONNECT_SECONDS * interval_scale(known, SCALE_ABOVE_MEMBERS)
            await self._pause(pause * random.uniform(0.5, 1.5))  # noqa: S311
            names = {binding.claim.node for binding in before}
            absent = [binding for binding in self._absent() if not known or binding.claim.node in names]
            if absent:
                await self._join([random.choice(absent)])  # noqa: S311

    async def _wait_for_handshake(self, addresses: Sequence[IPAddress]) -> None:
        deadline = asyncio.get_running_loop().time() + HANDSHAKE_SECONDS
        pause = HANDSHAKE_POLL.first_seconds
        while asyncio.get_running_loop().time() < deadline:
            self._trigger(addresses)
            await self._pause(pause)
            device = await self._device.read()
            if any(peer.last_handshake for peer in device.peers.values()):
                return
            pause = HANDSHAKE_POLL.longer(pause)
        log.warning("no handshake yet", waited_seconds=HANDSHAKE_SECONDS, next="gossip keeps retrying")

    async def _join(self, bindings: Sequence[Binding]) -> bool:
        """Dials all at once; True as soon as one answers, while other attempts may continue."""
        attempts = [asyncio.create_task(self._join_one(binding.claim.addresses[0])) for binding in bindings]
        for attempt in asyncio.as_completed(attempts):
            if await attempt:
                return True
        return False

    async def _join_one(self, address: IPAddress) -> bool:
        with ANSWERS.fence(address):
            try:
                return await self._gossip.join([(address, self._port)]) > 0
            except GossipError as error:
                log.debug("gossip join failed", error=str(error))
        return False
