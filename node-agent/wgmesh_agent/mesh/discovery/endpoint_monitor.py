"""Keeps this node's advertised endpoint current: re-evaluated on address changes and from what peers observe."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sized
from typing import Protocol

import structlog

from wgmesh_agent.mesh.discovery.advertised_endpoint import NoUsableEndpoint
from wgmesh_agent.mesh.discovery.local_addresses import LocalAddresses
from wgmesh_agent.mesh.discovery.nat_detection import ObservedEndpoint, detect_nat
from wgmesh_agent.mesh.membership.local_node import LocalNode, TagsTooLarge
from wgmesh_agent.runtime.backoff import Backoff, jittered
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.clock import Clock
from wgmesh_agent.runtime.scaling import interval_scale
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.model import Endpoint, IPAddress

log = structlog.get_logger()
SETTLE_SECONDS = 0.5
"""Debounces address changes: a lease brings several at once."""
MIN_RECHECK_SECONDS = 10.0
"""Minimum interval between two checks because of lost peers, scaled to the mesh size: a machine that lacks processor
time loses all of them.
"""
PREVIOUS_LOCAL_ADDRESS_SECONDS = 3600.0
"""How long an address that was this machine's own is not considered the public address of a NAT."""
PREVIOUS_NAT_ADDRESS_SECONDS = 20.0
MAX_PREVIOUS_ADDRESSES = 16
CONFIRM_AFTER_SECONDS = 3.0
"""After a change members are queried twice: the first answers may date from before they received from the new
address.
"""
NAT_RECHECK_SECONDS = 60.0
UNANSWERED = Backoff(first_seconds=0.5, longest_seconds=NAT_RECHECK_SECONDS)
RECHECK_SECONDS = 300.0


class Observers(Protocol):
    """Members that report where they observe others; `EndpointDiscovery` queries them."""

    async def observed_endpoints(self, node: str) -> tuple[list[Endpoint], list[Endpoint]]:
        """The endpoints at which some of them observe the node, one each; and those that the node itself reports."""


class EndpointMonitor:
    """Monitors and publishes this node's endpoint."""

    def __init__(
        self,
        local: LocalNode,
        addresses: LocalAddresses,
        observers: Observers,
        members: Sized,
        locate: Callable[[], Awaitable[Endpoint]],
        clock: Clock,
        *,
        news: Signal,
        suspect: Signal,
    ) -> None:
        """
        Args:
            local: updated with the endpoint at which peers reach this node.
            members: count; scales the pauses.
            locate: this node's endpoint by settings and routes; raises NoUsableEndpoint.
            news: notified when this machine's addresses may have changed, or with `suspect`.
            suspect: notified when a peer became unreachable, which may be because the NAT of this node has changed.
        """
        self._local = local
        self._addresses = addresses
        self._observers = observers
        self._members = members
        self._locate = locate
        self._clock = clock
        self._news = news
        self._suspect = suspect
        self._suspected = suspect.generation
        self._base: Endpoint | None = None
        self._told: Endpoint | None = None
        self._former: dict[IPAddress, float] = {}
        self._doubted = -math.inf

    async def run(self) -> None:
        """Monitors until cancelled."""
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
        """Whether an address changed, or a peer became unreachable, before the timeout. Addresses of containers come
        and go all the time, and do not count.
        """
        deadline = self._clock.monotonic() + seconds
        while await self._news.wait_after(generation, max(0.0, deadline - self._clock.monotonic())):
            await asyncio.sleep(SETTLE_SECONDS)
            generation = self._news.generation
            if self._is_suspect() or await self._has_changed():
                return True
        return False

    def _is_suspect(self) -> bool:
        """Whether a peer became unreachable since the last check; such checks are rate-limited."""
        if self._suspect.generation == self._suspected:
            return False
        self._suspected, now = self._suspect.generation, self._clock.monotonic()
        if now - self._doubted < MIN_RECHECK_SECONDS * self._interval_scale():
            return False
        self._doubted = now
        return True

    async def _has_changed(self) -> bool:
        try:
            return await self._locate() != self._base
        except NoUsableEndpoint as error:
            log.debug("cannot determine own endpoint", error=str(error))
            return False

    def _pause(self, behind_nat: bool | None, unanswered: int) -> float:
        if behind_nat is None:
            return UNANSWERED.seconds(unanswered) * self._interval_scale()
        return (NAT_RECHECK_SECONDS if behind_nat else RECHECK_SECONDS) * self._interval_scale()

    def _interval_scale(self) -> float:
        return interval_scale(len(self._members))

    async def _evaluate(self) -> bool | None:
        """Whether this node is behind NAT; None if no member answered."""
        try:
            base = await self._locate()
            self._addresses.forget()
            addresses = await self._addresses.reachable()
        except (NoUsableEndpoint, BackEndError) as error:
            log.warning(
                "cannot determine own endpoint",
                error=str(error),
                next="peers learn it from this node's packets",
            )
            return None
        if base != self._base:
            self._expire_previous(base)
            self._publish(detect_nat(base, addresses, (), given=self._local.config.endpoint_is_fixed))
        now = self._clock.monotonic()
        observed, _ = await self._observers.observed_endpoints(self._local.node)
        seen = [one for one in observed if self._former.get(one.address, now) <= now]
        if not seen:
            return None
        is_fixed = self._local.config.endpoint_is_fixed
        found = detect_nat(base, addresses, seen, given=is_fixed, told=self._told)
        self._publish(found)
        return found.behind_nat

    def _expire_previous(self, base: Endpoint) -> None:
        """Until they receive from this node, members observe it at its previous endpoint: such an observation is
        outdated.
        """
        now = self._clock.monotonic()
        self._former = {address: until for address, until in self._former.items() if until > now}
        if self._base is not None:
            self._former[self._base.address] = now + PREVIOUS_LOCAL_ADDRESS_SECONDS
        if self._told is not None and self._told != self._base:
            self._former[self._told.address] = now + PREVIOUS_NAT_ADDRESS_SECONDS * self._interval_scale()
        self._former.pop(base.address, None)
        while len(self._former) > MAX_PREVIOUS_ADDRESSES:
            del self._former[next(iter(self._former))]
        self._base = base

    def _publish(self, found: ObservedEndpoint) -> None:
        """Publishes this node's endpoint, and keeps a NAT's mappings open if there is one."""
        self._told = found.endpoint
        local = self._local
        if found.behind_nat is not None and found.behind_nat != local.behind_nat:
            log.info("behind NAT" if found.behind_nat else "not behind NAT", seen_at=str(found.endpoint))
            local.set_behind_nat(found.behind_nat)
        if found.endpoint != local.endpoint:
            log.info("own endpoint changed", endpoint=str(found.endpoint))
            try:
                local.move(found.endpoint)
            except TagsTooLarge as error:
                log.error(
                    "own endpoint not published",
                    error=str(error),
                    next="peers learn it from packets; set fewer tags",
                )
