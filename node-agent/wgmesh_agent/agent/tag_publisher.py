"""Publishes this node's claim in gossip: the reserved tags, and its user's."""

from __future__ import annotations

import structlog

from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.mesh.membership.local_node import LocalNode
from wgmesh_agent.runtime.change_signal import Signal

log = structlog.get_logger()


class TagPublisher:
    """Gossip starts with the tags that `local` has then."""

    def __init__(self, local: LocalNode, gossip: GossipNode, changed: Signal) -> None:
        """`changed`: notified when the tags of `local` may have changed."""
        self._local = local
        self._gossip = gossip
        self._changed = changed
        self._published = local.tags()

    async def run(self) -> None:
        """Publishes changes until cancelled."""
        while True:
            generation = self._changed.generation
            self._publish(self._local.tags())
            await self._changed.wait_after(generation)

    def _publish(self, tags: dict[str, str]) -> None:
        if tags == self._published:
            return
        try:
            self._gossip.set_tags(tags)
        except GossipError as error:
            log.error("tags not published", error=str(error), next="retrying with the next change")
        else:
            self._published = tags
