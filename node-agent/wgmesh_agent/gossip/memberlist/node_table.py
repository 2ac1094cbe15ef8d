"""The memberlist table: one record per node, the probe order, and fair random picks.

Nodes that have been dead or left for a while are buried: no longer probed, gossiped to or counted, but still known,
so that a delayed message that they are alive does not revive them.

The probe order is shuffled at each wrap and newcomers enter it at a random place, so that each node is probed once
in n intervals, at a time others cannot predict (SWIM §4.3).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from wgmesh_agent.gossip.memberlist.suspicion import Suspicion
from wgmesh_agent.gossip.memberlist.timers import Timer
from wgmesh_agent.gossip.wire.endpoint import Endpoint, IPAddress, endpoint_of
from wgmesh_agent.gossip.wire.messages import Dead, NodeStateKind

_SAMPLE_ALL_BELOW = 32
_STRANGERS_SHARE = 0.25
"""Share of the turns; in the others, members with a binding come first, however many invented ones there are."""


Eligible = Callable[["NodeRecord"], bool]
P = TypeVar("P")


class NodeRecord:
    """State of one node; `addr` and `meta` are bytes as received.

    `own_word` is the highest incarnation that it has stated itself, or its first known one. `doubted` is a claim of
    others that it is dead or has left, `doubt` runs while the node is queried about that; `says_goodbye` is set if
    it announced its leave itself.

    `answered` is when it last acknowledged a probe from its own address.

    `packed` is its encoding in a push-pull, if created since the last change: every change must reset it.
    """

    __slots__ = (
        "addr",
        "answered",
        "changed",
        "doubt",
        "doubted",
        "endpoint",
        "incarnation",
        "last_asked",
        "meta",
        "name",
        "own_word",
        "own_word_at",
        "packed",
        "port",
        "says_goodbye",
        "state",
        "suspicion",
        "suspicion_timer",
        "vsn",
    )

    def __init__(self, name: str, addr: bytes, port: int) -> None:
        self.name = name
        self.addr = addr
        self.port = port
        self.endpoint: Endpoint = endpoint_of(addr, port)
        self.meta = b""
        self.vsn = b""
        self.incarnation = 0
        self.own_word = 0
        self.own_word_at = 0.0
        self.last_asked = -math.inf
        self.answered = -math.inf
        self.doubt: Timer | None = None
        self.doubted: Dead | None = None
        self.says_goodbye = False
        self.state = NodeStateKind.DEAD
        self.changed = 0.0
        self.packed: bytes | None = None
        self.suspicion: Suspicion | None = None
        self.suspicion_timer: Timer | None = None

    @property
    def gone(self) -> bool:
        """Dead or left."""
        return self.state is NodeStateKind.DEAD or self.state is NodeStateKind.LEFT

    def note_own_word(self, incarnation: int, now: float) -> None:
        """It has stated this incarnation itself, or is seen for the first time."""
        self.own_word, self.own_word_at = incarnation, now

    def move(self, addr: bytes, port: int) -> None:
        """Changes the address. Raises PeerError if the bytes are invalid."""
        self.endpoint = endpoint_of(addr, port)
        self.addr = addr
        self.port = port
        self.packed = None

    def end_suspicion(self) -> None:
        """Stops its suspicion timer."""
        self.suspicion = None
        if self.suspicion_timer is not None:
            self.suspicion_timer.cancel()
            self.suspicion_timer = None
        self.end_doubt()

    def end_doubt(self) -> None:
        """The claim that it is dead or has left is decided."""
        self.doubted = None
        if self.doubt is not None:
            self.doubt.cancel()
            self.doubt = None


class NodeTable:
    """All nodes by name, including self; its length counts those not buried.

    Buried nodes are removed after `buried_seconds`, or the oldest when more than `max_nodes` are known. Some of
    those for which `is_stranger` holds are probed, picked and gossiped to, too, but never so many that others have
    to wait for them.
    """

    def __init__(
        self,
        rng: random.Random,
        max_nodes: int,
        buried_seconds: float,
        is_stranger: Callable[[str], bool] | None = None,
    ) -> None:
        self._rng = rng
        self._is_stranger = is_stranger
        self._max_nodes = max_nodes
        self._buried_seconds = buried_seconds
        self._buried: dict[str, NodeRecord] = {}
        self._by_name: dict[str, NodeRecord] = {}
        self._by_address: dict[IPAddress, list[NodeRecord]] = {}
        self._order: list[NodeRecord] = []
        self._cursor = 0
        self._circle: list[NodeRecord] = []
        self._gone = 0

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[NodeRecord]:
        return iter(self._by_name.values())

    @property
    def full(self) -> bool:
        """Returns whether one more node would be too many."""
        return len(self._order) >= self._max_nodes

    @property
    def reachable(self) -> int:
        """Number of nodes that are alive or suspect, including self."""
        return len(self._order) - self._gone

    def get(self, name: str) -> NodeRecord | None:
        """Returns the record of `name`."""
        return self._by_name.get(name)

    def at(self, address: IPAddress) -> Sequence[NodeRecord]:
        """Returns the records with this address, including buried ones."""
        return self._by_address.get(address, ())

    def move(self, record: NodeRecord, addr: bytes, port: int) -> None:
        """Changes the address of a node of this table. Raises PeerError if the bytes are invalid."""
        before = record.endpoint.address
        record.move(addr, port)
        if record.endpoint.address != before and record.name in self._by_name:
            self._leave_address(record, before)
            self._by_address.setdefault(record.endpoint.address, []).append(record)

    def buried(self, record: NodeRecord) -> bool:
        """Returns whether a node has been dead or left for so long that it is only remembered."""
        return record.name in self._buried

    def add(self, record: NodeRecord) -> None:
        """Adds a node (dead until its state is set) at a random place in the probe order."""
        if self._buried and len(self._by_name) >= self._max_nodes:
            self._forget(next(iter(self._buried.values())))
        self._by_name[record.name] = record
        self._by_address.setdefault(record.endpoint.address, []).append(record)
        self._enter(record)

    def _enter(self, record: NodeRecord) -> None:
        order = self._order
        at = self._rng.randrange(len(order) + 1)
        order.append(record)
        order[at], order[-1] = order[-1], order[at]
        self._circle.insert(self._rng.randrange(len(self._circle) + 1), record)
        self._gone += record.gone

    def remove(self, record: NodeRecord) -> None:
        """Removes a node at once, also from the probe order and the gossip round."""
        if self._buried.pop(record.name, None) is None:
            at = self._order.index(record)
            self._order.pop(at)
            self._cursor -= at < self._cursor
            self._gone -= record.gone
            if record in self._circle:
                self._circle.remove(record)
        del self._by_name[record.name]
        self._leave_address(record, record.endpoint.address)

    def set_state(self, record: NodeRecord, state: NodeStateKind, now: float) -> None:
        """Changes a node's state; this unburies buried nodes."""
        if self._buried.pop(record.name, None) is not None:
            self._enter(record)
        was_gone = record.gone
        record.state = state
        record.packed = None
        record.changed = now
        self._gone += record.gone - was_gone

    def next_to_probe(self, skip: NodeRecord, now: float, bury_after_seconds: float) -> NodeRecord | None:
        """Returns the next node in the order that is neither `skip` nor dead or left; None if there is none.

        At each wrap the order is shuffled again, and nodes dead or left for longer than `bury_after_seconds` are
        buried.
        """

        def living(record: NodeRecord) -> bool:
            return record is not skip and not record.gone

        return self._preferably(living, lambda eligible: self._next(eligible, now, bury_after_seconds))

    def _next(self, eligible: Eligible, now: float, bury_after_seconds: float) -> NodeRecord | None:
        for _ in range(2):
            order = self._order
            while self._cursor < len(order):
                record = order[self._cursor]
                self._cursor += 1
                if eligible(record):
                    return record
            self._wrap(now, bury_after_seconds)
        return None

    def hasten(self, record: NodeRecord) -> None:
        """Probes `record` next, even if it had its turn in this round."""
        order = self._order
        at = order.index(record)
        if at < self._cursor:
            self._cursor -= 1
        order[at], order[self._cursor] = order[self._cursor], record

    def _preferably(self, eligible: Eligible, pick: Callable[[Eligible], P]) -> P:
        """Returns the result of `pick` among members with a binding; among all if there are none, or in their turn."""
        is_stranger = self._is_stranger
        if is_stranger is not None and self._rng.random() >= _STRANGERS_SHARE:
            found = pick(lambda record: eligible(record) and not is_stranger(record.name))
            if found:
                return found
        return pick(eligible)

    def sample(self, count: int, eligible: Eligible) -> list[NodeRecord]:
        """Returns up to `count` different random nodes that are `eligible`."""
        return self._preferably(eligible, lambda eligible: self._sample(count, eligible))

    def _sample(self, count: int, eligible: Eligible) -> list[NodeRecord]:
        order = self._order
        if len(order) > _SAMPLE_ALL_BELOW:
            picked: dict[str, NodeRecord] = {}
            for _ in range(6 * count):
                record = order[int(self._rng.random() * len(order))]
                if record.name not in picked and eligible(record):
                    picked[record.name] = record
                    if len(picked) == count:
                        return list(picked.values())
        candidates = [record for record in order if eligible(record)]
        return self._rng.sample(candidates, min(count, len(candidates)))

    def listeners(self, count: int, eligible: Eligible) -> list[NodeRecord]:
        """Returns up to `count` different `eligible` nodes to gossip to, random, but each in turn before any is
        repeated.

        Independent picks would send one message's few copies to the same node twice and to another never.
        """
        return self._preferably(eligible, lambda eligible: self._listeners(count, eligible))

    def _listeners(self, count: int, eligible: Eligible) -> list[NodeRecord]:
        picked: list[NodeRecord] = []
        for _ in range(2):
            while self._circle:
                record = self._circle.pop()
                if eligible(record) and record not in picked:
                    picked.append(record)
                    if len(picked) == count:
                        return picked
            self.new_round()
        return picked

    def new_round(self) -> None:
        """Begins a new round of gossiping to all in turn."""
        self._circle = list(self._order)
        self._rng.shuffle(self._circle)

    def _forget(self, record: NodeRecord) -> None:
        del self._buried[record.name], self._by_name[record.name]
        self._leave_address(record, record.endpoint.address)

    def _leave_address(self, record: NodeRecord, address: IPAddress) -> None:
        there = self._by_address[address]
        there.remove(record)
        if not there:
            del self._by_address[address]

    def _wrap(self, now: float, bury_after_seconds: float) -> None:
        self._cursor = 0
        for record in list(self._buried.values()):
            if now - record.changed <= self._buried_seconds:
                break
            self._forget(record)
        if self._gone:
            kept = []
            for record in self._order:
                if record.gone and now - record.changed > bury_after_seconds:
                    self._buried[record.name] = record
                    self._gone -= 1
                else:
                    kept.append(record)
            self._order = kept
        self._rng.shuffle(self._order)
