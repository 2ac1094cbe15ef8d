"""Two nodes with one name: the cluster votes on its holder; the minority should stop (gossip-wire §8.5).

A Go serf exits when it loses; here the user is notified and decides.
"""

from __future__ import annotations

from collections.abc import Callable

from wgmesh_agent.gossip.errors import PeerError
from wgmesh_agent.gossip.memberlist.node_table import NodeRecord
from wgmesh_agent.gossip.memberlist.senders import Speakers
from wgmesh_agent.gossip.serf.events import NameConflict, SerfEvent
from wgmesh_agent.gossip.serf.outstanding_queries import OutstandingQuery
from wgmesh_agent.gossip.wire.endpoint import Endpoint, endpoint_of
from wgmesh_agent.gossip.wire.serf_messages import ConflictResponse, decode_serf

_QUIET_SECONDS = 30.0


class NameConflicts:
    """Reports conflicts, each name at most twice a minute, and resolves those about this node's own."""

    def __init__(
        self,
        own: NodeRecord,
        emit: Callable[[SerfEvent], None],
        ask: Callable[[Callable[[OutstandingQuery, float], None], float], None],
        speakers: Speakers,
    ) -> None:
        self._own = own
        self._emit = emit
        self._ask = ask
        self._speakers = speakers
        self._reported: dict[str, float] = {}
        self._asking = False

    def seen(self, record: NodeRecord, claimant: Endpoint, now: float) -> None:
        """A node at `claimant` uses the name of `record`."""
        self._reported = {name: when for name, when in self._reported.items() if now - when < _QUIET_SECONDS}
        if record.name in self._reported:
            return
        self._reported[record.name] = now
        self._emit(NameConflict(record.name, record.endpoint, claimant))
        # No vote removes a name that this node was admitted under.
        if record is not self._own or self._asking or self._speakers.is_vouched_for(record.name):
            return
        self._asking = True

        def decide(query: OutstandingQuery, _now: float) -> None:
            self._asking = False
            votes = list(query.responses.values())
            agreeing = sum(_knows_as(vote, self._own.endpoint) for vote in votes)
            lost = agreeing < len(votes) // 2 + 1
            self._emit(NameConflict(record.name, self._own.endpoint, claimant, lost))

        self._ask(decide, now)


def _knows_as(vote: bytes, endpoint: Endpoint) -> bool:
    try:
        response = decode_serf(vote)
        if not isinstance(response, ConflictResponse) or response.member is None:
            return False
        return endpoint_of(response.member.addr, response.member.port) == endpoint
    except PeerError:
        return False
