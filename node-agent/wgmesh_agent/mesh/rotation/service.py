"""Rotations that a user or a cluster can request of this node: the mesh's gossip key, its own WireGuard key."""

from __future__ import annotations

import os

from wgmesh_agent.mesh.membership.tracker import MembershipTracker
from wgmesh_agent.mesh.rotation.gossip_key import GossipKeyRotation, RotationFailed
from wgmesh_agent.mesh.rotation.key_policy import KeyPolicy
from wgmesh_agent.mesh.rotation.wireguard_key import WireGuardKeyRotation

KEY_BYTES = 32


class RotationService:
    """Rotations of one session; each method returns a sentence on the result, or raises RotationFailed."""

    def __init__(
        self,
        wireguard: WireGuardKeyRotation,
        gossip: GossipKeyRotation | None,
        tracker: MembershipTracker,
        keys: KeyPolicy,
    ) -> None:
        """`gossip`: None in a mesh whose gossip is not encrypted."""
        self._wireguard = wireguard
        self._gossip = gossip
        self._tracker = tracker
        self._keys = keys

    async def rotate_gossip_key(self) -> str:
        """Rotates the gossip key of the whole mesh."""
        if self._gossip is None:
            raise RotationFailed("gossip of this mesh is not encrypted: there is no key to rotate")
        if self._keys.gossip_keys_managed_by:
            raise RotationFailed(self._keys.gossip_keys_managed_by)
        done = await self._gossip.rotate(os.urandom(KEY_BYTES))
        away = len({binding.claim.node for binding in self._tracker.failed()})
        sentence = f"all {done.members} members use the new gossip key"
        if done.old_keys_kept:
            return (
                f"{sentence}; the old one is still accepted, because {done.old_keys_kept}: rotate again when "
                "all answer"
            )
        later = f"; {away} that are down get it from a bootstrap node when they return" if away else ""
        return f"{sentence}, and the old one is removed{later}"

    async def rotate_wireguard_key(self) -> str:
        """Rotates this node's own WireGuard key."""
        return await self._wireguard.rotate()
