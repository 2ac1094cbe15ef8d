"""Resolves conflicting claims: a new key for a bound member is accepted only if a bootstrap node confirms it.

Every member holds the gossip key, so a claim in gossip that conflicts with a binding is rejected. But a reinstalled
machine causes such a conflict too, and it was admitted properly. Bootstrap nodes know the difference, and answer
Peers() over TLS to every caller with a certificate: so they are queried, and their claims are bound instead. The same
query finds a bootstrap node that lost its own key and is unreachable through the mesh, and binds a member whose
admission record is missing, or is rejected here because this clock is behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Protocol

import structlog

from wgmesh_agent.mesh.join.bootstrap_directory import BootstrapDirectory
from wgmesh_agent.mesh.join.client import JoinUnreachable
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.runtime.backoff import Backoff, jittered
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.clock import Pause
from wgmesh_agent.settings.model import HostPort

log = structlog.get_logger()
BACKOFF = Backoff(first_seconds=1.0, longest_seconds=60.0)
INTERVAL_SECONDS = 15.0
CROWDED_PAUSE_SECONDS = 2.0
"""Interval of requests while gossip names more unknown members than can be queried for: newcomers among them wait for
this.
"""
CROWDED_PAUSE_SECONDS_A_MEMBER = 0.02
"""A member that invents others makes all members query the bootstrap nodes: together at most 50 times a second."""


class Disputes(Protocol):
    """Conflicts of gossip and ledger; `MembershipTracker` implements it."""

    def accept(self, claim: Claim, origin: Origin) -> bool:
        """Binds a claim; False if the ledger rejects it."""

    async def disputed_claims(self) -> list[Claim]:
        """Claims of live members about themselves that the ledger rejects."""

    def has_failed_bootstrap(self) -> bool:
        """Whether a bootstrap node is bound that gossip does not report alive."""


class Crowd(Protocol):
    """Members without an admission record; `MissingRecords` implements it."""

    def is_crowded(self) -> bool:
        """Whether gossip names more of them than can be queried for at once."""


class PeersClient(Protocol):
    """The Mesh service of other nodes, to query their members."""

    async def peers_of(self, bootstrap: HostPort) -> Sequence[Claim]:
        """A bootstrap node's Peers(), itself first. Raises JoinUnreachable."""


class DisputeResolver:
    """Queries bootstrap nodes while there are conflicts, with backoff as long as they do not resolve any."""

    def __init__(
        self,
        ledger: Ledger,
        tracker: Disputes,
        missing: Crowd,
        directory: BootstrapDirectory,
        peers: PeersClient,
        changes: Signal,
        rng: Random,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._ledger = ledger
        self._tracker = tracker
        self._missing = missing
        self._directory = directory
        self._peers = peers
        self._changes = changes
        self._rng = rng
        self._pause = pause

    async def run(self) -> None:
        """Checks after every change, and every 15 s."""
        pause = BACKOFF.first_seconds
        while True:
            generation = self._changes.generation
            crowded = self._missing.is_crowded()
            disputed = [] if crowded else await self._tracker.disputed_claims()
            if crowded or disputed or self._tracker.has_failed_bootstrap():
                pause = BACKOFF.first_seconds if await self.resolve() else BACKOFF.longer(pause)
                if self._missing.is_crowded():
                    pause = crowded_pause_seconds(len(self._ledger))
            else:
                pause = BACKOFF.first_seconds
            await self._changes.wait_after(generation, INTERVAL_SECONDS)
            if await self._rest(pause, disputed):
                pause = BACKOFF.first_seconds

    async def _rest(self, seconds: float, asked: Sequence[Claim]) -> bool:
        """Waits for the pause, or until there is a conflict of a member that was not `asked` about: claims that no
        bootstrap node confirms must not delay newcomers. Returns whether there is one.
        """
        left, known = jittered(seconds, self._rng), {(claim.node, claim.public_key) for claim in asked}
        least = crowded_pause_seconds(len(self._ledger))
        while left >= 2 * least:
            await self._pause(least)
            left -= least
            if self._missing.is_crowded():
                return True
            disputed = await self._tracker.disputed_claims()
            if {(one.node, one.public_key) for one in disputed} - known:
                return True
        await self._pause(left)
        return False

    async def resolve(self) -> bool:
        """Queries the bootstrap nodes in turn until no conflict is left; returns whether any was resolved."""
        settled = False
        for bootstrap in self._directory.bootstraps():
            try:
                told = await self._peers.peers_of(bootstrap)
            except JoinUnreachable as error:
                log.debug("bootstrap node unreachable", bootstrap=str(bootstrap), error=str(error))
                continue
            # Their announcement may have been lost, and among so many unknown members their turn to be queried for is
            # far away.
            for claim in told if self._missing.is_crowded() else ():
                if self._is_new(claim):
                    settled |= self._bind(claim, bootstrap)
                    await asyncio.sleep(0)
            # Among a thousand unknown members this takes long: only once, unless a member was bound.
            disputed, is_bound = await self._tracker.disputed_claims(), False
            for claim in confirmed_claims(disputed, told):
                if self._ledger.by_key(claim.public_key) is None or self._ledger.is_conflicting(claim):
                    is_bound |= self._bind(claim, bootstrap)
            # A bootstrap node is the authority on its own claim.
            for claim in told[:1]:
                if self._ledger.is_conflicting(claim):
                    is_bound |= self._bind(claim, bootstrap)
            settled |= is_bound
            if is_bound:
                disputed = await self._tracker.disputed_claims()
            if not disputed and not self._tracker.has_failed_bootstrap():
                break
        return settled

    def _is_new(self, claim: Claim) -> bool:
        known = self._ledger.by_key(claim.public_key) or self._ledger.by_name(claim.node)
        return claim.node != "" and known is None and not self._ledger.is_conflicting(claim)

    def _bind(self, claim: Claim, bootstrap: HostPort) -> bool:
        if not self._tracker.accept(claim, Origin.PEERS):
            return False
        log.warning(
            "claim confirmed by bootstrap node",
            node=claim.node,
            pubkey=str(claim.public_key),
            confirmed_by=str(bootstrap),
            addresses=[str(address) for address in claim.addresses],
        )
        return True


def crowded_pause_seconds(members: int) -> float:
    """Interval of requests of one of so many members in a large mesh."""
    return max(CROWDED_PAUSE_SECONDS, CROWDED_PAUSE_SECONDS_A_MEMBER * members)


def confirmed_claims(disputed: Sequence[Claim], told: Sequence[Claim]) -> list[Claim]:
    """The bootstrap node's claims of the disputed keys, unless it claims them under another name."""
    by_key = {claim.public_key: claim for claim in told}
    found = []
    for claim in disputed:
        other = by_key.get(claim.public_key)
        if other is not None and other.node in ("", claim.node):
            found.append(replace(other, node=claim.node))
    return found
