"""Announces a bootstrap node's new key on its behalf: until peers know the key, its own tunnels carry nothing.

The bootstrap node signs for its new key itself, shows that to one member (query `_herald`), and uses the key as soon as
that member has agreed. A moment later that member binds and announces it, as a bootstrap node does for joiners.
"""

from __future__ import annotations

import asyncio

import structlog
from google.protobuf.message import DecodeError

from wgmesh_agent.gossip.serf.events import QueryReceived
from wgmesh_agent.mesh.membership.admissions import AdmissionService
from wgmesh_agent.mesh.membership.announcements import Announcer
from wgmesh_agent.mesh.membership.claims import Accepting, Claim, Origin
from wgmesh_agent.mesh.membership.peer_codec import PeerMessageError, claim_from_peer
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.runtime.borders import border
from wgmesh_agent.runtime.supervisor import Supervisor
from wgmesh_api.meshservice_pb2 import Peer

log = structlog.get_logger()
HERALD_QUERY = "_herald"
HERALDS = border("herald query", "`_herald`: a bootstrap node's new key, from its own mesh address")
AGREED, REJECTED = b"\x01", b"\x00"
ANNOUNCE_DELAY_SECONDS = 0.3
"""Delay from agreement to announcement: by then the other uses its key. Its packets wait for the announcement."""
MAX_PENDING = 16


class AnnouncementProxy:
    """Service of a member for bootstrap nodes."""

    def __init__(
        self,
        admissions: AdmissionService,
        refusals: RejectionLog,
        tracker: Accepting,
        announcer: Announcer,
        tasks: Supervisor,
    ) -> None:
        self._admissions = admissions
        self._refusals = refusals
        self._tracker = tracker
        self._announcer = announcer
        self._tasks = tasks
        self._open: dict[str, Claim] = {}

    def answer_query(self, request: QueryReceived) -> bytes:
        """Agrees to announce a key that is authorised like that of any announcement, and only that of the querying
        node.
        """
        try:
            claim = claim_from_peer(Peer.FromString(request.payload))
        except (DecodeError, PeerMessageError) as error:
            self._refusals.record("malformed_announcement", str(error))
            return REJECTED
        if claim.node != request.source_node or request.source_member != request.source_node:
            HERALDS.reject(
                "not_the_asker",
                request.source_member or "",
                ("it requests the announcement of another member"),
            )
            return REJECTED
        if claim.admission is None or len(self._open) >= MAX_PENDING:
            return REJECTED
        judged = self._admissions.verify(claim)
        if judged is None or not judged[1]:
            return REJECTED
        if claim.node not in self._open:
            self._tasks.start(self._announce_after_delay(claim.node), "herald")
        self._open[claim.node] = claim
        return AGREED

    async def _announce_after_delay(self, node: str) -> None:
        await asyncio.sleep(ANNOUNCE_DELAY_SECONDS)
        claim = self._open.pop(node)
        if self._tracker.accept(claim, Origin.ANNOUNCED):
            self._announcer.send(self._admissions.record_for_peer(claim))
