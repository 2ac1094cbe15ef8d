"""Push-pull: exchanges full states on joining, on a timer, and with failed nodes (gossip-wire §4.2)."""

from __future__ import annotations

import random
from collections.abc import Callable

from wgmesh_agent.gossip.errors import GossipError, PeerError
from wgmesh_agent.gossip.memberlist.config import Profile
from wgmesh_agent.gossip.memberlist.counters import Counters
from wgmesh_agent.gossip.memberlist.delegate import SerfDelegate
from wgmesh_agent.gossip.memberlist.node_table import NodeRecord, NodeTable
from wgmesh_agent.gossip.memberlist.quota import Quota
from wgmesh_agent.gossip.memberlist.senders import Speakers, speaker_of
from wgmesh_agent.gossip.memberlist.state import MembershipState
from wgmesh_agent.gossip.memberlist.steps import Steps
from wgmesh_agent.gossip.memberlist.streams import Purpose, Streams
from wgmesh_agent.gossip.memberlist.timers import Timer, Timers
from wgmesh_agent.gossip.wire.endpoint import Endpoint
from wgmesh_agent.gossip.wire.messages import Message, NodeState, NodeStateKind, PackedPushPull, PushPull
from wgmesh_agent.gossip.wire.push_pull import NODES_AT_ONCE, pack_state
from wgmesh_agent.gossip.wire.stream import MAX_FRAME_BYTES
from wgmesh_agent.gossip.wire.versions import speaks_with_us
from wgmesh_agent.runtime.borders import border

STATES = border("gossip state", "serf's share of a push-pull, by TCP on the mesh address")
_FOLLOW_UP_GOSSIP_INTERVALS = 10
_LOOK_GOSSIP_INTERVALS = 2
_MOST_FOLLOW_UPS = 16
_MOST_STATE_BYTES = MAX_FRAME_BYTES - 1024
"""Bytes of node states and user state; the rest is for headers and encryption."""

Outcome = Callable[[str | None, float], None]
"""Called with None if the state was merged, else with the reason."""


