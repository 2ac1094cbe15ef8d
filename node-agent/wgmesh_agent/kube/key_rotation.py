"""This node's WireGuard key in Kubernetes: made anew when it is due, one try at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from wgmesh_agent.agent.session import Session
from wgmesh_agent.kube.key_rotation_schedule import Wish, due
from wgmesh_agent.kube.roster_cache import RosterView
from wgmesh_agent.mesh.rotation.gossip_key import NotRotated
from wgmesh_api.roster import token_id

log = structlog.get_logger()
LOOK_SECONDS = 30.0
RETRY_SECONDS = 300.0


class Rekeying:
    """One instance an agent; `run` runs beside each session."""

    def __init__(self, view: RosterView, *, now_unix: Callable[[], float] = time.time) -> None:
        self._view = view
        self._now_unix = now_unix
        self._asked: tuple[str, float] = ("", 0.0)
        self._not_before = 0.0

    async def run(self, session: Session) -> None:
        """Until it is cancelled."""
        while True:
            generation = self._view.changes.generation
            pause = await self.look(session)
            await self._view.changes.after(generation, pause)

    async def look(self, session: Session) -> float:
        """Makes another key if it is time; for how many seconds there is nothing to do but to see what is new."""
        mesh, node, now = self._view.mesh, session.node, self._now_unix()
        if mesh is None:
            return LOOK_SECONDS
        token = token_id(mesh.wireguard_key_token)
        if not node.record.wireguard_key_since:
            # What was asked for before this node had its key is not asked of it.
            await self._note(session, node.record.joined_unix or int(now), token)
        if token != self._asked[0]:
            self._asked = (token, now)
        at = due(
            Wish(mesh.wireguard_key_seconds, token), node.record.node, since=node.record.wireguard_key_since,
            done=node.record.wireguard_key_token, asked=self._asked[1], members=self._view.nodes,
        )  # fmt: skip
        if at is None:
            return LOOK_SECONDS
        at = max(at, self._not_before)
        if at > now:
            return min(at - now, LOOK_SECONDS)
        try:
            said = await session.rotations.wireguard()
        except NotRotated as error:
            self._not_before = self._now_unix() + RETRY_SECONDS
            log.warning("WireGuard key not rotated", why=str(error), retry_seconds=RETRY_SECONDS)
            return LOOK_SECONDS
        log.info("WireGuard key rotated in time", outcome=said)
        await self._note(session, int(self._now_unix()), token)
        return LOOK_SECONDS

    async def _note(self, session: Session, since: int, token: str) -> None:
        kept = session.node.kept
        kept.value = replace(kept.value, wireguard_key_since=since, wireguard_key_token=token)
        session.node.changes.bump()
        try:
            await asyncio.to_thread(kept.save)
        except OSError as error:
            log.error("key's age not kept", why=str(error), next="tried again with the next snapshot")
