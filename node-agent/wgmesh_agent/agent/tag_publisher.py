"""What this node tells of itself in gossip: the reserved tags, and its user's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog

from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.gossip.wire.tags import encode_tags
from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.mesh.membership.tags import TagRejected, is_reserved, own_tags
from wgmesh_agent.mesh.psk.service import PSKManager
from wgmesh_agent.state.mesh_record_store import MeshRecordStore

log = structlog.get_logger()


class TagPublisher:
    """One instance a node."""

    def __init__(
        self,
        kept: MeshRecordStore,
        claim: Callable[[], Claim],
        probe_port: int,
        preshared: PSKManager,
        changed: Callable[[], None],
        publish: Callable[[dict[str, str]], None],
    ) -> None:
        """
        Args:
            claim: what this node says of itself now.
            changed: called whenever tags or secrets are others.
            publish: puts tags in the place of those that gossip tells; raises GossipError.
        """
        self._kept = kept
        self._claim = claim
        self._probe_port = probe_port
        self._preshared = preshared
        self._changed = changed
        self._publish = publish

    def initial(self) -> dict[str, str]:
        """Those to begin gossip with; without pre-shared secrets if they are too large with them."""
        tags = self._all(self._kept.value.tags)
        try:
            encode_tags(tags)
        except GossipError as error:
            log.error("secrets cannot be told to others", why=str(error), next="none is used; set fewer tags")
            self._preshared.disable()
            return self._all(self._kept.value.tags)
        return tags

    def publish(self) -> None:
        """What this node says of itself is different from now on. Raises GossipError: too large."""
        self._publish(self._all(self._kept.value.tags))
        self._changed()

    def publish_secrets(self) -> bool:
        """Tells others which pre-shared secrets this node holds now; whether it could."""
        try:
            self.publish()
        except GossipError as error:
            log.error("secrets cannot be told to others", why=str(error), next="set fewer tags")
            return False
        return True

    async def set_user_tags(self, tags: dict[str, str]) -> None:
        """Replaces the user's tags, on disk and in gossip.

        Raises:
            TagRejected: reserved, or too large together.
            OSError: the state folder cannot be written.
        """
        for key in tags:
            if not key or is_reserved(key):
                raise TagRejected(f"the tag {key!r} is reserved: tags that start with '_' are the mesh's own")
        try:
            self._publish(self._all(tags))
        except GossipError as error:
            raise TagRejected(f"the tags are too large: {error}") from error
        self._kept.value = replace(self._kept.value, tags=tags)
        await asyncio.to_thread(self._kept.persist)
        self._changed()

    def _all(self, users: dict[str, str]) -> dict[str, str]:
        return own_tags(self._claim(), users, probe_port=self._probe_port)
