"""Fetches missing admission records from the member itself and from a few bootstrap nodes, with backoff."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace

import structlog

from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.mesh.membership.admission_record import AdmissionRecord, InvalidAdmission
from wgmesh_agent.mesh.membership.admissions import ADMISSION_QUERY
from wgmesh_agent.mesh.membership.claims import Accepting, Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.membership.missing_records import MAX_CONCURRENT_QUERIES, MissingRecords
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.runtime.backoff import jittered
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.clock import Clock

log = structlog.get_logger()
QUERY_TIMEOUT_SECONDS = 2.0
QUERIED_BOOTSTRAPS = 3
RELAY_FACTOR = 3


class AdmissionFetcher:
    """Fetcher of missing records."""

    def __init__(
        self,
        missing: MissingRecords,
        news: Signal,
        members: MemberView,
        ledger: Ledger,
        tracker: Accepting,
        rejections: RejectionLog,
        changes: Signal,
        clock: Clock,
    ) -> None:
        """
        Args:
            news: that of `missing`.
            changes: notified after each round of answers.
        """
        self._missing = missing
        self._news = news
        self._members = members
        self._ledger = ledger
        self._tracker = tracker
        self._rejections = rejections
        self._changes = changes
        self._clock = clock

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            generation = self._news.generation
            due = self._missing.due(self._clock.monotonic())
            if due:
                alive = self._members.alive_bootstraps()
                # Queries that all members must forward are sent one at a time: many invented members may be in
                # question.
                asked = due[: MAX_CONCURRENT_QUERIES if alive or not self._missing.is_crowded() else 1]
                for missing in asked:
                    missing.retry_now = False
                found = await asyncio.gather(*(self._ask(missing.claim, alive) for missing in asked))
                for missing, is_found in zip(asked, found, strict=True):
                    node = missing.claim.node
                    now = self._clock.monotonic()
                    if self._missing.answered(missing, now, jittered, is_found=is_found):
                        self._rejections.record(
                            "admission_missing", f"no queried member has an admission record of {node}"
                        )
                    if self._ledger.by_name(node):
                        self._missing.settled(node)
                self._changes.notify()
            else:
                await self._news.wait_after(generation, self._missing.next_due(self._clock.monotonic()))

    async def _ask(self, claim: Claim, bootstraps: Sequence[str]) -> bool:
        some = random.sample(list(bootstraps), min(len(bootstraps), QUERIED_BOOTSTRAPS))
        direct = bool(some) and self._missing.is_crowded()
        nodes = some if direct else list(dict.fromkeys((*some, claim.node)))

        def settled(answer: bytes) -> bool:
            return claim.node not in self._missing or self._take(claim, answer)

        try:
            # A member that is not bound cannot answer through a tunnel: other members forward its answer. In a large
            # mesh bootstrap nodes are queried directly: otherwise all members would forward eight queries a second of
            # each node about members that do not exist.
            await self._members.query(
                ADMISSION_QUERY,
                claim.node.encode(),
                nodes=nodes,
                timeout=QUERY_TIMEOUT_SECONDS,
                relay_factor=RELAY_FACTOR,
                enough=settled,
                direct=direct,
            )
        except GossipError as error:
            log.warning("admission record query failed", node=claim.node, error=str(error))
            return False
        return claim.node not in self._missing

    def _take(self, claim: Claim, answer: bytes) -> bool:
        try:
            record = AdmissionRecord.from_bytes(answer)
        except InvalidAdmission as error:
            self._rejections.record(error.reason.value, str(error))
            return False
        return self._tracker.accept(replace(claim, admission=record), Origin.GOSSIP)
