"""Identifies the sender of a message: the member that holds the source address of its packet.

Gossip is bound to the mesh address, so WireGuard has authenticated the source of each datagram and each stream. A
name in a message is only a claim.
"""

from __future__ import annotations

from typing import Protocol

from wgmesh_agent.gossip.memberlist.node_table import NodeTable
from wgmesh_agent.gossip.wire.endpoint import Endpoint, IPAddress


class Vouching(Protocol):
    """Knowledge about members from outside gossip."""

    def is_vouched_for(self, name: str) -> bool:
        """Whether the name is bound to a member that was admitted."""

    def is_stranger(self, name: str) -> bool:
        """Returns whether the name belongs to another member, and is not bound."""

    def holder(self, address: IPAddress) -> str | None:
        """Returns the member that the address is bound to."""


class NoVouching:
    """A cluster without a ledger."""

    def is_vouched_for(self, name: str) -> bool:
        """Always False."""
        return False

    def is_stranger(self, name: str) -> bool:
        """Always False."""
        return False

    def holder(self, address: IPAddress) -> str | None:
        """Always None."""
        return None


def speaker_of(source: Endpoint | None) -> str:
    """Returns the sender to whose budgets a packet counts: its address, because ports and names are chosen by its
    sender."""
    return "" if source is None else str(source.address)


class Speakers:
    """Finds the member behind a source address, by its binding, or else in the memberlist table."""

    def __init__(self, table: NodeTable, vouching: Vouching) -> None:
        self._table = table
        self._vouching = vouching

    def is_member(self, endpoint: Endpoint) -> bool:
        """Returns whether a member claims this address: nothing is sent to any other address that a message
        contains."""
        return any(record.port == endpoint.port for record in self._table.at(endpoint.address))

    def is_vouched_for(self, name: str) -> bool:
        """Returns whether the name is bound to a member that was admitted."""
        return self._vouching.is_vouched_for(name)

    def is_stranger(self, name: str) -> bool:
        """Returns whether the name is not bound, in a cluster with a ledger."""
        return self._vouching.is_stranger(name)

    def at(self, source: Endpoint | None) -> str | None:
        """Returns the member at `source` (port 0: any); None if it is not a single member.

        If several members share an address, as on loopback, the port distinguishes them. Live ones take precedence
        over those that had the address earlier.
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
