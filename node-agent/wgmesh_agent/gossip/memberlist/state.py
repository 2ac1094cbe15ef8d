"""The membership state machine of gossip-wire §7: which nodes are alive, suspected, dead or left, and since when."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from typing import Protocol

from wgmesh_agent.gossip.errors import PeerError
from wgmesh_agent.gossip.memberlist.awareness import Awareness
from wgmesh_agent.gossip.memberlist.config import SerfConfig
from wgmesh_agent.gossip.memberlist.counters import Counters
from wgmesh_agent.gossip.memberlist.delegate import MembershipDelegate
from wgmesh_agent.gossip.memberlist.names import is_member_name
from wgmesh_agent.gossip.memberlist.node_table import NodeRecord, NodeTable
from wgmesh_agent.gossip.memberlist.senders import Speakers
from wgmesh_agent.gossip.memberlist.suspicion import Suspicion
from wgmesh_agent.gossip.memberlist.timers import Timers
from wgmesh_agent.gossip.memberlist.unverified_members import Strangers
from wgmesh_agent.gossip.wire.endpoint import Endpoint, endpoint_of
from wgmesh_agent.gossip.wire.messages import Alive, Dead, Message, NodeState, NodeStateKind, Suspect, encode
from wgmesh_agent.gossip.wire.tags import MAX_META_BYTES
from wgmesh_agent.gossip.wire.versions import OWN_VERSIONS, speaks_with_us
from wgmesh_agent.runtime.borders import border

MERGED = border("gossip node state", "one member in a peer's push-pull, by TCP on the mesh address")
_LAST_INCARNATION = (1 << 32) - 1
_MOST_AT_ONCE = 1 << 31
_HEARSAY_AHEAD = 32
"""How far incarnations in claims of others may exceed the member's own statement: enough for two seconds of
refutations."""
_HEARSAY_AHEAD_A_SECOND = 0.2
"""And per second since then: real serf agents do not answer such queries."""
_REFUTING_ROOM = 1 << 20
_REFUTING_ROOM_A_SECOND = 16
"""Steps per second past the middle: the rest of all incarnations then lasts for four years of accusations."""
_ASK_SECONDS = 1.0
_ASKED_TIMES = 5
"""Number of queries, one per gossip interval, to a member that is reported dead, before the report is accepted."""
_INTRODUCED_SECONDS = 0.05
"""Interval between queries to unknown members for their own statement."""


class Broadcaster(Protocol):
    """Queues a membership message, replacing any other about the same node."""

    def __call__(
        self, about: str, message: bytes, now: float, on_finished: Callable[[], None] | None = None
    ) -> None: ...


class MembershipState:
    """Applies alive, suspect and dead messages, from any source, to the table."""

    def __init__(
        self,
        config: SerfConfig,
        table: NodeTable,
        timers: Timers,
        awareness: Awareness,
        counters: Counters,
        rng: random.Random,
        delegate: MembershipDelegate,
        broadcast: Broadcaster,
        speakers: Speakers,
        ask: Callable[[NodeRecord, bytes], None],
    ) -> None:
        """`ask` sends a member directly the claim about it."""
        self._config = config
        self._table = table
        self._timers = timers
        self._awareness = awareness
        self._counters = counters
        self._rng = rng
        self._delegate = delegate
        self._broadcast = broadcast
        self._speakers = speakers
        self._ask = ask
        self._strangers = Strangers(config.max_strangers, table, speakers)
        self._room, self._room_at = float(_REFUTING_ROOM), 0.0
        self._asked_unknown = -math.inf
        self.leaving = False
        self.own = NodeRecord(config.node_name, config.address.packed, config.port)

    def announce(self, port: int, meta: bytes, now: float) -> None:
        """Adds this node to the table as alive, incarnation 1."""
        self.own.move(self.own.addr, port)
        self._table.add(self.own)
        self._revive_self(1, meta, now)
        self._delegate.node_joined(self.own, now)

    def update_meta(self, meta: bytes, now: float) -> None:
        """Broadcasts this node's new metadata, with the next incarnation."""
        changed = meta != self.own.meta
        self._revive_self(self.own.incarnation + 1, meta, now)
        if changed:
            self._delegate.node_updated(self.own, now)

    def own_statement(self) -> bytes:
        """Returns the encoded alive message of this node."""
        own = self.own
        return encode(Alive(own.incarnation, own.name, own.addr, own.port, own.meta, own.vsn))

    def leave(self, now: float, on_finished: Callable[[], None]) -> None:
        """Declares this node left; `on_finished` when the message has been sent often enough."""
        self.leaving = True
        own = self.own
        message = Dead(own.incarnation, own.name, own.name)
        self._table.set_state(own, NodeStateKind.LEFT, now)
        self._broadcast(own.name, encode(message), now, on_finished)
        self._delegate.node_left(own, now)

    def alive(self, message: Alive, now: float, *, source: Endpoint | None = None, tell: bool = True) -> None:
        """Applies an alive claim from `source`; changes are rebroadcast if `tell`.

        Raises PeerError for a malformed address.
        """
        record = self._table.get(message.node)
        own_word = record is not None and self._is_its_own_word(record, message, source)
        if record is not None and own_word:
            record.note_own_word(max(record.own_word, message.incarnation), now)
        if self.is_redundant(message):
            return
        if not speaks_with_us(message.vsn):
            self._counters.refuse("alive: impossible versions")
            return
        if len(message.meta) > MAX_META_BYTES or not is_member_name(message.node):
            self._counters.refuse("alive: name or metadata that no member has")
            return
        if message.node == self.own.name:
            self._alive_self(message, now)
            return
        port = message.port or self.own.port
        record = self._table.get(message.node)
        moved = False
        if record is None:
            record = self._new_record(message, port, now, source)
            if record is None:
                return
        elif not own_word and self._is_far_ahead(message.incarnation, record, now):
            self._counters.refuse("alive: incarnation far ahead")
            return
        elif record.addr != message.addr or record.port != port:
            if record.state is not NodeStateKind.LEFT and not self._table.buried(record):
                self._counters.refuse("alive: name held by another address")
                self._delegate.name_conflict(record, endpoint_of(message.addr, port), now)
                return
            moved = True
        if message.incarnation <= record.incarnation and not moved:
            return
        if moved:
            self._table.move(record, message.addr, port)
            record.note_own_word(message.incarnation, now)
        self._accept_alive(record, message, now, tell=tell)

    def is_redundant(self, message: Alive | NodeState) -> bool:
        """Returns whether the claim repeats known state of another node: gossip delivers each message many times."""
        record = self._table.get(message.node if isinstance(message, Alive) else message.name)
        return (
            record is not None
            and message.incarnation <= record.incarnation
            and record is not self.own
            and record.addr == message.addr
            and record.port == (message.port or self.own.port)
        )

    def suspect(self, message: Suspect, now: float) -> None:
        """Applies a suspicion."""
        record = self._accused(message, now)
        if record is None:
            return
        if record.suspicion is not None:
            if record.suspicion.confirm(message.from_node):
                self._set_suspicion_timer(record, record.suspicion.deadline)
                self._tell(record, message, now)
            return
        if record.state is not NodeStateKind.ALIVE:
            return
        if record is self.own:
            self._refute(message.incarnation, now)
            return
        self._tell(record, message, now)
        record.incarnation = message.incarnation
        self._table.set_state(record, NodeStateKind.SUSPECT, now)
        profile, nodes = self._config.profile, len(self._table)
        wanted = profile.expected_confirmations(nodes)
        record.suspicion = Suspicion(
            message.from_node,
            profile.suspicion_min_seconds(nodes),
            profile.suspicion_max_seconds(nodes),
            wanted,
            now,
        )
        self._set_suspicion_timer(record, record.suspicion.deadline)
        # A choice within the protocol: a few nodes probe the accused next instead of in their turn, so that it
        # learns of the accusation, and the confirmations arrive, within a probe interval.
        if message.from_node != self.own.name and self._rng.random() * nodes < 2 * (wanted + 1):
            self._table.hasten(record)

    def dead(self, message: Dead, now: float, *, source: Endpoint | None = None) -> None:
        """Applies a claim from `source` that a node is dead, or a node's own leave.

        A claim of another node is rebroadcast, and counts unless the member, queried about it, answers that it is
        alive.
        """
        record = self._accused(message, now)
        if record is None or record.gone:
            return
        if record is self.own:
            self._refute(message.incarnation, now)
            return
        if self.leaving or self._speakers.at(source) == record.name:
            self._pass_sentence(record, message, now, own_word=not self.leaving)
        else:
            self._doubt(record, message, now)

    def _pass_sentence(self, record: NodeRecord, message: Dead, now: float, *, own_word: bool) -> None:
        self._tell(record, message, now)
        self._bury(record, message, now, own_word=own_word)

    def _doubt(self, record: NodeRecord, message: Dead, now: float) -> None:
        """The claim of one member alone ends no other: a member reported dead is queried, repeatedly because answers
        may be lost."""
        doubted = record.doubted
        if doubted is not None and message.incarnation <= doubted.incarnation:
            if message.node == message.from_node:
                record.doubted = message
            return
        record.end_doubt()
        record.doubted = message
        self._tell(record, message, now)
        self._ask_whether_gone(record, _ASKED_TIMES, now)

    def _ask_whether_gone(self, record: NodeRecord, times: int, now: float) -> None:
        record.doubt, message = None, record.doubted
        if message is None or record.gone or record.incarnation > message.incarnation:
            record.doubted = None
        elif times == 0:
            self._bury(record, message, now)
        else:
            self._ask(record, encode(message))
            record.doubt = self._timers.at(
                now + self._config.profile.gossip_interval_seconds,
                lambda now: self._ask_whether_gone(record, times - 1, now),
            )

    def _bury(self, record: NodeRecord, message: Dead, now: float, *, own_word: bool = False) -> None:
        record.end_suspicion()
        record.incarnation = message.incarnation
        record.says_goodbye = own_word
        left = message.node == message.from_node
        self._table.set_state(record, NodeStateKind.LEFT if left else NodeStateKind.DEAD, now)
        self._delegate.node_left(record, now)

    def merge(
        self, nodes: Iterable[NodeState], now: float, *, tell: bool = True, source: Endpoint | None = None
    ) -> None:
        """Applies a peer's table: no node is considered dead on claims of others, only suspected.

        `tell`: whether new live members are rebroadcast.
        """
        for node in nodes:
            with MERGED.fence(node.name):
                try:
                    self._merge_one(node, now, tell, source)
                except PeerError:
                    self._counters.refuse("push-pull: malformed node")

    def _accused(self, message: Suspect | Dead, now: float) -> NodeRecord | None:
        record = self._table.get(message.node)
        if record is None or message.incarnation < record.incarnation:
            return None
        if self._is_far_ahead(message.incarnation, record, now):
            self._counters.refuse("accusation: incarnation far ahead")
            return None
        return record

    def _is_its_own_word(self, record: NodeRecord, message: Alive, source: Endpoint | None) -> bool:
        return record.addr == message.addr and self._speakers.at(source) == record.name

    def _is_far_ahead(self, incarnation: int, record: NodeRecord, now: float) -> bool:
        """Returns whether claims of others exceed what a member can have stated.

        If accepted, they would approach the last incarnation, which cannot be refuted. The member is queried,
        because this node may have missed much. About itself this node accepts more, because it may have run before:
        half of all incarnations at once, and then more with time.
        """
        if record is self.own:
            ahead = incarnation - max(record.incarnation, _MOST_AT_ONCE)
            return ahead > 0 and ahead > self._refuting_room(now)
        believed = _HEARSAY_AHEAD + (now - record.own_word_at) * _HEARSAY_AHEAD_A_SECOND
        if incarnation <= record.own_word + believed:
            return False
        if now - record.last_asked >= _ASK_SECONDS:
            record.last_asked = now
            self._ask(record, encode(Suspect(record.incarnation, record.name, self.own.name)))
        return True

    def _refuting_room(self, now: float) -> float:
        filled = self._room + (now - self._room_at) * _REFUTING_ROOM_A_SECOND
        self._room, self._room_at = min(float(_REFUTING_ROOM), filled), now
        return self._room

    def _merge_one(self, node: NodeState, now: float, tell: bool, source: Endpoint | None) -> None:
        if node.state is NodeStateKind.ALIVE:
            if self.is_redundant(node) and source is None:
                return
            said = Alive(node.incarnation, node.name, node.addr, node.port, node.meta, node.vsn)
            self.alive(said, now, tell=tell, source=source)
        elif node.state is NodeStateKind.LEFT:
            self.dead(Dead(node.incarnation, node.name, node.name), now, source=source)
        else:
            self.suspect(Suspect(node.incarnation, node.name, self.own.name), now)

    def _new_record(
        self, message: Alive, port: int, now: float, source: Endpoint | None
    ) -> NodeRecord | None:
        if message.incarnation < 1:
            self._counters.refuse("alive: no incarnation")
            return None
        if message.incarnation > _MOST_AT_ONCE and not self._introduces_itself(message, source):
            self._counters.refuse("alive: incarnation far ahead")
            self._ask_unknown(message, port, now)
            return None
        record = NodeRecord(message.node, message.addr, port)
        if self._speakers.is_stranger(message.node):
            gone = self._strangers.add(record, now)
            if gone is not None:
                self._counters.refuse("alive: made room for another that nobody vouches for")
                self._forget(gone, now)
        if self._table.full:
            self._counters.refuse("alive: too many members")
            return None
        record.note_own_word(message.incarnation, now)
        self._table.add(record)
        return record

    def _introduces_itself(self, message: Alive, source: Endpoint | None) -> bool:
        """Returns whether a node that is not in the table makes a statement about itself, from an address that no
        other node has."""
        return (
            source is not None
            and source.address.packed == message.addr
            and self._speakers.at(source) in (None, message.node)
        )

    def _ask_unknown(self, message: Alive, port: int, now: float) -> None:
        """Others made a member refute up to incarnations where only its own statement counts: a bound member is
        queried for that."""
        endpoint = endpoint_of(message.addr, port)
        if self._speakers.at(endpoint) == message.node and now >= self._asked_unknown + _INTRODUCED_SECONDS:
            self._asked_unknown = now
            self._ask(
                NodeRecord(message.node, message.addr, port), encode(Suspect(1, message.node, self.own.name))
            )

    def forget_strangers(self, now: float) -> bool:
        """Expires members without a binding; True if any are left."""
        for record in self._strangers.expire(now):
            self._counters.refuse("alive: nobody vouches for it, and it never answered")
            self._forget(record, now)
        return bool(self._strangers)

    def _tell(self, record: NodeRecord, message: Message, now: float) -> None:
        if self.is_told(record, now):
            self._broadcast(record.name, encode(message), now)

    def is_told(self, record: NodeRecord, now: float) -> bool:
        """Returns whether this node rebroadcasts the member to others."""
        return self._strangers.is_told(record, now)

    def _forget(self, record: NodeRecord, now: float) -> None:
        record.end_suspicion()
        self._table.remove(record)
        self._delegate.node_forgotten(record, now)

    def _accept_alive(self, record: NodeRecord, message: Alive, now: float, *, tell: bool) -> None:
        record.end_suspicion()
        was_gone, old_meta = record.gone, record.meta
        if tell:
            self._tell(record, message, now)
        record.packed = None
        record.incarnation = message.incarnation
        record.meta = message.meta
        if message.vsn:
            record.vsn = OWN_VERSIONS if message.vsn == OWN_VERSIONS else message.vsn
        if record.state is not NodeStateKind.ALIVE:
            self._table.set_state(record, NodeStateKind.ALIVE, now)
        record.says_goodbye = False
        if was_gone:
            self._delegate.node_joined(record, now)
        elif old_meta != record.meta:
            self._delegate.node_updated(record, now)

    def _alive_self(self, message: Alive, now: float) -> None:
        if self.leaving:
            return
        own = self.own
        if message.addr != own.addr or (message.port or own.port) != own.port:
            self._counters.refuse("alive: own name at another address")
            self._delegate.name_conflict(own, endpoint_of(message.addr, message.port or own.port), now)
            return
        if message.incarnation < own.incarnation:
            return
        if self._is_far_ahead(message.incarnation, own, now):
            self._counters.refuse("alive: incarnation far ahead")
            return
        if message.incarnation == own.incarnation and message.meta == own.meta and message.vsn == own.vsn:
            return
        self._refute(message.incarnation, now)

    def _refute(self, accused: int, now: float) -> None:
        if self.leaving:
            return
        incarnation = max(self.own.incarnation, accused) + 1
        if incarnation > _MOST_AT_ONCE:
            room = self._refuting_room(now)
            if room < 1:
                self._counters.refuse("accusation: refuted too often")
                return
            self._room = max(0.0, room - (incarnation - max(self.own.incarnation, _MOST_AT_ONCE)))
        self._counters.refutations += 1
        self._awareness.apply(1)
        self._revive_self(incarnation, self.own.meta, now)

    def _revive_self(self, incarnation: int, meta: bytes, now: float) -> None:
        own = self.own
        own.packed = None
        own.incarnation = min(incarnation, _LAST_INCARNATION)
        own.meta = meta
        own.vsn = OWN_VERSIONS
        if own.state is not NodeStateKind.ALIVE:
            self._table.set_state(own, NodeStateKind.ALIVE, now)
        self._broadcast(own.name, self.own_statement(), now)

    def _set_suspicion_timer(self, record: NodeRecord, deadline: float) -> None:
        def convict(now: float) -> None:
            record.suspicion_timer = None
            if record.state is NodeStateKind.SUSPECT:
                verdict = Dead(record.incarnation, record.name, self.own.name)
                self._pass_sentence(record, verdict, now, own_word=False)

        if record.suspicion_timer is not None:
            record.suspicion_timer.cancel()
        record.suspicion_timer = self._timers.at(deadline, convict)
