"""Collects the facts about this node itself for `wgmesh doctor`."""

from __future__ import annotations

import math

from wgmesh_agent.diagnosis.link_sources import LinkSources
from wgmesh_agent.diagnosis.peer_query import msec
from wgmesh_agent.mesh.credentials import Credentials
from wgmesh_agent.mesh.dataplane.indirect_paths import IndirectPaths
from wgmesh_agent.mesh.dataplane.repair_rate_limit import Repairs
from wgmesh_agent.mesh.membership.policy import MembershipPolicy
from wgmesh_agent.runtime.clock import Clock
from wgmesh_agent.runtime.supervisor import Supervisor
from wgmesh_agent.wireguard.model import Device
from wgmesh_api.agent_pb2 import ComponentDown, OwnFacts, Refused

RECENT_SECONDS = 600.0


class OwnFactsCollector:
    """Interface, keys, certificate, roster, failed components, and recent rejections."""

    def __init__(
        self,
        sources: LinkSources,
        repairs: Repairs,
        indirect: IndirectPaths,
        tasks: Supervisor,
        policy: MembershipPolicy,
        credentials: Credentials | None,
        clock: Clock,
    ) -> None:
        self._sources = sources
        self._repairs = repairs
        self._indirect = indirect
        self._tasks = tasks
        self._policy = policy
        self._credentials = credentials
        self._clock = clock

    def collect(self, device: Device, trouble: str) -> OwnFacts:
        """
        Args:
            trouble: why WireGuard cannot be read; empty if it can.
        """
        local = self._sources.local
        own = OwnFacts(
            pubkey=str(local.public_key),
            interfacePubkey=str(device.public_key or ""),
            interfaceTrouble=trouble,
            listenPort=device.listen_port,
            gossipPort=local.record.gossip_port,
            probePort=local.probe_port,
            secretCount=len(local.secret_ids),
            undone=self._repairs.undone(self._clock.monotonic()),
            forwards=bool(local.routes) or self._indirect.is_open,
            clockMsec=round(self._clock.unix() * 1000),
            down=[ComponentDown(name=name, why=why) for name, why in sorted(self._tasks.down().items())],
            refused=[
                Refused(reason=reason, message=message, secondsAgo=round(ago))
                for reason, message, ago in self._sources.rejections.recent(RECENT_SECONDS)
            ],
        )
        roster_age = self._policy.roster_age_seconds()
        if roster_age is not None:
            own.rosterMsecAgo = msec(roster_age if math.isfinite(roster_age) else None)
        if self._credentials is not None:
            leaf = self._credentials.files.leaf()
            own.tls = True
            own.certificateNotBefore = round(leaf.not_valid_before_utc.timestamp())
            own.certificateNotAfter = round(leaf.not_valid_after_utc.timestamp())
            own.certificateSubject = leaf.subject.rfc4514_string()
        return own
