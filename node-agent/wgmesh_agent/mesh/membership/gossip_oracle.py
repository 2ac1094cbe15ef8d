"""What gossip is told of the ledger: which names are bound to members, and which member holds an address."""

from __future__ import annotations

from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.wireguard.model import IPAddress


class LedgerVouching:
    """The ledger as `gossip.memberlist.senders.Vouching`."""

    def __init__(self, ledger: Ledger, *, is_admitted: bool) -> None:
        """
        Args:
            is_admitted: whether this node itself has its name by an admission record.
        """
        self._ledger = ledger
        self._is_admitted = is_admitted

    def is_vouched_for(self, name: str) -> bool:
        """Whether the name is bound."""
        if name == self._ledger.local.node:
            return self._is_admitted
        return self._ledger.by_name(name) is not None

    def is_stranger(self, name: str) -> bool:
        """Whether the name is another's, and not bound."""
        return name != self._ledger.local.node and self._ledger.by_name(name) is None

    def holder(self, address: IPAddress) -> str | None:
        """The name that the address is bound to; None for one that is free, or whose name is not known yet."""
        if address in self._ledger.local.addresses:
            return self._ledger.local.node
        binding = self._ledger.by_address(address)
        return binding.claim.node or None if binding is not None else None
