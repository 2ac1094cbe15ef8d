"""Answers queries: ACKs at once, internal ones in the core, others by the user (gossip-wire §8.5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from wgmesh_agent.gossip.errors import GossipError, QueryOverError
from wgmesh_agent.gossip.memberlist.config import SerfConfig
from wgmesh_agent.gossip.memberlist.counters import Counters
from wgmesh_agent.gossip.memberlist.memberlist import Memberlist
from wgmesh_agent.gossip.memberlist.node_table import NodeRecord, NodeTable
from wgmesh_agent.gossip.memberlist.quota import Quota
from wgmesh_agent.gossip.serf.events import KeyringChanged, QueryReceived, SerfEvent
from wgmesh_agent.gossip.serf.key_manager import KeyOperation, answer_key_query
from wgmesh_agent.gossip.serf.member_table import MemberTable
from wgmesh_agent.gossip.serf.outstanding_queries import ACK_FLAG
from wgmesh_agent.gossip.serf.query_filters import addressed
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.gossip.wire.messages import NodeStateKind
from wgmesh_agent.gossip.wire.serf_messages import (
    ConflictMember,
    ConflictResponse,
    Query,
    QueryResponse,
    Relay,
    encode_serf,
)
from wgmesh_agent.gossip.wire.versions import relays

INTERNAL_PREFIX = "_serf_"
PING_QUERY = "_serf_ping"
CONFLICT_QUERY = "_serf_conflict"
_MOST_RELAYS = 5
_LONGEST_OPEN_SECONDS = 300.0
_KEY_OPERATIONS = {operation.value: operation for operation in KeyOperation}


@dataclass(frozen=True, slots=True)
class _Open:
    """A query that awaits an answer."""

    query: Query
    deadline: float
    speaker: str


class QueryResponder:
    """Queries that await this node's answer; `send_response` sends it to the querying node."""

    def __init__(
        self,
        config: SerfConfig,
        members: MemberTable,
        table: NodeTable,
        keyring: Keyring | None,
        counters: Counters,
        emit: Callable[[SerfEvent], None],
        send_response: Callable[[bytes, Query, float], None],
        memberlist: Memberlist,
    ) -> None:
        self._config = config
        self._members = members
        self._table = table
        self._keyring = keyring
        self._counters = counters
        self._emit = emit
        self._send_response = send_response
        self._memberlist = memberlist
        self._open: dict[tuple[int, int], _Open] = {}
        self._quota = Quota(config.max_queries, config.max_queries // 4)

    def handle(self, query: Query, source_member: str | None, now: float, speaker: str = "") -> None:
        """Handles a new query, if it is addressed to this node; `source_member` delivered it.

        One `speaker` may use a quarter of the queries that await an answer.
        """
        own = self._members.get(self._config.node_name)
        if own is None or not addressed(query.filters, self._config.node_name, own.tags):
            return
        if query.flags & ACK_FLAG:
            self._send(query, QueryResponse(query.ltime, query.id, self._config.node_name, ACK_FLAG), now)
        if query.name.startswith(INTERNAL_PREFIX):
            payload = self._internal(query)
            if payload is not None:
                response = QueryResponse(query.ltime, query.id, self._config.node_name, 0, payload)
                self._send(query, response, now)
            return
        self.expire(now)
        if not self._quota.take(speaker, 1):
            self._counters.refuse("query: too many wait for an answer")
            return
        deadline = now + min(query.timeout_ns / 1e9, _LONGEST_OPEN_SECONDS)
        self._close(query.ltime, query.id)
        # The part needed for an answer; the rest belongs to the handler, for as long as it runs.
        kept = replace(query, filters=(), payload=b"")
        self._open[query.ltime, query.id] = _Open(kept, deadline, speaker)
        self._emit(
            QueryReceived(
                query.ltime,
                query.id,
                query.source_node,
                query.name,
                query.payload,
                deadline,
                source_member,
            )
        )

    def respond(self, ltime: int, query_id: int, payload: bytes, now: float) -> None:
        """Answers a query, once. Raises QueryOverError if it is not open (any more), GossipError if the answer is
        too long."""
        waiting = self._open.get((ltime, query_id))
        if waiting is None or now > waiting.deadline:
            raise QueryOverError("that query is not open: unknown, answered already, or its time is up")
        response = QueryResponse(ltime, query_id, self._config.node_name, 0, payload)
        size = len(encode_serf(response))
        if size > self._config.query_response_bytes:
            raise GossipError(
                f"the answer takes {size} bytes; {self._config.query_response_bytes} is the most"
            )
        self._close(ltime, query_id)
        self._send(waiting.query, response, now)

    def expire(self, now: float) -> bool:
        """Removes timed-out queries; returns whether some are left."""
        for key, waiting in list(self._open.items()):
            if now > waiting.deadline:
                self._close(*key)
        return bool(self._open)

    def _close(self, ltime: int, query_id: int) -> None:
        waiting = self._open.pop((ltime, query_id), None)
        if waiting is not None:
            self._quota.give_back(waiting.speaker, 1)

    def _send(self, query: Query, response: QueryResponse, now: float) -> None:
        data = encode_serf(response)
        self._send_response(data, query, now)
        if query.relay_factor and self._members.alive_count >= query.relay_factor + 1:
            self._relay(query, data)

    def _relay(self, query: Query, data: bytes) -> None:
        relay = encode_serf(Relay(query.addr, query.port, "", query.source_node, data))

        def can_relay(record: NodeRecord) -> bool:
            named = record.name in (self._config.node_name, query.source_node)
            return record.state is NodeStateKind.ALIVE and relays(record.vsn) and not named

        for record in self._table.sample(min(query.relay_factor, _MOST_RELAYS), can_relay):
            self._memberlist.send_user(relay, record.endpoint)

    def _internal(self, query: Query) -> bytes | None:
        operation = _KEY_OPERATIONS.get(query.name)
        if operation is not None:

            def fits(payload: bytes) -> bool:
                response = QueryResponse(query.ltime, query.id, self._config.node_name, 0, payload)
                return len(encode_serf(response)) <= self._config.query_response_bytes

            return answer_key_query(
                operation, query.payload, self._keyring, fits, lambda: self._emit(KeyringChanged())
            )
        if query.name == CONFLICT_QUERY:
            name = query.payload.decode("utf-8", "surrogateescape")
            return None if name == self._config.node_name else self._conflict_answer(name)
        if query.name != PING_QUERY:
            self._counters.refuse("query: unknown internal name")
        return None

    def _conflict_answer(self, name: str) -> bytes:
        member = self._members.get(name)
        if member is None:
            return encode_serf(ConflictResponse(None))
        record = member.record
        versions = record.vsn if len(record.vsn) >= 6 else bytes(6)
        tags = dict(member.tags)
        known = ConflictMember(name, record.addr, record.port, tags, member.status, *versions[:6])
        return encode_serf(ConflictResponse(known))
