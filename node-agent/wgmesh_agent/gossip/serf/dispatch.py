"""Dispatches received serf messages: applies them, and rebroadcasts new ones unchanged (gossip-wire §8)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wgmesh_agent.gossip.errors import PeerError
from wgmesh_agent.gossip.memberlist.broadcast_queue import BroadcastQueue
from wgmesh_agent.gossip.memberlist.config import SerfConfig
from wgmesh_agent.gossip.memberlist.counters import Counters
from wgmesh_agent.gossip.memberlist.memberlist import Memberlist
from wgmesh_agent.gossip.memberlist.names import is_member_name
from wgmesh_agent.gossip.memberlist.senders import Speakers, speaker_of
from wgmesh_agent.gossip.serf.dedup_window import DedupWindow, Verdict
from wgmesh_agent.gossip.serf.delegate_state import EventKey
from wgmesh_agent.gossip.serf.events import SerfEvent, UserEventReceived
from wgmesh_agent.gossip.serf.member_table import MemberTable
from wgmesh_agent.gossip.serf.outstanding_queries import NO_REBROADCAST_FLAG, OutstandingQueries
from wgmesh_agent.gossip.serf.query_responder import QueryResponder
from wgmesh_agent.gossip.wire.endpoint import Endpoint, endpoint_of
from wgmesh_agent.gossip.wire.messages import UserMessage, encode
from wgmesh_agent.gossip.wire.serf_messages import (
    JoinIntent,
    LeaveIntent,
    Query,
    QueryResponse,
    Relay,
    UserEvent,
    decode_serf,
)

MOST_EVENT_BYTES = 9216
_MOST_QUERY_BYTES = 9216
"""serf sends queries of 1 KiB unless configured otherwise; a query larger than a datagram is invalid."""


class SerfBroadcasts:
    """serf's three queues, in the order in which they are used."""

    def __init__(self, config: SerfConfig, memberlist: Memberlist, limit: Callable[[], int]) -> None:

        def depth() -> int:
            return min(config.max_queue_depth, max(config.min_queue_depth, 2 * len(memberlist.table)))

        self.intents, self.queries, self.events = (
            BroadcastQueue(depth, config.max_queue_bytes) for _ in range(3)
        )
        self._memberlist = memberlist
        for queue in (self.intents, self.queries, self.events):
            memberlist.transmitter.sources.append((queue, limit))
        memberlist.tell_of_strangers_last()

    def add(
        self,
        queue: BroadcastQueue,
        payload: bytes,
        now: float,
        on_finished: Callable[[], None] | None = None,
    ) -> None:
        """Queues one serf message."""
        message = encode(UserMessage(payload))
        if self._memberlist.transmitter.fits_queue(message):
            queue.add(message, None, on_finished)
            self._memberlist.wake(now)
            return
        self._memberlist.counters.refuse("broadcast: too large for a datagram")
        if on_finished is not None:
            on_finished()


class MessageDispatcher:
    """Dispatches serf messages by type."""

    def __init__(
        self,
        members: MemberTable,
        memberlist: Memberlist,
        broadcasts: SerfBroadcasts,
        events: DedupWindow[EventKey],
        queries: DedupWindow[int],
        answers: QueryResponder,
        outstanding: OutstandingQueries,
        emit: Callable[[SerfEvent], None],
        speakers: Speakers,
    ) -> None:
        self._members = members
        self._memberlist = memberlist
        self._counters: Counters = memberlist.counters
        self._broadcasts = broadcasts
        self._events = events
        self._queries = queries
        self._answers = answers
        self._outstanding = outstanding
        self._emit = emit
        self._speakers = speakers

    def receive(self, payload: bytes, source: Endpoint | None, now: float) -> None:
        """Applies one encoded message that was received from `source`. Raises PeerError."""
        message = decode_serf(payload)
        queue: BroadcastQueue | None = None
        match message:
            case JoinIntent():
                if self._members.join_intent(message, now, speaker_of(source)):
                    queue = self._broadcasts.intents
            case LeaveIntent():
                if self._members.leave_intent(message, now, speaker_of(source)):
                    queue = self._broadcasts.intents
            case UserEvent():
                if self.admit_event(message):
                    queue = self._broadcasts.events
            case Query():
                if len(payload) > _MOST_QUERY_BYTES:
                    self._counters.refuse("query: too large")
                elif self._admit_query(message, source, now) and not message.flags & NO_REBROADCAST_FLAG:
                    queue = self._broadcasts.queries
            case QueryResponse():
                self._outstanding.answer(message, self._speakers.at(source), now)
            case Relay():
                endpoint = endpoint_of(message.dest_addr, message.dest_port)
                if self._speakers.is_member(endpoint):
                    self._memberlist.send_user(message.inner, endpoint)
                else:
                    self._counters.refuse("relay: to no member")
            case _:
                self._counters.refuse("serf message: has no place in a datagram")
        if queue is not None:
            self._broadcasts.add(queue, payload, now)

    def admit_event(self, event: UserEvent) -> bool:
        """Delivers an event unless it is known, too old or too large; True if it was delivered."""
        size = len(event.name) + len(event.payload)
        if size > MOST_EVENT_BYTES:
            self._counters.refuse("user event: too large")
            return False
        verdict = self._events.admit(event.ltime, (event.name, event.payload), size)
        if verdict is Verdict.NEW:
            self._emit(UserEventReceived(event.ltime, event.name, event.payload, event.coalesce))
            return True
        if verdict is not Verdict.SEEN:
            self._counters.refuse(f"user event: {verdict.value}")
        return False

    def ask(self, query: Query, data: bytes, now: float, to: Sequence[Endpoint] | None) -> None:
        """Opens a query of this node, and sends it there; None: broadcasts it."""
        self._queries.admit(query.ltime, query.id, 1)
        self._answers.handle(query, query.source_node, now)
        if to is None:
            self._broadcasts.add(self._broadcasts.queries, data, now)
            return
        for endpoint in to:
            self._memberlist.send_user(data, endpoint)

    def _admit_query(self, query: Query, source: Endpoint | None, now: float) -> bool:
        if not is_member_name(query.source_node):
            self._counters.refuse("query: of a name that no member has")
            return False
        verdict = self._queries.admit(query.ltime, query.id, 1)
        if verdict is Verdict.NEW:
            asker: Endpoint | None
            try:
                asker = endpoint_of(query.addr, query.port)
            except PeerError:
                asker = None
            if asker is not None and (asker == source or self._speakers.is_member(asker)):
                self._answers.handle(query, self._speakers.at(source), now, speaker_of(source))
            else:
                self._counters.refuse("query: nowhere to answer")
            return True
        if verdict is not Verdict.SEEN:
            self._counters.refuse(f"query: {verdict.value}")
        return False
