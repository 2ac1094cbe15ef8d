"""Gossip's members joined with what the ledger has of them, and questions to them. Pure."""

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
    """What most parts need of gossip; `GossipNode` has it."""

    def members(self) -> Mapping[str, Member]:
        """All that gossip knows, by name: those that have left, too."""

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
        """Asks all members, or `nodes`. Raises GossipError."""


class MemberView:
    """One instance a node."""

    def __init__(self, gossip: Gossip, ledger: Ledger) -> None:
        self._gossip = gossip
        self._ledger = ledger
        self.query = gossip.query
        """As that of gossip."""

    def all(self) -> Mapping[str, Member]:
        """By name: those that have left, too, which gossip remembers for a day."""
        return self._gossip.members()

    def present(self) -> list[Member]:
        """All but those that have left, in the order of their names."""
        found = (one for one in self.all().values() if one.status is not MemberStatus.LEFT)
        return sorted(found, key=lambda one: one.name)

    def alive(self) -> Iterator[str]:
        """The names of those alive, one after the other: some ask only whether there is any."""
        return (one.name for one in self.all().values() if one.status is MemberStatus.ALIVE)

    def living_claims(self) -> list[Claim]:
        """Of the bound members that gossip has alive, or leaving."""
        living = {one.name for one in self.all().values() if one.status in LIVING}
        return [one.claim for one in self._ledger if one.claim.node in living]

    def has_bound_members(self) -> bool:
        """Whether the ledger has another member, alive or not."""
        return len(self._ledger) > 0

    def is_isolated(self) -> bool:
        """Whether no other member is alive."""
        return not any(name != self._ledger.local.node for name in self.alive())

    def alive_bootstraps(self) -> list[str]:
        """The names of the bootstrap nodes alive, as the ledger has them."""
        living = set(self.alive())
        return [one.claim.node for one in self._ledger if one.claim.bootstrap and one.claim.node in living]

    def probe_targets(self, port: int, departing: Iterable[Member] = ()) -> dict[IPAddress, str]:
        """The members that listen for probes, by primary mesh address: failed ones too, whose links are worth looking
        at most. `departing` have left as others say, and are not known to be silent.
        """
        return {
            binding.claim.addresses[0]: one.name
            for one in (*self.present(), *departing)
            if one.tags.get(PROBE_PORT) == str(port)
            and (binding := self._ledger.by_name(one.name)) is not None
        }

    def peer_endpoint(self, device: Device, address: IPAddress) -> Endpoint | None:
        """Where WireGuard sends what is for a member."""
        binding = self._ledger.by_address(address)
        peer = device.peers.get(binding.claim.public_key) if binding is not None else None
        return peer.endpoint if peer is not None else None
