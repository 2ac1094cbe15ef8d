"""Key policy: who rotates the gossip key, and who must learn of a WireGuard key before it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from wgmesh_agent.wireguard.keys import PublicKey


class KeyPolicy(Protocol):
    """Part of a node's composition, like its membership policy."""

    @property
    def gossip_keys_managed_by(self) -> str:
        """Another authority that decides on gossip keys, as a sentence that explains how to request a rotation; empty:
        members decide.
        """

    async def before_new_key(self, key: PublicKey) -> None:
        """Returns when this node may use `key`. Raises `rotation.gossip_key.RotationFailed`."""


@dataclass(frozen=True, slots=True)
class StandaloneKeyPolicy:
    """Members decide on gossip keys, and no authority has to learn of a WireGuard key first."""

    @property
    def gossip_keys_managed_by(self) -> str:
        return ""

    async def before_new_key(self, key: PublicKey) -> None:
        """Returns immediately."""
