"""The memberlist table: one record a node, the order in which they are probed, and fair random picks.

Nodes gone for a while are buried: no longer probed, gossiped to or counted, but still known, so that a belated
word of their being alive does not raise them.

The probe order is shuffled at each wrap and newcomers enter it at a random place, so that each node is probed
once in n intervals, at a time others cannot guess (SWIM §4.3).
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
"""Of the turns: in the others those come first whom somebody vouches for, however many invented ones there are."""


Eligible = Callable[["NodeRecord"], bool]
P = TypeVar("P")


class NodeRecord:
    """What is known of one node; `addr` and `meta` are bytes as received.

    `own_word` is the highest incarnation that it has stated itself, or that was first heard of it. `doubted` is what
    others say of its end, `doubt` runs while it is asked about that; `says_goodbye` is set if it told its end itself.

    `answered` is when it last acknowledged a probe from its own address.

    `packed` is what a push-pull says of it, if that was made since the last change: whoever changes it forgets that.
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
        """It has stated this incarnation itself, or is heard of for the first time."""
        self.own_word, self.own_word_at = incarnation, now

    def move(self, addr: bytes, port: int) -> None:
        """Take another address. Raises PeerError if the bytes are none."""
        self.endpoint = endpoint_of(addr, port)
        self.addr = addr
        self.port = port
        self.packed = None

    def end_suspicion(self) -> None:
        """Stop the clock against it."""
        self.suspicion = None
        if self.suspicion_timer is not None:
            self.suspicion_timer.cancel()
            self.suspicion_timer = None
        self.end_doubt()

    def end_doubt(self) -> None:
        """What others say of its end is decided."""
        self.doubted = None
        if self.doubt is not None:
            self.doubt.cancel()
            self.doubt = None


class NodeTable:
    """All nodes by name, self included; its length counts those not buried.

    The buried are forgotten after `buried_seconds`, or the oldest when more than `max_nodes` are known. Of those who
    `is_stranger` some are probed, picked and gossiped to, too, but never so many that others have to wait for them.
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
        """Whether one more node would be too many."""
        return len(self._order) >= self._max_nodes

    @property
    def reachable(self) -> int:
        """How many are alive or suspect, self included."""
        return len(self._order) - self._gone

    def get(self, name: str) -> NodeRecord | None:
        """The record of `name`."""
        return self._by_name.get(name)

    def at(self, address: IPAddress) -> Sequence[NodeRecord]:
        """The records of this address, the buried ones too."""
        return self._by_address.get(address, ())

    def move(self, record: NodeRecord, addr: bytes, port: int) -> None:
        """Give a node of this table another address. Raises PeerError if the bytes are none."""
        before = record.endpoint.address
        record.move(addr, port)
        if record.endpoint.address != before and record.name in self._by_name:
            self._leave_address(record, before)
            self._by_address.setdefault(record.endpoint.address, []).append(record)

    def buried(self, record: NodeRecord) -> bool:
        """Whether a node is gone for so long that it only serves as a memory."""
        return record.name in self._buried

    def add(self, record: NodeRecord) -> None:
        """Enter a node (dead until its state is set) at a random place in the probe order."""
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
        """Forget a node at once, and its place in the probe order and in the round of gossip."""
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
        """Change a node's state; the buried rise by it."""
        if self._buried.pop(record.name, None) is not None:
            self._enter(record)
        was_gone = record.gone
        record.state = state
        record.packed = None
        record.changed = now
        self._gone += record.gone - was_gone

    def next_to_probe(self, skip: NodeRecord, now: float, bury_after_seconds: float) -> NodeRecord | None:
        """The next node in the order that is neither `skip` nor gone; None if there is none.

        At each wrap the order is shuffled anew, and nodes gone longer than `bury_after_seconds` are buried.
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
        """Probe `record` next, also if it had its turn in this round."""
        order = self._order
        at = order.index(record)
        if at < self._cursor:
            self._cursor -= 1
        order[at], order[self._cursor] = order[self._cursor], record

    def _preferably(self, eligible: Eligible, pick: Callable[[Eligible], P]) -> P:
        """What `pick` finds among those who are no strangers; among all if there is nobody, or in their turn."""
        is_stranger = self._is_stranger
        if is_stranger is not None and self._rng.random() >= _STRANGERS_SHARE:
            found = pick(lambda record: eligible(record) and not is_stranger(record.name))
            if found:
                return found
        return pick(eligible)

    def sample(self, count: int, eligible: Eligible) -> list[NodeRecord]:
        """Up to `count` different random nodes that are `eligible`."""
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
        """Up to `count` different `eligible` nodes to gossip to, random, but each in turn before any comes again.

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
        """Begin to gossip to all in turn anew."""
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
