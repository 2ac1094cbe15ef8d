"""What a user, or a cluster, may ask this node to make anew: the mesh's gossip key, its own WireGuard key."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from wgmesh_agent.agent.node import MeshNode
from wgmesh_agent.mesh.rotation.gossip_key import GossipKeyRotation, RotationFailed
from wgmesh_agent.mesh.rotation.key_policy import KeyPolicy
from wgmesh_agent.mesh.rotation.wireguard_key import JoinWithNewKey, WireGuardKeyRotation
from wgmesh_agent.settings.model import HostPort

KEY_BYTES = 32


class RotationService:
    """One instance a session; each method answers a sentence on what was done, or raises RotationFailed."""

    def __init__(
        self,
        node: MeshNode,
        keys: KeyPolicy,
        bootstraps: Callable[[], Sequence[HostPort]],
        enter: JoinWithNewKey,
    ) -> None:
        self._node = node
        self._keys = keys
        self._wireguard = WireGuardKeyRotation(node, keys, bootstraps, enter)
        self._gossip = (
            GossipKeyRotation(node.gossip, node.keyring, self._failed_bootstraps)
            if node.keyring is not None
            else None
        )

    async def rotate_gossip_key(self) -> str:
        if self._gossip is None:
            raise RotationFailed("gossip of this mesh is not encrypted: there is no key to rotate")
        if self._keys.gossip_keys_managed_by:
            raise RotationFailed(self._keys.gossip_keys_managed_by)
        done = await self._gossip.rotate(os.urandom(KEY_BYTES))
        away = len({binding.claim.node for binding in self._node.tracker.failed()})
        sentence = f"the new gossip key is used by all {done.members} members"
        if done.old_keys_kept:
            return f"{sentence}; the old one is still accepted, as {done.old_keys_kept}: rotate again when all answer"
        later = f"; {away} that are away get it from a bootstrap node when they come back" if away else ""
        return f"{sentence}, and the old one is removed{later}"

    async def rotate_wireguard_key(self) -> str:
        return await self._wireguard.rotate()

    def _failed_bootstraps(self) -> list[str]:
        return [binding.claim.node for binding in self._node.tracker.failed() if binding.claim.bootstrap]
