"""The policy that decides on keys: who changes gossip's, and who must learn of a WireGuard key before it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from wgmesh_agent.wireguard.keys import PublicKey


class KeyPolicy(Protocol):
    """Part of what a node is made with, as its membership policy is."""

    @property
    def gossip_keys_managed_by(self) -> str:
        """Who else decides on gossip keys, as a sentence that says how to ask; empty: the members do."""

    async def before_new_key(self, key: PublicKey) -> None:
        """Returns when this node may use `key`. Raises `rotation.gossip_key.RotationFailed`."""


@dataclass(frozen=True, slots=True)
class StandaloneKeyPolicy:
    """Members decide on gossip keys, and nobody is to learn of a WireGuard key first."""

    @property
    def gossip_keys_managed_by(self) -> str:
        return ""

    async def before_new_key(self, key: PublicKey) -> None:
        """At once."""
