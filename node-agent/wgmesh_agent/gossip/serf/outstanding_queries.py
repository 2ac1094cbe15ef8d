"""Queries sent by this node, and the answers collected so far (gossip-wire §8.5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from wgmesh_agent.gossip.memberlist.counters import Counters
from wgmesh_agent.gossip.memberlist.timers import Timer, Timers
from wgmesh_agent.gossip.serf.events import QueryFinished, SerfEvent
from wgmesh_agent.gossip.wire.serf_messages import QueryResponse

ACK_FLAG, NO_REBROADCAST_FLAG = 1, 2


def _everybody(_name: str) -> bool:
    return True


@dataclass(slots=True)
class OutstandingQuery:
    """One query; `expected` are the members that should answer, `asked` returns whether a member was addressed.

    With `takes_relayed` an answer that another member relayed counts, until the member's own arrives.

    Finished once all answered, on timeout, or as soon as an answer is `enough`.
    """

    id: int
    ltime: int
    expected: frozenset[str]
    wants_acks: bool
    enough: Callable[[bytes], bool] | None = None
    asked: Callable[[str], bool] = _everybody
    takes_relayed: bool = False
    relayed: set[str] = field(default_factory=set)
    acks: set[str] = field(default_factory=set)
    responses: dict[str, bytes] = field(default_factory=dict)
    finished: bool = False
    timer: Timer | None = None


class OutstandingQueries:
    """By (ltime, id). Answers of unknown members are rejected, so that they cannot grow without bound."""

    def __init__(
        self,
        timers: Timers,
        counters: Counters,
        emit: Callable[[SerfEvent], None],
        is_member: Callable[[str], bool],
    ) -> None:
        self._timers = timers
        self._counters = counters
        self._emit = emit
        self._is_member = is_member
        self._queries: dict[tuple[int, int], OutstandingQuery] = {}
        self._callbacks: dict[int, Callable[[OutstandingQuery, float], None]] = {}

    def open(
        self,
        query: OutstandingQuery,
        deadline: float,
        then: Callable[[OutstandingQuery, float], None] | None = None,
    ) -> None:
        """Collects answers until `deadline`; then calls `then`, or without one emits QueryFinished."""
        self._queries[query.ltime, query.id] = query
        if then is not None:
            self._callbacks[query.id] = then
        query.timer = self._timers.at(deadline, lambda now: self._finish(query, now))

    def answer(self, response: QueryResponse, source_member: str | None, now: float) -> None:
        """Handles an answer from the address of `source_member`; the first of each member and kind counts."""
        query = self._queries.get((response.ltime, response.id))
        if query is None:
            self._counters.refuse("query response: nothing was asked, or too late")
            return
        name = response.from_node
        if not self._is_member(name):
            self._counters.refuse("query response: from no member")
            return
        if not query.asked(name):
            self._counters.refuse("query response: of a member that was not asked")
            return
        relayed = source_member != name
        if relayed and not query.takes_relayed:
            self._counters.refuse("query response: in another's name")
            return
        if response.flags & ACK_FLAG:
            query.acks.add(name)
        elif name not in query.responses or (name in query.relayed and not relayed):
            query.responses[name] = response.payload
            (query.relayed.add if relayed else query.relayed.discard)(name)
            if query.enough is not None and query.enough(response.payload):
                self._finish(query, now)
                return
        acked = not query.wants_acks or query.expected <= query.acks
        if acked and query.expected <= query.responses.keys():
            self._finish(query, now)

    def _finish(self, query: OutstandingQuery, now: float) -> None:
        query.finished = True
        if query.timer is not None:
            query.timer.cancel()
        del self._queries[query.ltime, query.id]
        then = self._callbacks.pop(query.id, None)
        if then is not None:
            then(query, now)
        else:
            self._emit(QueryFinished(query.id))
