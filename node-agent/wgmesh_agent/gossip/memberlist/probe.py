"""The failure detector of gossip-wire §7.1 (SWIM): probes one node at a time, directly, then indirectly and by a
stream."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from wgmesh_agent.gossip.memberlist.awareness import Awareness
from wgmesh_agent.gossip.memberlist.config import Profile
from wgmesh_agent.gossip.memberlist.counters import Counters
from wgmesh_agent.gossip.memberlist.node_table import NodeRecord, NodeTable
from wgmesh_agent.gossip.memberlist.rtt_estimator import AckTimeEstimator
from wgmesh_agent.gossip.memberlist.state import MembershipState
from wgmesh_agent.gossip.memberlist.timers import Timer, Timers
from wgmesh_agent.gossip.memberlist.transmit import Transmitter
from wgmesh_agent.gossip.wire.endpoint import Endpoint
from wgmesh_agent.gossip.wire.messages import IndirectPing, NodeStateKind, Ping, Suspect, encode
from wgmesh_agent.gossip.wire.versions import answers_tcp_ping, checks_crc, sends_nack

_REMEMBERED: Final = 16
"""Timed-out probes whose ACKs may still arrive."""


@dataclass(slots=True)
class _ProbeCycle:
    record: NodeRecord
    ping: Ping
    sent: float
    deadline: float
    timer: Timer
    direct: bool = True
    contact_by_stream: bool = False
    nacks_expected: int = 0
    nacks_received: int = 0


StreamPing = Callable[[Endpoint, Ping, float, Callable[[], None], Callable[[float], None]], None]
"""Ping over a stream until a deadline; calls the first callback if it is answered, the second if it is refused."""


class FailureDetector:
    """Runs one cycle each probe interval over the table's probe order.

    Its timeouts grow with the latency of ACKs, and with this node's own health score.
    """

    def __init__(
        self,
        profile: Profile,
        table: NodeTable,
        timers: Timers,
        membership: MembershipState,
        awareness: Awareness,
        transmitter: Transmitter,
        counters: Counters,
        rng: random.Random,
        own_ping: Callable[[str], Ping],
        stream_ping: StreamPing,
        completed: Callable[[NodeRecord, float, bytes], None],
    ) -> None:
        self._profile = profile
        self._table = table
        self._timers = timers
        self._membership = membership
        self._awareness = awareness
        self._transmitter = transmitter
        self._counters = counters
        self._rng = rng
        self._own_ping = own_ping
        self._stream_ping = stream_ping
        self._completed = completed
        self._answer_time = AckTimeEstimator(profile.probe_timeout_seconds, profile.awareness_max_multiplier)
        self._cycle: _ProbeCycle | None = None
        self._given_up: deque[_ProbeCycle] = deque(maxlen=_REMEMBERED)
        self._tick: Timer | None = None
        self._scheduled = 0.0

    def start(self, now: float) -> None:
        """Starts after a random part of an interval."""
        self._scheduled = now + self._rng.random() * self._profile.probe_interval_seconds
        self._tick = self._timers.at(self._scheduled, self._begin)

    def stop(self) -> None:
        """Stops probing."""
        if self._tick is not None:
            self._tick.cancel()
        if self._cycle is not None:
            self._cycle.timer.cancel()
            self._cycle = None

    def acknowledged(self, seq_no: int, payload: bytes, source: Endpoint, now: float) -> bool:
        """Handles an ACK; False if this cycle did not expect it."""
        cycle = self._cycle
        if cycle is None or cycle.ping.seq_no != seq_no:
            for late in self._given_up:
                if late.ping.seq_no == seq_no and late.record.endpoint == source:
                    self._answer_time.observe(now - late.sent)
                    self._given_up.remove(late)
                    break
            return False
        if cycle.record.endpoint == source:
            self._answer_time.observe(now - cycle.sent)
            cycle.record.answered = now
        if cycle.direct:
            self._completed(cycle.record, now - cycle.sent, payload)
        self._succeed(cycle, now)
        return True

    def refused(self, seq_no: int) -> bool:
        """Handles a NACK; False if this cycle did not expect it."""
        cycle = self._cycle
        if cycle is None or cycle.ping.seq_no != seq_no:
            return False
        cycle.nacks_received = min(cycle.nacks_received + 1, cycle.nacks_expected)
        return True

    def _begin(self, now: float) -> None:
        own = self._membership.own
        record = self._table.next_to_probe(own, now, self._profile.gossip_to_dead_seconds)
        if record is None:
            self._schedule(now)
            return
        ping = self._own_ping(record.name)
        if record.state is NodeStateKind.ALIVE:
            self._transmitter.send_with_broadcasts(encode(ping), record.endpoint)
        else:
            accusation = Suspect(record.incarnation, record.name, own.name)
            parts = [encode(ping), encode(accusation)]
            self._transmitter.send(parts, record.endpoint, crc=checks_crc(record.vsn))
        interval, stretch = self._profile.probe_interval_seconds, self._answer_time.scale
        deadline = now + max(self._awareness.scale(interval), stretch * interval)
        timer = self._timers.at(now + stretch * self._profile.probe_timeout_seconds, self._ask_others)
        self._cycle = _ProbeCycle(record, ping, now, deadline, timer)

    def _ask_others(self, now: float) -> None:
        cycle = self._cycle
        if cycle is None:
            return
        cycle.direct = False
        own, target = self._membership.own, cycle.record

        def can_help(record: NodeRecord) -> bool:
            return record.state is NodeStateKind.ALIVE and record is not own and record is not target

        for helper in self._table.sample(self._profile.indirect_checks, can_help):
            nack = sends_nack(helper.vsn)
            cycle.nacks_expected += nack
            request = IndirectPing(
                cycle.ping.seq_no,
                target.addr,
                target.port,
                target.name,
                nack,
                cycle.ping.source_addr,
                cycle.ping.source_port,
                cycle.ping.source_node,
            )
            self._transmitter.send_with_broadcasts(encode(request), helper.endpoint)
        if answers_tcp_ping(target.vsn):

            def contacted() -> None:
                cycle.contact_by_stream = True

            def refused(now: float) -> None:
                # Its host is reachable, but no process listens any more: no need to wait for the rest.
                if self._cycle is cycle:
                    cycle.timer.cancel()
                    self._fail(cycle, 0, now)

            self._stream_ping(target.endpoint, cycle.ping, cycle.deadline, contacted, refused)
        cycle.timer = self._timers.at(cycle.deadline, self._conclude)

    def _conclude(self, now: float) -> None:
        cycle = self._cycle
        if cycle is None:
            return
        if cycle.contact_by_stream:
            self._succeed(cycle, now)
            return
        missed = cycle.nacks_expected - cycle.nacks_received
        self._fail(cycle, missed if cycle.nacks_expected else 1, now)

    def _fail(self, cycle: _ProbeCycle, ill_health: int, now: float) -> None:
        self._cycle = None
        self._given_up.append(cycle)
        self._counters.probes_failed += 1
        self._awareness.apply(ill_health)
        self._schedule(now)
        record = cycle.record
        self._membership.suspect(Suspect(record.incarnation, record.name, self._membership.own.name), now)

    def _succeed(self, cycle: _ProbeCycle, now: float) -> None:
        cycle.timer.cancel()
        self._cycle = None
        self._awareness.apply(-1)
        self._schedule(now)

    def _schedule(self, now: float) -> None:
        interval = self._profile.probe_interval_seconds
        self._scheduled += interval
        if self._scheduled < now:
            # One missed tick is made up at once, as a Go ticker does; the grid stays.
            self._scheduled += (now - self._scheduled) // interval * interval
        self._tick = self._timers.at(max(self._scheduled, now), self._begin)
