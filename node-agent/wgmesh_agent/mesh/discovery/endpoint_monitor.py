"""Where this node tells others that it is: looked at anew whenever an address comes or goes, and asked of others."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog

from wgmesh_agent.linux.interface_addresses import candidate_addresses, reachable_addresses
from wgmesh_agent.mesh.discovery.advertised_endpoint import NoUsableEndpoint
from wgmesh_agent.mesh.discovery.nat_detection import ObservedEndpoint, detect_nat
from wgmesh_agent.runtime.backoff import Backoff, jittered
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.scaling import interval_scale
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.model import Endpoint, IPAddress

log = structlog.get_logger()
SETTLE_SECONDS = 0.5
"""Between an address that comes or goes and a look: a lease brings several changes at once."""
MIN_RECHECK_SECONDS = 10.0
"""At least so long between two doubts, and longer in a crowd: whoever lacks processor time hears nobody."""
PREVIOUS_LOCAL_ADDRESS_SECONDS = 3600.0
"""An address that was this machine's own is no translator's."""
PREVIOUS_NAT_ADDRESS_SECONDS = 20.0
MAX_PREVIOUS_ADDRESSES = 16
CONFIRM_AFTER_SECONDS = 3.0
"""After news, others are asked twice: what they answer first may be from before they heard from the new address."""
NAT_RECHECK_SECONDS = 60.0
UNANSWERED = Backoff(first_seconds=0.5, longest_seconds=NAT_RECHECK_SECONDS)
RECHECK_SECONDS = 300.0


class EndpointMonitor:
    """One instance a node; `run` for as long as it does."""

    def __init__(
        self,
        locate: Callable[[], Awaitable[Endpoint]],
        seen: Callable[[], Awaitable[Sequence[Endpoint]]],
        members: Callable[[], int],
        publish: Callable[[ObservedEndpoint], None],
        *,
        given: bool,
    ) -> None:
        """
        Args:
            locate: where this node is by its settings and routes; raises NoUsableEndpoint.
            seen: asks some members where they see it.
            members: how many there are.
            publish: what to tell from now on, called whenever it may differ.
            given: the endpoint was set, or is a STUN server's word: what others see does not change it.
        """
        self._locate = locate
        self._seen = seen
        self._members = members
        self._publish = publish
        self._given = given
        self._news = Signal()
        self._base: Endpoint | None = None
        self._told: Endpoint | None = None
        self._former: dict[IPAddress, float] = {}
        self._doubted = -math.inf
        self._is_doubtful = False
        self._addresses: Sequence[IPAddress] | None = None
        self._candidates: Sequence[IPAddress] | None = None
        self.known: frozenset[IPAddress] = frozenset()
        """This machine's addresses as they were last read."""
        self._reading = asyncio.Lock()

    def addresses_changed(self) -> None:
        """An address came or went: look again soon."""
        self._addresses = self._candidates = None
        self._news.notify()

    def invalidate(self) -> None:
        """A peer fell silent, which may be because a translator before this node has changed: look again soon."""
        now = time.monotonic()
        if now - self._doubted >= MIN_RECHECK_SECONDS * self._interval_scale():
            self._doubted, self._is_doubtful = now, True
            self._news.notify()

    async def local_addresses(self) -> Sequence[IPAddress]:
        """Of this machine's interfaces, as of the last look or change: members may ask for them all at once.

        Raises KernelError.
        """
        async with self._reading:
            if self._addresses is not None:
                return self._addresses
            generation = self._news.generation
            found = [address for _, address in await reachable_addresses()]
            self.known = frozenset(found)
            # What changed while it was read is not kept.
            if generation == self._news.generation:
                self._addresses = found
            return found

    async def candidates(self) -> Sequence[IPAddress]:
        """Those of them that others could use, best first, as of the last look or change. Raises KernelError."""
        async with self._reading:
            if self._candidates is not None:
                return self._candidates
            generation = self._news.generation
            found = [address for _, address in await candidate_addresses()]
            if generation == self._news.generation:
                self._candidates = found
            return found

    async def run(self) -> None:
        """Looks until it is cancelled."""
        unanswered = 0
        follow_up = True
        while True:
            generation = self._news.generation
            behind_nat = await self._evaluate()
            unanswered = unanswered + 1 if behind_nat is None else 0
            pause = self._pause(behind_nat, unanswered)
            if follow_up and behind_nat is not None:
                pause, follow_up = CONFIRM_AFTER_SECONDS, False
            if await self._wait_for_change(generation, jittered(pause)):
                follow_up, unanswered = True, 0

    async def _wait_for_change(self, generation: int, seconds: float) -> bool:
        """Whether this node has moved, or a peer fell silent, before the time ran out. Addresses of containers come and
        go all the time, and are no news.
        """
        deadline = time.monotonic() + seconds
        while await self._news.wait_after(generation, max(0.0, deadline - time.monotonic())):
            await asyncio.sleep(SETTLE_SECONDS)
            generation = self._news.generation
            if self._is_doubtful or await self._has_changed():
                self._is_doubtful = False
                return True
        return False

    async def _has_changed(self) -> bool:
        try:
            return await self._locate() != self._base
        except NoUsableEndpoint as error:
            log.debug("where this node is cannot be told", why=str(error))
            return False

    def _pause(self, behind_nat: bool | None, unanswered: int) -> float:
        if behind_nat is None:
            return UNANSWERED.seconds(unanswered) * self._interval_scale()
        return (NAT_RECHECK_SECONDS if behind_nat else RECHECK_SECONDS) * self._interval_scale()

    def _interval_scale(self) -> float:
        return interval_scale(self._members())

    async def _evaluate(self) -> bool | None:
        """Whether a translator stands before this node; None if nobody answered."""
        try:
            base = await self._locate()
            self._addresses = self._candidates = None
            addresses = await self.local_addresses()
        except (NoUsableEndpoint, BackEndError) as error:
            log.warning(
                "where this node is cannot be told", why=str(error), next="others learn it from its packets"
            )
            return None
        if base != self._base:
            self._expire_previous(base)
            self._publish_observed(detect_nat(base, addresses, (), given=self._given))
        now = time.monotonic()
        seen = [one for one in await self._seen() if self._former.get(one.address, now) <= now]
        if not seen:
            return None
        found = detect_nat(base, addresses, seen, given=self._given, told=self._told)
        self._publish_observed(found)
        return found.behind_nat

    def _expire_previous(self, base: Endpoint) -> None:
        """Others see this node where it was until they hear from it: what they say of that is not of now."""
        now = time.monotonic()
        self._former = {address: until for address, until in self._former.items() if until > now}
        if self._base is not None:
            self._former[self._base.address] = now + PREVIOUS_LOCAL_ADDRESS_SECONDS
        if self._told is not None and self._told != self._base:
            self._former[self._told.address] = now + PREVIOUS_NAT_ADDRESS_SECONDS * self._interval_scale()
        self._former.pop(base.address, None)
        while len(self._former) > MAX_PREVIOUS_ADDRESSES:
            del self._former[next(iter(self._former))]
        self._base = base

    def _publish_observed(self, found: ObservedEndpoint) -> None:
        self._told = found.endpoint
        self._publish(found)
