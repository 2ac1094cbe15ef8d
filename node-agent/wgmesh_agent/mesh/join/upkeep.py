"""Periodic work of a bootstrap node between joins: expiry of reservations, and new records for members whose routes
changed.
"""

from __future__ import annotations

import asyncio

import structlog

from wgmesh_agent.mesh.join.registrar import Registrar
from wgmesh_agent.mesh.membership.admissions import AdmissionService
from wgmesh_agent.mesh.membership.announcements import Announcer
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.policy import MembershipPolicy
from wgmesh_agent.runtime.clock import Clock

log = structlog.get_logger()
INTERVAL_SECONDS = 10.0


class JoinUpkeep:
    """Runs on each bootstrap node."""

    def __init__(
        self,
        registrar: Registrar,
        ledger: Ledger,
        admissions: AdmissionService,
        policy: MembershipPolicy,
        announcer: Announcer,
        clock: Clock,
    ) -> None:
        self._registrar = registrar
        self._ledger = ledger
        self._admissions = admissions
        self._policy = policy
        self._announcer = announcer
        self._clock = clock

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            await self._registrar.sweep(self._clock.unix())
            self.reissue_records()

    def reissue_records(self) -> None:
        """Announces members whose routes the policy changed: members without a roster learn of it from that."""
        for binding in list(self._ledger):
            claim, record = binding.claim, binding.claim.admission
            if record is None:
                continue
            if self._policy.allowed_routes(claim.node, claim.routes or ()) == record.routes:
                continue
            vouched = self._admissions.record_for_peer(claim)
            if vouched.admission is not record:
                log.info("routes changed", node=claim.node, routes=[str(r) for r in vouched.routes or ()])
                self._announcer.send(vouched)
