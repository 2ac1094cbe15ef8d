"""Gossip members joined with their ledger bindings, and queries to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from wgmesh_agent.gossip.serf.events import Member, QueryResult
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.tags import PROBE_PORT
from wgmesh_agent.wireguard.model import Device, Endpoint, IPAddress

LIVING = (MemberStatus.ALIVE, MemberStatus.LEAVING)


class Gossip(Protocol):
    """The part of gossip that most components use; `GossipNode` implements it."""

    def members(self) -> Mapping[str, Member]:
        """All members that gossip knows, by name, including those that have left."""

    async def query(
        self,
        name: str,
        payload: bytes = b"",
        *,
        nodes: Sequence[str] | None = None,
        ack: bool = False,
        relay_factor: int = 0,
        timeout: float | None = None,
        enough: Callable[[bytes], bool] | None = None,
        direct: bool = False,
    ) -> QueryResult:
        """Sends a query to all members, or to `nodes`. Raises GossipError."""


class MemberView:
    """View of the members of a mesh."""

    def __init__(self, gossip: Gossip, ledger: Ledger) -> None:
        self._gossip = gossip
        self._ledger = ledger
        self.query = gossip.query
        """Like that of gossip."""

    def all(self) -> Mapping[str, Member]:
        """By name, including those that have left, which gossip keeps for a day."""
        return self._gossip.members()

    def present(self) -> list[Member]:
        """All but those that have left, ordered by name."""
        found = (one for one in self.all().values() if one.status is not MemberStatus.LEFT)
        return sorted(found, key=lambda one: one.name)

    def alive(self) -> Iterator[str]:
        """The names of those alive, lazily: some callers only need to know whether there is one."""
        return (one.name for one in self.all().values() if one.status is MemberStatus.ALIVE)

    def living_claims(self) -> list[Claim]:
        """Of the bound members that gossip reports alive or leaving."""
        living = {one.name for one in self.all().values() if one.status in LIVING}
        return [one.claim for one in self._ledger if one.claim.node in living]

    def has_bound_members(self) -> bool:
        """Whether the ledger has another member, alive or not."""
        return len(self._ledger) > 0

    def is_isolated(self) -> bool:
        """Whether no other member is alive."""
        return not any(name != self._ledger.local.node for name in self.alive())

    def alive_bootstraps(self) -> list[str]:
        """The names of the live bootstrap nodes, by the ledger."""
        living = set(self.alive())
        return [one.claim.node for one in self._ledger if one.claim.bootstrap and one.claim.node in living]

    def probe_targets(self, port: int, departing: Iterable[Member] = ()) -> dict[IPAddress, str]:
        """The members that listen for probes, by primary mesh address, including failed ones, whose links matter most.
        `departing` have left according to gossip, and are not known to be silent.
        """
        return {
            binding.claim.addresses[0]: one.name
            for one in (*self.present(), *departing)
            if one.tags.get(PROBE_PORT) == str(port)
            and (binding := self._ledger.by_name(one.name)) is not None
        }

    def peer_endpoint(self, device: Device, address: IPAddress) -> Endpoint | None:
        """WireGuard's current endpoint of a member."""
        binding = self._ledger.by_address(address)
        peer = device.peers.get(binding.claim.public_key) if binding is not None else None
        return peer.endpoint if peer is not None else None
