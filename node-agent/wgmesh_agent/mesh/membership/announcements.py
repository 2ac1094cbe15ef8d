"""`_j`: announcement of a member, sent to all as a user event."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import structlog

from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.mesh.membership.peer_codec import peer_message
from wgmesh_api.meshservice_pb2 import Peer

log = structlog.get_logger()
ANNOUNCEMENT_EVENT = "_j"


class Announcing(Protocol):
    """Sends user events; `GossipNode` implements it."""

    def user_event(self, name: str, payload: bytes, *, coalesce: bool = True) -> object:
        """Sends to all members. Raises GossipError: too large."""


class Announcer:
    """Sends announcements, which are not authoritative: a member that misses one learns the same from tags."""

    def __init__(self, gossip: Announcing) -> None:
        self._gossip = gossip

    def send(self, claim: Claim, kind: Peer.AnnouncementType = Peer.JOIN) -> None:
        """The announcement without certificates, or without the record, if it would be too large with them."""
        record = claim.admission
        shorter = (record.without_certificates(), None) if record else (None,)
        for short in shorter:
            try:
                message = peer_message(replace(claim, admission=short), kind)
                self._gossip.user_event(ANNOUNCEMENT_EVENT, message.SerializeToString(), coalesce=False)
                return
            except GossipError as error:
                log.debug("announcement too large", error=str(error))
        log.warning("announcement not sent", node=claim.node, next="members learn it from gossip tags")
