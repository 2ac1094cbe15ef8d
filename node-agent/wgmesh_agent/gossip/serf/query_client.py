"""Sends queries to the cluster: builds them, and determines the expected responders (gossip-wire §8.5)."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from wgmesh_agent.gossip.errors import GossipError, PeerError
from wgmesh_agent.gossip.memberlist.config import SerfConfig
from wgmesh_agent.gossip.memberlist.node_table import NodeRecord
from wgmesh_agent.gossip.serf.lamport import LamportClock
from wgmesh_agent.gossip.serf.member_table import MemberTable
from wgmesh_agent.gossip.serf.outstanding_queries import (
    ACK_FLAG,
    NO_REBROADCAST_FLAG,
    OutstandingQueries,
    OutstandingQuery,
)
from wgmesh_agent.gossip.serf.query_filters import matches
from wgmesh_agent.gossip.wire.endpoint import Endpoint
from wgmesh_agent.gossip.wire.filters import Filter
from wgmesh_agent.gossip.wire.serf_messages import (
    MemberStatus,
    NodeFilter,
    Query,
    TagFilter,
    encode_filter,
    encode_serf,
)


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """A query and its addressees: all members, those in `nodes`, those whose tags match all Go expressions in
    `tags`.

    `direct` sends it to each of them in one datagram, instead of rebroadcasting it through all members: for members
    that are certainly reachable. `timeout` is in seconds (None: by gossip-wire §6). `relay_factor` members relay
    each answer on a second path. `expect_self` defines whether to wait for this node's own answer, `enough` of an
    answer whether to wait for more.
    """

    name: str
    payload: bytes = b""
    nodes: Sequence[str] | None = None
    tags: Mapping[str, str] | None = None
    ack: bool = False
    relay_factor: int = 0
    timeout: float | None = None
    expect_self: bool = True
    enough: Callable[[bytes], bool] | None = None
    direct: bool = False

    def filters(self) -> list[Filter]:
        """The filters that select the addressees."""
        filters: list[Filter] = [TagFilter(tag, expression) for tag, expression in (self.tags or {}).items()]
        return filters if self.nodes is None else [NodeFilter(tuple(self.nodes)), *filters]


SentQuery = Callable[[Query, bytes, float, Sequence[Endpoint] | None], None]
"""Handles a query of this node like a received one, and sends it there; None: to all."""


class QueryClient:
    """Opens queries and lets `asked` send them."""

    def __init__(
        self,
        config: SerfConfig,
        clock: LamportClock,
        members: MemberTable,
        own: NodeRecord,
        outstanding: OutstandingQueries,
        rng: random.Random,
        asked: SentQuery,
    ) -> None:
        self._config = config
        self._clock = clock
        self._members = members
        self._own = own
        self._outstanding = outstanding
        self._rng = rng
        self._asked = asked

    def ask(
        self,
        question: QueryRequest,
        now: float,
        then: Callable[[OutstandingQuery, float], None] | None = None,
    ) -> OutstandingQuery:
        """Sends the query. Finishes when all addressed live members have answered, or on timeout.

        Raises GossipError if the query is too large or an expression is invalid.
        """
        timeout = question.timeout
        if timeout is None:
            timeout = self._config.profile.query_timeout_seconds(self._members.alive_count)
        filters = question.filters()
        query = Query(
            self._clock.time,
            self._rng.getrandbits(31),
            self._own.addr,
            self._own.port,
            self._own.name,
            tuple(encode_filter(filter_) for filter_ in filters),
            (ACK_FLAG if question.ack else 0) | (NO_REBROADCAST_FLAG if question.direct else 0),
            question.relay_factor,
            round(timeout * 1e9),
            question.name,
            question.payload,
        )
        data = encode_serf(query)
        if len(data) > self._config.query_bytes:
            raise GossipError(f"a query of {len(data)} bytes; {self._config.query_bytes} is the most")
        expected = self._expected(question, filters)
        outstanding = OutstandingQuery(
            query.id,
            query.ltime,
            expected,
            question.ack,
            question.enough,
            lambda name: name in expected or self._is_meant(filters, name),
            question.relay_factor > 0,
        )
        self._outstanding.open(outstanding, now + timeout, then)
        self._asked(query, data, now, self._places(expected) if question.direct else None)
        return outstanding

    def _is_meant(self, filters: list[Filter], name: str) -> bool:
        member = self._members.get(name)
        return member is not None and all(matches(filter_, name, member.tags) for filter_ in filters)

    def _places(self, names: frozenset[str]) -> list[Endpoint]:
        others = map(self._members.get, sorted(names - {self._own.name}))
        return [member.record.endpoint for member in others if member is not None]

    def _expected(self, question: QueryRequest, filters: list[Filter]) -> frozenset[str]:
        nodes, members = question.nodes, self._members
        # No need to check a thousand members if four are named.
        asked = members if nodes is None else [member for name in nodes if (member := members.get(name))]
        try:
            return frozenset(
                member.record.name
                for member in asked
                if member.status is MemberStatus.ALIVE
                and (question.expect_self or member.record.name != self._own.name)
                and all(matches(filter_, member.record.name, member.tags) for filter_ in filters)
            )
        except PeerError as error:
            raise GossipError(str(error)) from error
