"""Which member sent a message: the one that holds the source address of its packet.

Gossip is bound to the mesh address, so WireGuard has authenticated the source of each datagram and each stream. A name
in a message is a claim; this is not.
"""

from __future__ import annotations

from typing import Protocol

from wgmesh_agent.gossip.memberlist.node_table import NodeTable
from wgmesh_agent.gossip.wire.endpoint import Endpoint, IPAddress


class Vouching(Protocol):
    """What is known of members from elsewhere than gossip."""

    def is_vouched_for(self, name: str) -> bool:
        """Whether the name is bound to a member that was admitted."""

    def is_stranger(self, name: str) -> bool:
        """Whether the name is another's, and bound to nobody."""

    def holder(self, address: IPAddress) -> str | None:
        """The member that the address is bound to."""


class NoVouching:
    """A cluster that has nothing but gossip."""

    def is_vouched_for(self, name: str) -> bool:
        """False."""
        return False

    def is_stranger(self, name: str) -> bool:
        """False."""
        return False

    def holder(self, address: IPAddress) -> str | None:
        """None."""
        return None


def speaker_of(source: Endpoint | None) -> str:
    """Whose budgets a packet is taken from: its address, since ports and names are for its sender to choose."""
    return "" if source is None else str(source.address)


class Speakers:
    """Finds the member behind a source address, by its binding, or else in the memberlist table."""

    def __init__(self, table: NodeTable, vouching: Vouching) -> None:
        self._table = table
        self._vouching = vouching

    def is_member(self, endpoint: Endpoint) -> bool:
        """Whether a member says to live there: nobody else is sent anything on somebody's word."""
        return any(record.port == endpoint.port for record in self._table.at(endpoint.address))

    def is_vouched_for(self, name: str) -> bool:
        """Whether the name is bound to a member that was admitted."""
        return self._vouching.is_vouched_for(name)

    def is_stranger(self, name: str) -> bool:
        """Whether the name is bound to nobody, though there is somebody who vouches for members."""
        return self._vouching.is_stranger(name)

    def at(self, source: Endpoint | None) -> str | None:
        """The member at `source` (port 0: any); None where no single member is.

        Where several members share an address, as on loopback, the port tells them apart. Living ones come before those
        that had the address earlier.
        """
        if source is None:
            return None
        holder = self._vouching.holder(source.address)
        if holder is not None:
            return holder
        there = self._table.at(source.address)
        found = [record for record in there if not record.gone] or list(there)
        if len(found) > 1:
            found = [record for record in found if record.port == source.port]
        return found[0].name if len(found) == 1 else None
