"""A bootstrap node's new key, announced by another member: its own tunnels wait for that very announcement.

The bootstrap node signs for its new key itself, shows that to one member (query `_herald`), and uses the key as soon as
that one has agreed. A moment later the herald binds and announces it, as a bootstrap node does for others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from google.protobuf.message import DecodeError

from wgmesh_agent.gossip.serf.events import QueryReceived
from wgmesh_agent.mesh.membership.admissions import Admissions
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.peer_codec import PeerMessageError, claim_from
from wgmesh_agent.mesh.membership.rejections import Refusals
from wgmesh_agent.runtime.borders import border
from wgmesh_agent.runtime.supervisor import Supervisor
from wgmesh_api.meshservice_pb2 import Peer

log = structlog.get_logger()
QUERY = "_herald"
HERALDS = border("herald query", "`_herald`: a bootstrap node's new key, from its own mesh address")
AGREED, REFUSED = b"\x01", b"\x00"
PAUSE_SECONDS = 0.3
"""From agreeing to announcing: the other uses its key by then. Its packets wait for the announcement, not for long."""
MOST_AT_ONCE = 16


class Heralding:
    """What a member does for bootstrap nodes; one instance a node."""

    def __init__(
        self,
        admissions: Admissions,
        refusals: Refusals,
        accept: Callable[[Claim, Origin], bool],
        announce: Callable[[Claim], None],
        tasks: Supervisor,
    ) -> None:
        self._admissions = admissions
        self._refusals = refusals
        self._accept = accept
        self._announce = announce
        self._tasks = tasks
        self._open: dict[str, Claim] = {}

    def answer(self, request: QueryReceived) -> bytes:
        """Agrees to announce what is vouched for as any announcement must be, and of nobody but who asks."""
        try:
            claim = claim_from(Peer.FromString(request.payload))
        except (DecodeError, PeerMessageError) as error:
            self._refusals.count("malformed_announcement", str(error))
            return REFUSED
        if claim.node != request.source_node or request.source_member != request.source_node:
            HERALDS.reject("not_the_asker", request.source_member or "", "it asks to announce another member")
            return REFUSED
        if claim.admission is None or len(self._open) >= MOST_AT_ONCE:
            return REFUSED
        judged = self._admissions.judge(claim)
        if judged is None or not judged[1]:
            return REFUSED
        if claim.node not in self._open:
            self._tasks.start(self._later(claim.node), "herald")
        self._open[claim.node] = claim
        return AGREED

    async def _later(self, node: str) -> None:
        await asyncio.sleep(PAUSE_SECONDS)
        claim = self._open.pop(node)
        if self._accept(claim, Origin.ANNOUNCED):
            self._announce(self._admissions.vouch(claim))