class PushPullSync:
    """Starts exchanges, answers them, and merges the received states."""

    def __init__(
        self,
        profile: Profile,
        table: NodeTable,
        timers: Timers,
        membership: MembershipState,
        counters: Counters,
        rng: random.Random,
        delegate: SerfDelegate,
        speakers: Speakers,
        steps: Steps,
        waiting: Quota,
    ) -> None:
        """`waiting`: budget for node states that are being read or merged."""
        self._profile = profile
        self._table = table
        self._timers = timers
        self._membership = membership
        self._counters = counters
        self._rng = rng
        self._delegate = delegate
        self._speakers = speakers
        self._steps = steps
        self._timer: Timer | None = None
        self._following_up: Timer | None = None
        self._waiting = waiting
        self._stopped = False

    def start(self, streams: Streams, now: float) -> None:
        """Exchanges states with a random live node at each interval, the first after a random part of one."""
        first = now + self._rng.random() * self._profile.push_pull_seconds(len(self._table))

        def tick(now: float) -> None:
            self._timer = self._timers.at(now + self._profile.push_pull_seconds(len(self._table)), tick)
            self._exchange_with_anybody(streams, now)

        self._timer = self._timers.at(first, tick)

    def follow_up(self, streams: Streams, now: float) -> None:
        """Exchanges once more shortly after a join: gossip may miss one of several nodes that joined at the same
        time.

        When hundreds join at once, gossip delivers the last ones late, because it sends each many times. An exchange
        delivers everything that another node knows: exchanges follow each other quickly while members appear, and
        the last one comes when no more appear. In total there are few.
        """
        if self._following_up is None:
            self._follow_up(streams, _MOST_FOLLOW_UPS, False, now)

    def _follow_up(self, streams: Streams, most: int, grew: bool, now: float) -> None:
        """`grew`: whether members had appeared since the previous check: one more exchange confirms that there are
        no more."""
        if most == 0 or self._stopped:
            return
        known, interval = len(self._table), self._profile.gossip_interval_seconds

        def look(now: float) -> None:
            self._following_up = None
            grows = len(self._table) > known
            if grows or grew:
                self._exchange_with_anybody(streams, now)
                self._follow_up(streams, most - 1, grows, now)
            else:
                pause = _FOLLOW_UP_GOSSIP_INTERVALS - _LOOK_GOSSIP_INTERVALS
                self._following_up = self._timers.at(now + pause * interval, last)

        def last(now: float) -> None:
            self._following_up = None
            known = len(self._table)

            def exchanged(error: str | None, now: float) -> None:
                self._count_failure(error, now)
                if len(self._table) > known and self._following_up is None:
                    self._follow_up(streams, most - 1, True, now)

            self._exchange_with_anybody(streams, now, exchanged)

        self._following_up = self._timers.at(now + _LOOK_GOSSIP_INTERVALS * interval, look)

    def stop(self) -> None:
        """Starts no more exchanges."""
        self._stopped = True
        for timer in (self._timer, self._following_up):
            if timer is not None:
                timer.cancel()

    def exchange(
        self, streams: Streams, endpoint: Endpoint, purpose: Purpose, outcome: Outcome, now: float
    ) -> None:
        """Exchanges states with the node at `endpoint`; `Purpose.JOIN` informs the peer."""
        join = purpose is Purpose.JOIN

        def replied(message: Message, now: float) -> None:
            if not isinstance(message, PushPull):
                outcome(f"answered a push-pull with {type(message).__name__}", now)
                return
            # A node that joins alone receives members from nodes that know each other: it would only repeat them.
            self._merge(message, join, outcome, now, endpoint, tell=not join or len(self._table) > 1)

        reason: str | None = None
        with STATES.fence(endpoint) as item:
            try:
                streams.open(
                    endpoint,
                    self._state(join, now),
                    purpose,
                    now + self._profile.tcp_timeout_seconds,
                    replied,
                    lambda failure, now: outcome(failure.reason, now),
                )
            except GossipError as error:
                reason = str(error)
        if item.rejected is not None:
            reason = "this node's state cannot be sent"
        if reason is not None:
            outcome(reason, now)

    def answer(
        self, request: PushPull, source: Endpoint | None, now: float
    ) -> tuple[PackedPushPull, Callable[[float], None]]:
        """Returns the reply to a peer's exchange, which is sent before its state is read."""

        def merged(error: str | None, _now: float) -> None:
            if error is not None:
                self._counters.refuse("push-pull: not merged")

        def merge(now: float) -> None:
            self._merge(request, request.join, merged, now, source)

        return self._state(request.join, now), merge

    def _exchange_with_anybody(self, streams: Streams, now: float, outcome: Outcome | None = None) -> None:
        own = self._membership.own

        def alive(record: NodeRecord) -> bool:
            return record.state is NodeStateKind.ALIVE and record is not own

        for peer in self._table.sample(1, alive):
            self.exchange(streams, peer.endpoint, Purpose.PUSH_PULL, outcome or self._count_failure, now)

    def _state(self, join: bool, now: float) -> PackedPushPull:
        # Includes buried nodes, so that one that returns learns of it.
        user_state = self._delegate.local_state()
        told = [record for record in self._table if self._membership.is_told(record, now)]
        states = tuple(record.packed or pack(record) for record in told)
        room = _MOST_STATE_BYTES - len(user_state)
        if sum(map(len, states)) > room:
            states = self._part(told, room)
        return PackedPushPull(join, states, user_state)

    def _part(self, records: list[NodeRecord], room: int) -> tuple[bytes, ...]:
        """Returns as much as a stream holds: this node, members with a binding, then others; a different choice each
        time."""
        own = self._membership.own
        self._rng.shuffle(records)
        records.sort(key=lambda one: (one is not own, self._speakers.is_stranger(one.name), one.gone))
        part = []
        for record in records:
            packed = record.packed or pack(record)
            room -= len(packed)
            if room < 0:
                break
            part.append(packed)
        self._counters.refuse("push-pull: sent in part")
        return tuple(part)

    def _merge(
        self,
        message: PushPull,
        join: bool,
        outcome: Outcome,
        now: float,
        source: Endpoint | None,
        *,
        tell: bool = True,
    ) -> None:
        """Merges some nodes at once, the rest in further steps: thousands would delay everything else.

        `tell`: whether changes are rebroadcast.
        """
        living = [node for node in message.nodes if node.state is NodeStateKind.ALIVE]
        if living and not any(speaks_with_us(node.vsn) for node in living):
            outcome(
                f"versions do not fit: none of its {len(living)} live members is compatible with this node",
                now,
            )
            return
        speaker = speaker_of(source)
        if not self._waiting.take(speaker, len(message.nodes)):
            outcome("too many members of other states wait to be merged", now)
            return

        def finish(now: float) -> None:
            self._waiting.give_back(speaker, len(message.nodes))
            reason: str | None = None
            with STATES.fence() as item:
                try:
                    if message.user_state:
                        self._delegate.merge_remote_state(
                            message.user_state, join=join, now=now, source=source
                        )
                except PeerError as error:
                    reason = str(error)
            if item.rejected is not None:
                reason = "its state could not be merged"
            outcome(reason, now)

        begun = 0

        def step(now: float) -> bool:
            nonlocal begun
            nodes = message.nodes[begun : begun + NODES_AT_ONCE]
            begun += len(nodes)
            self._membership.merge(nodes, now, tell=tell, source=source)
            # After many nodes, serf's part, which is equally long, has a separate step.
            if begun < len(message.nodes) or (nodes and begun > NODES_AT_ONCE):
                return True
            finish(now)
            return False

        if step(now):
            self._steps.add(step, now)

    def _count_failure(self, error: str | None, _now: float) -> None:
        if error is not None:
            self._counters.refuse("push-pull: failed")


def pack(record: NodeRecord) -> bytes:
    """Returns its encoding in a push-pull, which is cached."""
    record.packed = pack_state(
        NodeState(
            record.name,
            record.addr,
            record.port,
            record.meta,
            record.incarnation,
            record.state,
            record.vsn,
        )
    )
    return record.packed
