"""Reconnect and reap: attempts to reach failed members, and their final removal (gossip-wire §8.3).

Both ticks stop while no member is failed or left.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from wgmesh_agent.gossip.memberlist.config import SerfConfig
from wgmesh_agent.gossip.memberlist.timers import Timer, Timers
from wgmesh_agent.gossip.serf.member_table import MemberTable, SerfMember
from wgmesh_agent.gossip.wire.endpoint import Endpoint


class Reconnector:
    """At each interval, with probability failed/alive, one random failed member is tried; reaping is separate."""

    def __init__(
        self,
        config: SerfConfig,
        members: MemberTable,
        timers: Timers,
        rng: random.Random,
        attempt: Callable[[Endpoint, float], None],
    ) -> None:
        self._config = config
        self._members = members
        self._timers = timers
        self._rng = rng
        self._attempt = attempt
        self._attempts: Timer | None = None
        self._reaping: Timer | None = None
        self._stopped = False

    def wake(self, now: float) -> None:
        """A member failed or left."""
        if self._stopped:
            return
        if self._attempts is None and self._members.failed:
            self._attempts = self._timers.at(now + self._config.reconnect_interval_seconds, self._reconnect)
        if self._reaping is None:
            self._reaping = self._timers.at(now + self._config.reap_interval_seconds, self._reap)

    def stop(self) -> None:
        """Stops reconnecting and reaping."""
        self._stopped = True
        for timer in (self._attempts, self._reaping):
            if timer is not None:
                timer.cancel()

    def _reconnect(self, now: float) -> None:
        self._attempts = None
        failed = self._members.failed
        if not failed:
            return
        self._attempts = self._timers.at(now + self._config.reconnect_interval_seconds, self._reconnect)
        if self._rng.random() * max(1, self._members.alive_count) <= len(failed):
            member = self._rng.choice(list(failed.values()))
            self._attempt(member.record.endpoint, now)

    def _reap(self, now: float) -> None:
        self._reaping = None
        config, members = self._config, self._members
        for gone, lifetime in (
            (members.failed, config.reconnect_timeout_seconds),
            (members.left, config.tombstone_timeout_seconds),
        ):
            for name in _expired(gone, now - lifetime):
                members.erase(name)
        members.expire_leaving(now)
        if members.failed or members.left or members.leaving:
            self._reaping = self._timers.at(now + config.reap_interval_seconds, self._reap)


def _expired(gone: dict[str, SerfMember], before: float) -> list[str]:
    """Names of those failed or left since before that time; the dict has the longest first."""
    names = []
    for name, member in gone.items():
        if member.since > before:
            break
        names.append(name)
    return names
