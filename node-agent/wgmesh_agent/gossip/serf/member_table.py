"""serf's members: memberlist's view joined with the members' own statements (gossip-wire §8.3)."""

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
    whether that was a leave which it announced itself."""

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
        """Returns an immutable view of the member."""
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
        """Invalidates the cached view."""
        self._view = None


class MemberTable:
    """All members by name, with the failed and the left also separately, the longest first.

    `refute_leave` answers a leave intent about this node, `prune_later` removes a leaving member after a while;
    `gone` is called with each member that failed, left or is leaving at a time, and with each removed one (no time).
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
        """Number of members neither failed nor left, including self."""
        return len(self._members) - len(self.failed) - len(self.left)

    def get(self, name: str) -> SerfMember | None:
        """Returns the member `name`."""
        return self._members.get(name)

    def views(self) -> dict[str, Member]:
        """Returns all members, as a copy."""
        return {name: member.view() for name, member in self._members.items()}

    def expire(self, now: float) -> bool:
        """Removes expired intents; returns whether some are left."""
        self._intents.expire(now)
        return len(self._intents) > 0

    def join_intent(self, intent: JoinIntent, now: float, speaker: str = "") -> bool:
        """Applies a join intent sent by `speaker`; True if it is new and to be rebroadcast."""
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
        """Applies a leave intent sent by `speaker`, also a forced one; True if it is new and to be rebroadcast."""
        if not self._witness(intent):
            return False
        member = self._members.get(intent.node)
        if member is None:
            return self._keep(intent, True, now, speaker)
        about_us = intent.node == self._name and not self.leaving_self
        # Same time as this node's join: the sender does not know of that, and will not consider it new.
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
        """memberlist reports it alive."""
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
        """memberlist reports other metadata for it."""
        member = self._members.get(record.name)
        if member is None:
            self.node_joined(record, now)
            return
        member.record = record
        self._read_tags(member)
        self._emit(MemberUpdated(member.view()))

    def node_left(self, record: NodeRecord, now: float) -> None:
        """memberlist reports it dead or left: failed, unless it left by serf or by memberlist.

        Each leave message is sent a limited number of times and may miss a node; either is enough, whereas serf
        0.9.4 considers a member that sent only the second one failed until the next push-pull.
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
        """Returns members to alive that should have left: a leave takes seconds, and memberlist still has them
        alive.

        Such a leave was another member's claim, and its refutation was lost.
        """
        for member in list(self.leaving.values()):
            own = member.record.name == self._name and self.leaving_self
            if now - member.since >= LEAVING_SECONDS and not member.record.gone and not own:
                self._counters.refuse("intent: leave of a member that stays")
                self._set_status(member, MemberStatus.ALIVE, now)
                self._emit(MemberUpdated(member.view()))

    def prune(self, member: SerfMember) -> None:
        """Removes a member that memberlist reports dead or left; no claim removes a live one."""
        if member.record.gone:
            self.erase(member.record.name)
        else:
            self._counters.refuse("intent: prunes a living member")

    def erase(self, name: str) -> None:
        """Removes a member."""
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
