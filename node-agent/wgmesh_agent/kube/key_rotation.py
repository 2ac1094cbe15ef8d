"""Rotates this node's WireGuard key in Kubernetes when due, one attempt at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from wgmesh_agent.agent.node import MeshNode
from wgmesh_agent.kube.key_rotation_schedule import RotationPolicy, next_rotation
from wgmesh_agent.kube.roster_cache import RosterCache
from wgmesh_agent.mesh.rotation.gossip_key import RotationFailed
from wgmesh_api.roster import token_id

log = structlog.get_logger()
RESYNC_SECONDS = 30.0
RETRY_SECONDS = 300.0


class KeyRotationController:
    """Key rotation of an agent; `run` runs beside each session."""

    def __init__(self, view: RosterCache, *, now_unix: Callable[[], float] = time.time) -> None:
        self._view = view
        self._now_unix = now_unix
        self._asked: tuple[str, float] = ("", 0.0)
        self._not_before = 0.0

    async def run(self, node: MeshNode) -> None:
        """Runs until cancelled."""
        while True:
            generation = self._view.changes.generation
            pause = await self.reconcile(node)
            await self._view.changes.wait_after(generation, pause)

    async def reconcile(self, node: MeshNode) -> float:
        """Rotates the key if due; returns for how many seconds nothing is due unless the roster changes."""
        mesh, now = self._view.mesh, self._now_unix()
        if mesh is None:
            return RESYNC_SECONDS
        token = token_id(mesh.wireguard_key_token)
        if not node.record.wireguard_key_since:
            # A rotation requested before this node had its key does not apply to it.
            await self._persist(node, node.record.joined_unix or int(now), token)
        if token != self._asked[0]:
            self._asked = (token, now)
        at = next_rotation(
            RotationPolicy(mesh.wireguard_key_seconds, token),
            node.record.node,
            since=node.record.wireguard_key_since,
            done=node.record.wireguard_key_token,
            asked=self._asked[1],
            members=self._view.nodes,
        )
        if at is None:
            return RESYNC_SECONDS
        at = max(at, self._not_before)
        if at > now:
            return min(at - now, RESYNC_SECONDS)
        try:
            said = await node.rotations.rotate_wireguard_key()
        except RotationFailed as error:
            self._not_before = self._now_unix() + RETRY_SECONDS
            log.warning("WireGuard key not rotated", error=str(error), retry_seconds=RETRY_SECONDS)
            return RESYNC_SECONDS
        log.info("WireGuard key rotated as scheduled", outcome=said)
        await self._persist(node, int(self._now_unix()), token)
        return RESYNC_SECONDS

    async def _persist(self, node: MeshNode, since: int, token: str) -> None:
        local = node.local
        local.update_record(wireguard_key_since=since, wireguard_key_token=token)
        try:
            await asyncio.to_thread(local.persist)
        except OSError as error:
            log.error(
                "cannot persist the key rotation time",
                error=str(error),
                next="retrying with the next snapshot",
            )
