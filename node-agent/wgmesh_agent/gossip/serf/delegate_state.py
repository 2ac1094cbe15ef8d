"""serf's part of a push-pull: what this node sends, and what it applies from a peer (gossip-wire §8.2)."""

from __future__ import annotations

from collections.abc import Callable

from wgmesh_agent.gossip.serf.dedup_window import DedupWindow
from wgmesh_agent.gossip.serf.lamport import LATEST, LamportClock, plausible
from wgmesh_agent.gossip.serf.member_table import MemberTable, SerfMember
from wgmesh_agent.gossip.wire.serf_messages import (
    EventSlot,
    JoinIntent,
    LeaveIntent,
    MemberStatus,
    SerfPushPull,
    UserEvent,
)

EventKey = tuple[str, bytes]


def _told(member: SerfMember) -> int:
    """The peer uses this as the time of a join intent: with the leave's own time it would ignore that leave."""
    return max(0, member.status_ltime - (member.status is MemberStatus.LEAVING))


class SerfDelegateState:
    """Reads and merges the three clocks, the members' status times and the recent user events."""

    def __init__(
        self,
        clock: LamportClock,
        event_clock: LamportClock,
        query_clock: LamportClock,
        members: MemberTable,
        events: DedupWindow[EventKey],
        deliver: Callable[[UserEvent], bool],
    ) -> None:
        self._clock = clock
        self._event_clock = event_clock
        self._query_clock = query_clock
        self._members = members
        self._events = events
        self._deliver = deliver

    def local(self) -> SerfPushPull:
        """Returns this node's part."""
        return SerfPushPull(
            self._clock.time,
            {member.record.name: _told(member) for member in self._members},
            tuple(self._members.left),
            self._event_clock.time,
            tuple(EventSlot(ltime, keys) for ltime, keys in self._events.entries()),
            self._query_clock.time,
        )

    def merge(
        self,
        state: SerfPushPull,
        *,
        ignore_old_events: bool,
        first: bool = False,
        now: float,
        speaker: str = "",
    ) -> None:
        """Merges a peer's part; `ignore_old_events` drops events from before the peer's present.

        `first`: it is the answer to this node's first join, and sets its clocks.
        """
        for clock, seen in (
            (self._clock, state.ltime),
            (self._event_clock, state.event_ltime),
            (self._query_clock, state.query_ltime),
        ):
            if seen > 1 and (first or clock.believes(seen - 1)):
                clock.witness(seen - 1)
        left = set(state.left_members)
        for name in state.left_members:
            ltime = state.status_ltimes.get(name, 0) + 1
            self._members.leave_intent(LeaveIntent(min(ltime, LATEST), name), now, speaker)
        for name, ltime in state.status_ltimes.items():
            if ltime and name not in left:
                self._members.join_intent(JoinIntent(ltime, name), now, speaker)
        if ignore_old_events and plausible(state.event_ltime):
            self._events.ignore_before(state.event_ltime)
        for slot in state.events:
            if slot is not None:
                for name, payload in slot.events:
                    self._deliver(UserEvent(slot.ltime, name, payload))
