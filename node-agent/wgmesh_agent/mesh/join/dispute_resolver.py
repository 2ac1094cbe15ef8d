"""Settling contradictions: another key for a bound member counts only if a bootstrap node says the same.

Every member holds the gossip key, so what gossip says against a binding is refused. But a machine that was set up anew
is such a contradiction too, and it was admitted properly. The difference is known to bootstrap nodes, which answer
Peers() over TLS to whoever has a certificate: so they are asked, and what they say is bound instead. The same asking
finds a bootstrap node that lost its own key and that nobody can reach through the mesh any more, and binds a member
whose admission record nobody has, or is not believed here since this clock is behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
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
"""Between requests while gossip names more strangers than can be asked about: newcomers among them wait for this."""
CROWDED_PAUSE_SECONDS_A_MEMBER = 0.02
"""Whoever invents members has all others ask the bootstrap nodes: together they ask them 50 times a second at most."""


class Disputes(Protocol):
    """What gossip and the ledger disagree on; `MembershipTracker` knows."""

    def accept(self, claim: Claim, origin: Origin) -> bool:
        """Binds a claim; False if the ledger rejects it."""

    async def disputed_claims(self) -> list[Claim]:
        """What living members say of themselves and the ledger rejects."""

    def has_failed_bootstrap(self) -> bool:
        """Whether a bootstrap node is bound that gossip does not have alive."""


class Crowd(Protocol):
    """Members without an admission record; `MissingRecords` knows them."""

    def is_crowded(self) -> bool:
        """Whether gossip names more of them than can be asked about at once."""


class PeersClient(Protocol):
    """The Mesh service of other nodes, asked for their members."""

    async def peers_of(self, bootstrap: HostPort) -> Sequence[Claim]:
        """A bootstrap node's Peers(), itself first. Raises JoinUnreachable."""


class DisputeResolver:
    """Asks bootstrap nodes while something is in dispute, ever more seldom as long as they do not settle it."""

    def __init__(
        self,
        ledger: Ledger,
        tracker: Disputes,
        missing: Crowd,
        directory: BootstrapDirectory,
        peers: PeersClient,
        changes: Signal,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._ledger = ledger
        self._tracker = tracker
        self._missing = missing
        self._directory = directory
        self._peers = peers
        self._changes = changes
        self._pause = pause

    async def run(self) -> None:
        """Looks after every change, and every 15 s."""
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
        """Waits so long, or until somebody is in dispute who was not `asked` about: who disputes what no bootstrap node
        confirms must not hold up newcomers. Whether somebody is.
        """
        left, known = jittered(seconds), {(claim.node, claim.public_key) for claim in asked}
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
        """Asks the bootstrap nodes in turn until nothing is in dispute; whether any of it was settled."""
        settled = False
        for bootstrap in self._directory.bootstraps():
            try:
                told = await self._peers.peers_of(bootstrap)
            except JoinUnreachable as error:
                log.debug("bootstrap node unreachable", bootstrap=str(bootstrap), error=str(error))
                continue
            # Their announcement may have been lost, and among so many strangers their turn to be asked about is far.
            for claim in told if self._missing.is_crowded() else ():
                if self._is_new(claim):
                    settled |= self._bind(claim, bootstrap)
                    await asyncio.sleep(0)
            # Among a thousand strangers finding out takes long: once, unless somebody was bound.
            disputed, is_bound = await self._tracker.disputed_claims(), False
            for claim in confirmed_claims(disputed, told):
                if self._ledger.by_key(claim.public_key) is None or self._ledger.is_conflicting(claim):
                    is_bound |= self._bind(claim, bootstrap)
            # Nobody knows better than the bootstrap node who it is itself.
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
        log.warning("claim confirmed by bootstrap node", node=claim.node, pubkey=str(claim.public_key),
                    confirmed_by=str(bootstrap), addresses=[str(address) for address in claim.addresses])  # fmt: skip
        return True


def crowded_pause_seconds(members: int) -> float:
    """Between two requests of one of so many members in a crowd."""
    return max(CROWDED_PAUSE_SECONDS, CROWDED_PAUSE_SECONDS_A_MEMBER * members)


def confirmed_claims(disputed: Sequence[Claim], told: Sequence[Claim]) -> list[Claim]:
    """What a bootstrap node tells of the disputed keys, where it tells no other name."""
    by_key = {claim.public_key: claim for claim in told}
    found = []
    for claim in disputed:
        other = by_key.get(claim.public_key)
        if other is not None and other.node in ("", claim.node):
            found.append(replace(other, node=claim.node))
    return found
