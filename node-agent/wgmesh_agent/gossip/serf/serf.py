"""serf without I/O: the top of the gossip core, owner of a memberlist.

Feed it datagrams, stream bytes and the time; drain datagrams, stream actions and notifications; call `handle_timers`
when `next_timer` is due. Nothing here blocks, reads a clock, or uses randomness other than the given
`random.Random`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence

from wgmesh_agent.gossip.errors import GossipError, PeerError
from wgmesh_agent.gossip.memberlist.config import SerfConfig
from wgmesh_agent.gossip.memberlist.counters import Counters
from wgmesh_agent.gossip.memberlist.expiry import Expiry
from wgmesh_agent.gossip.memberlist.memberlist import Memberlist
from wgmesh_agent.gossip.memberlist.node_table import NodeRecord
from wgmesh_agent.gossip.memberlist.senders import Vouching, speaker_of
from wgmesh_agent.gossip.memberlist.streams import StreamAction, StreamFailure
from wgmesh_agent.gossip.memberlist.timers import Timers
from wgmesh_agent.gossip.memberlist.transmit import Datagram
from wgmesh_agent.gossip.serf.coordinates import RTTEstimates
from wgmesh_agent.gossip.serf.dedup_window import DedupWindow
from wgmesh_agent.gossip.serf.delegate_state import EventKey, SerfDelegateState
from wgmesh_agent.gossip.serf.dispatch import MessageDispatcher, SerfBroadcasts
from wgmesh_agent.gossip.serf.events import JoinFinished, LeaveFinished, Member, SerfEvent
from wgmesh_agent.gossip.serf.key_manager import KeyOperation
from wgmesh_agent.gossip.serf.lamport import LamportClock
from wgmesh_agent.gossip.serf.lamport_leaps import Leaps
from wgmesh_agent.gossip.serf.leave import GracefulLeave
from wgmesh_agent.gossip.serf.member_table import MemberTable
from wgmesh_agent.gossip.serf.name_conflicts import NameConflicts
from wgmesh_agent.gossip.serf.outstanding_queries import OutstandingQueries, OutstandingQuery
from wgmesh_agent.gossip.serf.query_client import QueryClient, QueryRequest
from wgmesh_agent.gossip.serf.query_responder import CONFLICT_QUERY, QueryResponder
from wgmesh_agent.gossip.serf.reconnect import Reconnector
from wgmesh_agent.gossip.wire.encryption import NonceSource
from wgmesh_agent.gossip.wire.endpoint import Endpoint, endpoint_of
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.gossip.wire.serf_messages import (
    JoinIntent,
    KeyRequest,
    LeaveIntent,
    MemberStatus,
    Query,
    QueryResponse,
    SerfPushPull,
    UserEvent,
    decode_serf,
    encode_serf,
    encode_tags,
)

MOST_QUERY_IDS = 65536
_PRUNE_AFTER_SECONDS = 6.0
_ONE_ARRIVAL_SECONDS = 5.0
"""Joins through several members within this time count as one, and are announced once."""

Then = Callable[[OutstandingQuery, float], None]


class Serf:
    """One member of a serf cluster.

    `keyring` None means plaintext gossip; `nonces` must return unpredictable bytes. All `now` are monotonic seconds
    of one clock.
    """

    def __init__(
        self,
        config: SerfConfig,
        *,
        keyring: Keyring | None,
        rng: random.Random,
        nonces: NonceSource,
        vouching: Vouching | None = None,
    ) -> None:
        self.config = config
        self._timers = Timers()
        self._notifications: list[SerfEvent] = []
        self._leaps = (Leaps(), Leaps(), Leaps())
        self._clock, self._event_clock, query_clock = map(LamportClock, self._leaps)
        emit = self._emit
        memberlist = Memberlist(
            config,
            self,
            self._timers,
            rng,
            keyring=keyring,
            nonces=nonces,
            vouching=vouching,
        )
        self._memberlist = memberlist
        speakers = memberlist.speakers
        self.counters: Counters = memberlist.counters
        members = MemberTable(
            config, self._clock, self.counters, emit, self._broadcast_join, self._prune_later, self._changed
        )
        self._members = members
        self._broadcasts = SerfBroadcasts(
            config, memberlist, lambda: config.profile.retransmit_limit(len(members))
        )
        events: DedupWindow[EventKey] = DedupWindow(
            self._event_clock, config.max_events_buffered, config.max_event_buffer_bytes
        )
        queries: DedupWindow[int] = DedupWindow(query_clock, MOST_QUERY_IDS, MOST_QUERY_IDS)
        self._events, self._queries = events, queries
        self._round_trips = RTTEstimates(config.node_name, self.counters, rng)
        self._reconnection = Reconnector(config, members, self._timers, rng, self._reconnect)
        self._expiry = Expiry(self._timers, self._forget_old)
        self._conflicts = NameConflicts(memberlist.own, emit, self._ask_conflict, speakers)
        self._outstanding = OutstandingQueries(
            self._timers, self.counters, emit, lambda name: members.get(name) is not None
        )
        self._answers = QueryResponder(
            config, members, memberlist.table, keyring, self.counters, emit, self._send_response, memberlist
        )
        self._intake = MessageDispatcher(
            members,
            memberlist,
            self._broadcasts,
            events,
            queries,
            self._answers,
            self._outstanding,
            emit,
            speakers,
        )
        self._state = SerfDelegateState(
            self._clock, self._event_clock, query_clock, members, events, self._intake.admit_event
        )
        self._asking = QueryClient(
            config, query_clock, members, memberlist.own, self._outstanding, rng, self._intake.ask
        )
        self._tags = dict(config.tags)
        self._ignoring_old_events = 0
        self._joining = 0
        self._is_new = True
        self._started = False
        self._say_join_from = -math.inf

    # Life cycle

    def start(self, now: float, port: int | None = None) -> None:
        """Starts as a cluster of one, at `port` (default: as configured). Raises GossipError for too long tags."""
        meta = encode_tags(self._tags)
        self._started = True
        self._memberlist.start(self.config.port if port is None else port, meta, now)

    def join(self, endpoint: Endpoint, now: float, *, ignore_old_events: bool = True) -> None:
        """Joins the cluster of the node at `endpoint`; JoinFinished reports the outcome."""
        self._ignoring_old_events += ignore_old_events
        self._joining += 1

        def outcome(error: str | None, now: float) -> None:
            self._ignoring_old_events -= ignore_old_events
            self._joining -= 1
            # A join that completes after the leave would undo it.
            if error is None and not self._members.leaving_self and now >= self._say_join_from:
                self._say_join_from = now + _ONE_ARRIVAL_SECONDS
                self._broadcast_join(now)
            self._emit(JoinFinished(endpoint, error))

        self._memberlist.join(endpoint, outcome, now)

    def leave(self, now: float) -> None:
        """Leaves gracefully; LeaveFinished reports completion. Raises GossipError the second time."""
        if self._members.leaving_self:
            raise GossipError("this node is already leaving")
        self._members.leaving_self = True
        steps = (self._broadcast_leave_intent, self._broadcast_dead)
        GracefulLeave(
            self.config,
            self._timers,
            steps,
            lambda: self._memberlist.others_reachable,
            lambda: self._emit(LeaveFinished()),
        ).begin(now)

    def stop(self) -> None:
        """Stops initiating anything, without an announcement."""
        self._memberlist.stop()
        self._reconnection.stop()

    # Driven by the shell

    def receive_datagram(self, data: bytes, source: Endpoint, now: float) -> None:
        """Handles a datagram from `source`."""
        self._memberlist.receive_datagram(data, source, now)

    def datagrams_to_send(self) -> list[Datagram]:
        """Returns datagrams that are due, each once."""
        return self._memberlist.take_datagrams()

    def stream_accepted(self, source: Endpoint | None = None) -> int | None:
        """A peer at `source` (port 0) opened a stream: returns its id, or None to close it at once."""
        return self._memberlist.streams.accepted(source)

    def stream_received(self, stream_id: int, data: bytes, now: float) -> None:
        """Bytes were received on a stream."""
        self._memberlist.streams.received(stream_id, data, now)

    def stream_closed(self, stream_id: int, reason: str, now: float, *, refused: bool = False) -> None:
        """A stream ended without this node's request, could not be opened, or timed out.

        `refused` if the peer's host reported that no process listens there.
        """
        self._memberlist.streams.closed(stream_id, StreamFailure(reason, refused), now)

    def stream_actions(self) -> list[StreamAction]:
        """Returns actions on streams, each once."""
        return self._memberlist.streams.actions()

    def next_timer(self) -> float | None:
        """Returns when `handle_timers` is next due."""
        return self._timers.next_deadline()

    def handle_timers(self, now: float) -> None:
        """Runs what is due."""
        self._timers.run_due(now)

    def events(self) -> list[SerfEvent]:
        """Returns notifications since the last call."""
        taken = self._notifications[:]
        self._notifications.clear()
        return taken

    # API for users

    def members(self) -> dict[str, Member]:
        """Returns all members by name, including self; a copy."""
        return self._members.views()

    def member(self, name: str) -> Member | None:
        """Returns one member."""
        member = self._members.get(name)
        return None if member is None else member.view()

    def rtt(self, a: str, b: str | None = None) -> float | None:
        """Returns the estimated round-trip time in seconds between `a` and `b` (default: this node), if both are
        known."""
        return self._round_trips.rtt(a, b)

    def set_tags(self, tags: Mapping[str, str], now: float) -> None:
        """Replaces this node's tags and broadcasts them. Raises GossipError above 512 bytes."""
        meta = encode_tags(tags)
        self._tags = dict(tags)
        if self._started:
            self._memberlist.membership.update_meta(meta, now)

    def user_event(self, name: str, payload: bytes, now: float, *, coalesce: bool = False) -> None:
        """Sends an event to every member, including this one. Raises GossipError if it is too large."""
        limit = self.config.user_event_bytes
        event = UserEvent(self._event_clock.time, name, payload, coalesce)
        data = encode_serf(event)
        if len(data) > limit:
            raise GossipError(f"a user event of {len(data)} bytes encoded; {limit} is the most")
        self._event_clock.increment()
        self._intake.admit_event(event)
        self._broadcasts.add(self._broadcasts.events, data, now)

    def query(self, question: QueryRequest, now: float, then: Then | None = None) -> OutstandingQuery:
        """Queries the cluster; QueryFinished reports the answers, or `then` is called instead.

        Raises GossipError if the query is too large or an expression is invalid.
        """
        return self._asking.ask(question, now, then)

    def key_query(
        self, operation: KeyOperation, key: bytes, now: float, nodes: Sequence[str] | None = None
    ) -> OutstandingQuery:
        """Lets all members, or `nodes`, install, use, remove or list keys; `key_manager.collect` evaluates the
        answers."""
        return self.query(QueryRequest(operation.value, encode_serf(KeyRequest(key)), nodes), now)

    def respond(self, ltime: int, query_id: int, payload: bytes, now: float) -> None:
        """Answers a QueryReceived. Raises GossipError if it is not open any more, or the answer is too large."""
        self._answers.respond(ltime, query_id, payload, now)

    def force_leave(self, name: str, now: float, *, prune: bool = False) -> None:
        """Turns a failed member into one that left, and with `prune` removes it.

        A live one is listed as leaving until it refutes. Raises GossipError for this node's own name.
        """
        if name == self.config.node_name:
            raise GossipError("a node cannot force itself to leave; use leave")
        intent = LeaveIntent(self._clock.time, name, prune)
        self._clock.increment()
        self._members.leave_intent(intent, now)
        self._broadcasts.add(self._broadcasts.intents, encode_serf(intent), now)

    # Callbacks from memberlist (SerfDelegate)

    def node_joined(self, record: NodeRecord, now: float) -> None:
        """A node is alive."""
        self._members.node_joined(record, now)
        if self._memberlist.speakers.is_stranger(record.name):
            self._expiry.wake(now)

    def node_updated(self, record: NodeRecord, now: float) -> None:
        """A node has other metadata."""
        self._members.node_updated(record, now)

    def node_left(self, record: NodeRecord, now: float) -> None:
        """A node is dead or left."""
        self._members.node_left(record, now)

    def node_forgotten(self, record: NodeRecord, now: float) -> None:
        """A node without a binding was evicted for another."""
        self._members.erase(record.name)

    def name_conflict(self, record: NodeRecord, claimant: Endpoint, now: float) -> None:
        """Two nodes use one name."""
        self._conflicts.seen(record, claimant, now)

    def ack_payload(self) -> bytes:
        """Returns this node's coordinate."""
        return self._round_trips.payload()

    def ping_completed(self, record: NodeRecord, rtt_seconds: float, payload: bytes) -> None:
        """A direct ping was acknowledged in time."""
        self._round_trips.completed(record.name, rtt_seconds, payload)

    def local_state(self) -> bytes:
        """Returns serf's part of a push-pull."""
        return encode_serf(self._state.local())

    def merge_remote_state(
        self, state: bytes, *, join: bool, now: float, source: Endpoint | None = None
    ) -> None:
        """Merges the part of a peer at `source` of a push-pull. Raises PeerError."""
        self._hear(source, now)
        message = decode_serf(state)
        if not isinstance(message, SerfPushPull):
            raise PeerError("the user state of a push-pull is not a serf push-pull")
        ours = join and self._joining > 0
        self._state.merge(
            message,
            ignore_old_events=ours and self._ignoring_old_events > 0,
            first=ours and self._is_new,
            now=now,
            speaker=speaker_of(source),
        )
        self._is_new = self._is_new and not ours

    def user_message(self, payload: bytes, source: Endpoint | None, now: float) -> None:
        """A serf message was received from `source`. Raises PeerError."""
        self._hear(source, now)
        self._intake.receive(payload, source, now)

    # Internals

    def _hear(self, source: Endpoint | None, now: float) -> None:
        speaker = speaker_of(source)
        for leaps in self._leaps:
            leaps.hear(speaker, now)
        self._expiry.wake(now)

    def _forget_old(self, now: float) -> bool:
        left = (
            self._members.expire(now),
            self._answers.expire(now),
            self._events.expire(now),
            self._queries.expire(now),
            self._memberlist.forget_strangers(now),
        )
        return any(left)

    def _broadcast_join(self, now: float) -> None:
        intent = JoinIntent(self._clock.time, self.config.node_name)
        self._members.join_intent(intent, now)
        self._broadcasts.add(self._broadcasts.intents, encode_serf(intent), now)

    def _broadcast_leave_intent(self, said: Callable[[], None], now: float) -> None:
        intent = LeaveIntent(self._clock.time, self.config.node_name)
        self._clock.increment()
        self._members.leave_intent(intent, now)
        if self._memberlist.others_reachable:
            self._broadcasts.add(self._broadcasts.intents, encode_serf(intent), now, said)
        else:
            said()

    def _broadcast_dead(self, said: Callable[[], None], now: float) -> None:
        reachable = self._memberlist.others_reachable
        self._memberlist.leave(said if reachable else noop, now)
        if not reachable:
            said()

    def _send_response(self, payload: bytes, query: Query, now: float) -> None:
        own = self._memberlist.own
        if query.source_node == own.name and query.addr == own.addr and query.port == own.port:
            response = decode_serf(payload)
            if isinstance(response, QueryResponse):
                self._outstanding.answer(response, own.name, now)
        else:
            self._memberlist.send_user(payload, endpoint_of(query.addr, query.port))

    def _ask_conflict(self, then: Then, now: float) -> None:
        name = self.config.node_name.encode("utf-8", "surrogateescape")
        self.query(QueryRequest(CONFLICT_QUERY, name, expect_self=False), now, then)

    def _reconnect(self, endpoint: Endpoint, now: float) -> None:
        def outcome(error: str | None, _now: float) -> None:
            if error is not None:
                self.counters.refuse("reconnect: failed")

        self._memberlist.join(endpoint, outcome, now)

    def _prune_later(self, name: str, now: float) -> None:
        def prune(_now: float) -> None:
            member = self._members.get(name)
            if member is not None and member.status in (MemberStatus.LEAVING, MemberStatus.LEFT):
                self._members.prune(member)

        self._timers.at(now + _PRUNE_AFTER_SECONDS, prune)

    def _changed(self, name: str, now: float | None) -> None:
        """A member has failed or left (at `now`), or was removed (None)."""
        if now is None:
            self._round_trips.forget(name)
        else:
            self._reconnection.wake(now)

    def _emit(self, notification: SerfEvent) -> None:
        self._notifications.append(notification)


def noop() -> None: ...
