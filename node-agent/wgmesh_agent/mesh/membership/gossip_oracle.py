"""The ledger as gossip sees it: which names are bound to members, and which member holds an address."""

from __future__ import annotations

from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.wireguard.model import IPAddress


class LedgerVouching:
    """Implements `gossip.memberlist.senders.Vouching` by the ledger."""

    def __init__(self, ledger: Ledger, *, is_admitted: bool) -> None:
        """
        Args:
            is_admitted: whether this node itself was admitted under its name by an admission record.
        """
        self._ledger = ledger
        self._is_admitted = is_admitted

    def is_vouched_for(self, name: str) -> bool:
        """Whether the name is bound."""
        if name == self._ledger.local.node:
            return self._is_admitted
        return self._ledger.by_name(name) is not None

    def is_stranger(self, name: str) -> bool:
        """Whether the name belongs to another node, and is not bound."""
        return name != self._ledger.local.node and self._ledger.by_name(name) is None

    def holder(self, address: IPAddress) -> str | None:
        """The name to which the address is bound; None for a free one, or one whose name is not known yet."""
        if address in self._ledger.local.addresses:
            return self._ledger.local.node
        binding = self._ledger.by_address(address)
        return binding.claim.node or None if binding is not None else None
