"""Dispatches gossip events to their handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.gossip.serf.events import (
    KeyringChanged,
    Member,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberUpdated,
    NameConflict,
    SerfEvent,
    UserEventReceived,
)
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.mesh.membership.endpoint_flaps import EndpointFlapDetector
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.mesh.membership.tags import ENDPOINT_ADDRESS, ENDPOINT_PORT
from wgmesh_agent.mesh.membership.tracker import MembershipTracker
from wgmesh_agent.mesh.probing.service import ProbeService
from wgmesh_agent.runtime.borders import border
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.clock import Clock
from wgmesh_agent.runtime.log_limit import LogLimit
from wgmesh_agent.runtime.supervisor import FatalError

log = structlog.get_logger()
EVENTS = border("gossip event", "a change of a member, or a user event of one")
COUNT_SECONDS = 5.0
EVENTS_PER_TURN = 32
STRANGERS_A_MINUTE = 120
"""Log lines about members that are not bound: as many as join a large mesh in a minute."""


class NameConflictLost(FatalError):
    """The mesh decided that this node's name belongs to another node."""


class GossipEventDispatcher:
    """Dispatcher of a node's gossip events."""

    def __init__(
        self,
        own_name: str,
        gossip: GossipNode,
        membership: MembershipTracker,
        prober: ProbeService,
        wandering: EndpointFlapDetector,
        refusals: RejectionLog,
        changes: Signal,
        user_events: Mapping[str, Callable[[bytes], object]],
        clock: Clock,
    ) -> None:
        """`user_events`: handlers of payloads, by name of the event."""
        self._own_name = own_name
        self._gossip = gossip
        self._membership = membership
        self._prober = prober
        self._wandering = wandering
        self._refusals = refusals
        self._changes = changes
        self._user_events = user_events
        self._clock = clock
        self._strangers = LogLimit(clock.monotonic, STRANGERS_A_MINUTE)
        self._logged: dict[str, str] = {}

    async def run(self) -> None:
        """Dispatches events until cancelled. Raises NameConflictLost."""
        handled = 0
        async for event in self._gossip.events:
            handled += 1
            if handled % EVENTS_PER_TURN == 0:
                # Thousands are queued when a mesh is joined: they must not block the rest of the agent.
                await asyncio.sleep(0)
            with EVENTS.fence(type(event).__name__, passing=(NameConflictLost,)):
                self._handle(event)

    def _handle(self, event: SerfEvent) -> None:
        match event:
            case MemberJoined(member) | MemberUpdated(member) | MemberLeft(member) | MemberFailed(member):
                self._on_member_event(member)
            case MemberReaped(member):
                self._membership.on_reaped(member)
                self._logged.pop(member.name, None)
                self._wandering.forget(member.name)
                self._changes.notify()
            case UserEventReceived(name=name, payload=payload):
                if name in self._user_events:
                    self._user_events[name](payload)
            case NameConflict():
                self._on_name_conflict(event)
            case KeyringChanged():
                log.info("gossip keys changed")
                self._changes.notify()

    async def collect_counters(self) -> None:
        """Counts the gossip core's rejections among this node's, until cancelled."""
        while True:
            await asyncio.sleep(COUNT_SECONDS)
            self._refusals.add_gossip_counters(self._gossip.counters.refused)

    def _on_member_event(self, member: Member) -> None:
        self._membership.on_member_update(member)
        self._log(member)
        if self._membership.is_bound(member.name):
            told = f"{member.tags.get(ENDPOINT_ADDRESS)} {member.tags.get(ENDPOINT_PORT)}"
            self._wandering.record(member.name, told, self._clock.monotonic())
        if member.status in (MemberStatus.ALIVE, MemberStatus.FAILED):
            self._prober.on_member_change(member.address, failed=member.status is MemberStatus.FAILED)
        self._changes.notify()

    def _log(self, member: Member) -> None:
        """Logs each status change of bound members, and some a minute of the others, which any member can invent."""
        status = member.status.name.lower()
        if self._membership.is_bound(member.name):
            if self._logged.get(member.name) == status:
                return
            self._logged[member.name] = status
        elif not self._strangers.ask("stranger", f"{member.name} {status}").granted:
            return
        log.info("member", node=member.name, status=status, address=str(member.address))

    def _on_name_conflict(self, event: NameConflict) -> None:
        if event.name == self._own_name and event.lost:
            raise NameConflictLost(
                f"most members know another node as {event.name}, at {event.theirs}: give one of the two another name"
            )
        self._refusals.record(
            "name_conflict", f"{event.theirs} claims to be {event.name}, which is alive at {event.ours}"
        )
