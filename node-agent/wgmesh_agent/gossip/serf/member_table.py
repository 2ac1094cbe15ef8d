"""serf's members: memberlist's view joined with what members said of themselves (gossip-wire §8.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from sys import intern
from types import MappingProxyType
from typing import Final

from wgmesh_agent.gossip.errors import PeerError
from wgmesh_agent.gossip.memberlist.config import SerfConfig
from wgmesh_agent.gossip.memberlist.counters import Counters
from wgmesh_agent.gossip.memberlist.names import is_member_name, is_text
from wgmesh_agent.gossip.memberlist.node_table import NodeRecord
from wgmesh_agent.gossip.serf.events import (
    Member,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberUpdated,
    SerfEvent,
)
from wgmesh_agent.gossip.serf.intents import IntentBuffer
from wgmesh_agent.gossip.serf.lamport import LamportClock
from wgmesh_agent.gossip.wire.node_state import NodeStateKind
from wgmesh_agent.gossip.wire.serf_messages import JoinIntent, LeaveIntent, MemberStatus, decode_tags

LEAVING_SECONDS: Final = 15.0
"""serf gives each of its two leave messages 5 s and lingers for 1 s (`BroadcastTimeout`, `LeavePropagateDelay`)."""
_NO_TAGS: Mapping[str, str] = MappingProxyType({})
_TAGS_OF_NO_METADATA: Mapping[str, str] = MappingProxyType(decode_tags(b""))


class SerfMember:
    """One member; `record` is memberlist's latest of it, `status_ltime` the time of its last intent, `says_goodbye`
    whether that was a leave which it told itself.
    """

    __slots__ = ("_view", "meta", "record", "says_goodbye", "since", "status", "status_ltime", "tags")

    def __init__(self, record: NodeRecord, status: MemberStatus, status_ltime: int, now: float) -> None:
        self.record = record
        self.status = status
        self.status_ltime = status_ltime
        self.says_goodbye = False
        self.since = now
        self.meta: bytes | None = None
        self.tags: Mapping[str, str] = _NO_TAGS
        self._view: Member | None = None

    @property
    def gone(self) -> bool:
        """Failed or left."""
        return self.status is MemberStatus.FAILED or self.status is MemberStatus.LEFT

    def view(self) -> Member:
        """The member as others may keep it."""
        record, view = self.record, self._view
        if view is None or view.incarnation != record.incarnation or view.status is not self.status:
            endpoint = record.endpoint
            view = self._view = Member(
                record.name,
                endpoint.address,
                endpoint.port,
                self.tags,
                self.status,
                record.incarnation,
                record.vsn,
                self.since,
                self.says_goodbye or record.says_goodbye,
            )
        return view

    def refresh(self) -> None:
        """Forget the view kept."""
        self._view = None


class MemberTable:
    """All members by name, with the failed and the left also apart, the longest gone first.

    `refute_leave` answers a leave intent about ourselves, `prune_later` erases a leaving member in a while; `gone` is
    told of who failed, left or is leaving at a time, and of who is forgotten (no time).
    """

    def __init__(
        self,
        config: SerfConfig,
        clock: LamportClock,
        counters: Counters,
        emit: Callable[[SerfEvent], None],
        refute_leave: Callable[[float], None],
        prune_later: Callable[[str, float], None],
        gone: Callable[[str, float | None], None],
    ) -> None:
        self._name = config.node_name
        self._clock = clock
        self._counters = counters
        self._emit = emit
        self._refute_leave = refute_leave
        self._prune_later = prune_later
        self._gone = gone
        self._members: dict[str, SerfMember] = {}
        self._intents = IntentBuffer(config.recent_intent_seconds, config.max_intents)
        self.failed: dict[str, SerfMember] = {}
        self.left: dict[str, SerfMember] = {}
        self.leaving: dict[str, SerfMember] = {}
        self.leaving_self = False

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[SerfMember]:
        return iter(self._members.values())

    @property
    def alive_count(self) -> int:
        """Members neither failed nor left, self included."""
        return len(self._members) - len(self.failed) - len(self.left)

    def get(self, name: str) -> SerfMember | None:
        """The member `name`."""
        return self._members.get(name)

    def views(self) -> dict[str, Member]:
        """All members, as a copy."""
        return {name: member.view() for name, member in self._members.items()}

    def expire(self, now: float) -> bool:
        """Forget intents that are too old; whether some are left."""
        self._intents.expire(now)
        return len(self._intents) > 0

    def join_intent(self, intent: JoinIntent, now: float, speaker: str = "") -> bool:
        """Apply a join intent that `speaker` told; True if it is news to pass on."""
        if not self._witness(intent):
            return False
        member = self._members.get(intent.node)
        if member is None:
            return self._keep(intent, False, now, speaker)
        if intent.ltime <= member.status_ltime:
            return False
        member.status_ltime = intent.ltime
        if member.status is MemberStatus.LEAVING and not (intent.node == self._name and self.leaving_self):
            self._set_status(member, MemberStatus.ALIVE, now)
        return True

    def leave_intent(self, intent: LeaveIntent, now: float, speaker: str = "") -> bool:
        """Apply a leave intent that `speaker` told, a forced one as well; True if it is news to pass on."""
        if not self._witness(intent):
            return False
        member = self._members.get(intent.node)
        if member is None:
            return self._keep(intent, True, now, speaker)
        about_us = intent.node == self._name and not self.leaving_self
        # Of the same time as our join: who says so has not heard of that, and will not take it for news.
        if intent.ltime < member.status_ltime + (not about_us):
            return False
        if about_us:
            self._refute_leave(now)
            return False
        member.status_ltime = intent.ltime
        member.says_goodbye = speaker == str(member.record.endpoint.address)
        if member.status is MemberStatus.ALIVE:
            self._set_status(member, MemberStatus.LEAVING, now)
        elif member.status is MemberStatus.FAILED:
            self._set_status(member, MemberStatus.LEFT, now)
            self._emit(MemberLeft(member.view()))
        if intent.prune:
            if member.status is MemberStatus.LEAVING:
                self._prune_later(intent.node, now)
            else:
                self.prune(member)
        return True

    def node_joined(self, record: NodeRecord, now: float) -> None:
        """memberlist has it alive."""
        member = self._members.get(record.name)
        if member is None:
            status, ltime = MemberStatus.ALIVE, 0
            intent = self._intents.take(record.name, now)
            if intent is not None:
                ltime = intent.ltime
                if intent.leaving:
                    status = MemberStatus.LEAVING
            member = self._members[record.name] = SerfMember(record, MemberStatus.ALIVE, ltime, now)
            self._set_status(member, status, now)
        else:
            member.record = record
            self._set_status(member, MemberStatus.ALIVE, now)
        self._read_tags(member)
        self._emit(MemberJoined(member.view()))

    def node_updated(self, record: NodeRecord, now: float) -> None:
        """memberlist has other metadata for it."""
        member = self._members.get(record.name)
        if member is None:
            self.node_joined(record, now)
            return
        member.record = record
        self._read_tags(member)
        self._emit(MemberUpdated(member.view()))

    def node_left(self, record: NodeRecord, now: float) -> None:
        """memberlist has it dead or left: failed, unless it said goodbye, to serf or to memberlist.

        Each goodbye is told a limited number of times and may miss a node; either is enough, where serf 0.9.4 calls who
        said only the second one failed until the next push-pull.
        """
        member = self._members.get(record.name)
        if member is None:
            return
        if member.status is MemberStatus.LEAVING or (
            member.status is MemberStatus.ALIVE and record.state is NodeStateKind.LEFT
        ):
            self._set_status(member, MemberStatus.LEFT, now)
            self._emit(MemberLeft(member.view()))
        elif member.status is MemberStatus.ALIVE:
            self._set_status(member, MemberStatus.FAILED, now)
            self._emit(MemberFailed(member.view()))

    def expire_leaving(self, now: float) -> None:
        """Return members to alive that should have left: a leave takes seconds, and memberlist has them alive still.

        Such a leave was another member's word, and its refutation was lost.
        """
        for member in list(self.leaving.values()):
            own = member.record.name == self._name and self.leaving_self
            if now - member.since >= LEAVING_SECONDS and not member.record.gone and not own:
                self._counters.refuse("intent: leave of a member that stays")
                self._set_status(member, MemberStatus.ALIVE, now)
                self._emit(MemberUpdated(member.view()))

    def prune(self, member: SerfMember) -> None:
        """Forget a member that memberlist has dead or left: of a living one nobody's word is enough."""
        if member.record.gone:
            self.erase(member.record.name)
        else:
            self._counters.refuse("intent: prunes a living member")

    def erase(self, name: str) -> None:
        """Forget a member."""
        member = self._members.pop(name, None)
        if member is not None:
            for apart in (self.failed, self.left, self.leaving):
                apart.pop(name, None)
            self._gone(name, None)
            self._emit(MemberReaped(member.view()))

    def _keep(self, intent: JoinIntent | LeaveIntent, leaving: bool, now: float, speaker: str) -> bool:
        return self._intents.add(intent.node, leaving=leaving, ltime=intent.ltime, now=now, speaker=speaker)

    def _witness(self, intent: JoinIntent | LeaveIntent) -> bool:
        if not is_member_name(intent.node):
            self._counters.refuse("intent: a name that no member has")
            return False
        if not self._clock.believes(intent.ltime):
            self._counters.refuse("intent: implausible Lamport time")
            return False
        self._clock.witness(intent.ltime)
        return True

    def _set_status(self, member: SerfMember, status: MemberStatus, now: float) -> None:
        name = member.record.name
        for apart in (self.failed, self.left, self.leaving):
            apart.pop(name, None)
        if status is MemberStatus.FAILED:
            self.failed[name] = member
        elif status is MemberStatus.LEFT:
            self.left[name] = member
        elif status is MemberStatus.LEAVING:
            self.leaving[name] = member
        member.status = status
        member.since = now
        if status is MemberStatus.ALIVE:
            member.says_goodbye = False
        member.refresh()
        if member.gone or status is MemberStatus.LEAVING:
            self._gone(name, now)

    def _read_tags(self, member: SerfMember) -> None:
        member.refresh()
        meta = member.record.meta
        if meta == member.meta:
            return
        member.meta = meta
        if not meta:
            member.tags = _TAGS_OF_NO_METADATA
            return
        try:
            tags = decode_tags(meta)
        except PeerError:
            self._counters.refuse("tags: malformed")
            tags = {}
        readable = {intern(name): value for name, value in tags.items() if is_text(name) and is_text(value)}
        if len(readable) < len(tags):
            self._counters.refuse("tags: not text")
        member.tags = MappingProxyType(readable)
