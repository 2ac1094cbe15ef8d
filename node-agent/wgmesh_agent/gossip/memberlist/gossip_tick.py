"""The gossip tick: broadcasts are sent to a few random nodes each interval; no timer runs while none waits."""

from __future__ import annotations

from wgmesh_agent.gossip.memberlist.config import Profile
from wgmesh_agent.gossip.memberlist.node_table import NodeRecord, NodeTable
from wgmesh_agent.gossip.memberlist.timers import Timer, Timers
from wgmesh_agent.gossip.memberlist.transmit import Transmitter
from wgmesh_agent.gossip.wire.messages import NodeStateKind
from wgmesh_agent.gossip.wire.versions import checks_crc

_GATHER_SECONDS = 0.01
"""How long the first broadcast after a pause waits for others to share its packet."""
_WHOLE_ROUND_BELOW = 64


class GossipTicker:
    """At most one round in each gossip interval; the first after a pause starts at once."""

    def __init__(self, profile: Profile, table: NodeTable, timers: Timers, transmitter: Transmitter) -> None:
        self._profile = profile
        self._table = table
        self._timers = timers
        self._transmitter = transmitter
        self._timer: Timer | None = None
        self._earliest = 0.0
        self._own: NodeRecord | None = None

    def start(self, own: NodeRecord, now: float) -> None:
        """Starts the rounds; broadcasts that are already queued are sent."""
        self._own = own
        self.wake(now)

    def stop(self) -> None:
        """Stops all rounds."""
        self._own = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def wake(self, now: float) -> None:
        """Call when a broadcast was queued."""
        if self._timer is None and self._own is not None and len(self._table) > 1:
            self._timer = self._timers.at(max(now + _GATHER_SECONDS, self._earliest), self._round)
            if len(self._table) <= _WHOLE_ROUND_BELOW:
                # With about as many transmissions as there are nodes, nearly each of them is reached directly.
                self._table.new_round()

    def _round(self, now: float) -> None:
        self._timer = None
        self._earliest = now + self._profile.gossip_interval_seconds
        long_dead = now - self._profile.gossip_to_dead_seconds

        def listens(record: NodeRecord) -> bool:
            if record is self._own or record.state is NodeStateKind.LEFT:
                return False
            return record.state is not NodeStateKind.DEAD or record.changed >= long_dead

        if not self._transmitter.pending:
            return
        peers = self._table.listeners(self._profile.gossip_nodes, listens)
        for record in peers:
            if not self._transmitter.gossip(record.endpoint, crc=checks_crc(record.vsn)):
                break
        if peers and self._transmitter.pending:
            self._timer = self._timers.at(self._earliest, self._round)
