"""Who of the members gossip knows is there, and what the ledger has of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from wgmesh_agent.gossip.serf.events import Member
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.tags import PROBE_PORT
from wgmesh_agent.wireguard.model import Device, Endpoint, IPAddress


def present(members: Mapping[str, Member]) -> list[Member]:
    """All but those that left, by name."""
    return sorted((m for m in members.values() if m.status is not MemberStatus.LEFT), key=lambda m: m.name)


def alive(members: Mapping[str, Member]) -> Iterator[str]:
    """The names of those alive, one after the other: some ask only whether there is any."""
    return (member.name for member in members.values() if member.status is MemberStatus.ALIVE)


def bootstraps_alive(members: Mapping[str, Member], ledger: Ledger) -> list[str]:
    """The names of the bootstrap nodes alive, as the ledger has them."""
    living = set(alive(members))
    return [one.claim.node for one in ledger if one.claim.bootstrap and one.claim.node in living]


def probed(members: Iterable[Member], ledger: Ledger, port: int) -> dict[IPAddress, str]:
    """The members that listen for probes, failed ones too: theirs are the links worth looking at."""
    return {
        binding.claim.addresses[0]: member.name
        for member in members
        if member.tags.get(PROBE_PORT) == str(port) and (binding := ledger.by_name(member.name)) is not None
    }


def endpoint_of(ledger: Ledger, device: Device, address: IPAddress) -> Endpoint | None:
    """Where WireGuard sends what is for a member."""
    binding = ledger.by_address(address)
    peer = device.peers.get(binding.claim.public_key) if binding is not None else None
    return peer.endpoint if peer is not None else None
