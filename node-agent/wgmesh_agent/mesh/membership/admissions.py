"""Admission records at work: made if this node may, checked before gossip binds anybody, asked for when missing."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.gossip.serf.events import QueryReceived
from wgmesh_agent.mesh.credentials import Credentials, TLSFiles
from wgmesh_agent.mesh.membership.admission_record import (
    AdmissionFaultReason,
    AdmissionRecord,
    InvalidAdmission,
    Signer,
    Verifier,
    newest,
)
from wgmesh_agent.mesh.membership.claims import Binding, Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger, are_compatible_addresses
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.mesh.membership.policy import CLOSED, MembershipPolicy
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.runtime.backoff import Backoff, jittered
from wgmesh_agent.runtime.change_signal import Signal

log = structlog.get_logger()
ADMISSION_QUERY = "_admission"
MAX_QUERY_RESPONSE_BYTES = 16 * 1024
QUERY_TIMEOUT_SECONDS = 2.0
BACKOFF = Backoff(first_seconds=1.0, longest_seconds=60.0)
MAX_MISSING = 1024
MAX_ATTEMPTS = 8
REPORT_MISSING_AFTER = 2
MAX_CONCURRENT_QUERIES = 16
QUERIED_BOOTSTRAPS = 3
RELAY_FACTOR = 3


@dataclass(slots=True)
class _MissingRecord:
    """A claim that waits for its record."""

    claim: Claim
    asked: int = 0
    due: float = 0.0
    retry_now: bool = False


class AdmissionService:
    """What this node knows of who was admitted; without TLS: nothing, and nothing is required."""

    def __init__(
        self,
        record: MeshRecord,
        trust: Credentials | None,
        signer: Credentials | None,
        ledger: Ledger,
        refusals: RejectionLog,
        policy: MembershipPolicy = CLOSED,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """
        Args:
            trust: whose authorities signers' certificates chain to.
            signer: a bootstrap node's own; None on a plain node.
        """
        self._mesh = record.mesh
        self._own = record.admission
        self._trust = trust
        self._signs_as = signer
        self._ledger = ledger
        self._refusals = refusals
        self._policy = policy
        self._clock = clock
        self._verifier: tuple[bytes, Verifier] | None = None
        self._signer: tuple[TLSFiles, Signer | None] | None = None
        self._missing: dict[str, _MissingRecord] = {}
        self._news = Signal()
        may = signer is None or self._own_signer() is not None
        self.required = trust is not None and record.requires_admission and may
        for binding in ledger:
            self.strip_unverified(binding.claim)

    def may_admit(self, node: str) -> bool:
        """Whether a member is known to be a bootstrap node: by a record that it signed, where there are records.

        Its own tags say it, too, and prove nothing. A bootstrap node that has not admitted anybody yet is not known.
        """
        binding = self._ledger.by_name(node)
        if binding is None or not binding.claim.bootstrap:
            return False
        if not self.required or self._trust is None:
            return True
        admitting = self._verifier_of(self._trust).admitting()
        return admitting is None or node in admitting

    def verify(self, claim: Claim) -> tuple[Claim, bool] | None:
        """What to make of hearsay: the claim to accept, and whether it overrides what is bound.

        None, counted and logged, if the claim needs a record and has none that is believed.
        """
        record = claim.admission
        claim = replace(claim, admission=None, routes=None)
        if not self.required:
            return claim, False
        if record is not None:
            try:
                return self._verified(claim, record)
            except InvalidAdmission as error:
                if error.reason is AdmissionFaultReason.UNKNOWN_SIGNER and not record.certificates:
                    self._miss(claim)
                else:
                    self._refusals.record(error.reason.value, str(error))
                return None
        # Whatever else is wrong with it, the ledger says in better words.
        if self._ledger.by_key(claim.public_key) is not None or self._ledger.rejection_of(claim):
            return claim, False
        self._miss(claim)
        return None

    def strip_unverified(self, claim: Claim) -> Claim:
        """A claim from somebody authenticated; its record goes with it only if it is believed."""
        record = claim.admission
        if record is None or self._trust is None:
            return claim
        claim = replace(claim, routes=record.routes)
        if self._verifier_of(self._trust).knows(record.signer):
            return claim
        try:
            self._verify(record)
        except InvalidAdmission as error:
            log.debug("admission record left out", node=claim.node, why=str(error))
            return replace(claim, admission=None, routes=None)
        return claim

    def record_for_peer(self, claim: Claim) -> Claim:
        """The claim with a record to pass on: the newest there is, or one made here when that grows old.

        What is signed for a bound member is kept with it.
        """
        binding = self._ledger.by_key(claim.public_key)
        record = newest(claim.admission, binding.claim.admission if binding else None)
        if claim.node:
            routes = claim.routes or ()
            if claim.node != self._ledger.local.node:
                routes = self._policy.allowed_routes(claim.node, routes)
            if record is None or not record.is_fresh(self._clock()) or record.routes != routes:
                signed = self.issue(replace(claim, routes=routes))
                if signed is not None:
                    record, claim = signed, replace(claim, routes=routes)
        vouched = claim if record is claim.admission else replace(claim, admission=record)
        if binding is not None and record is not binding.claim.admission:
            self._ledger.accept(vouched, binding.origin, binding.since)
        return vouched

    def local_record(self, claim: Claim) -> Claim:
        """This node's own claim with its record."""
        vouched = self.record_for_peer(replace(claim, admission=self._own))
        self._own = vouched.admission
        return vouched

    def issue(self, claim: Claim) -> AdmissionRecord | None:
        """A record of this node's own making, from now on; None if it may make none."""
        signer = self._own_signer() if self.required else None
        if signer is None:
            return None
        # A clock here that is behind that of the roster makes nobody older than its own entry.
        now, made = self._clock(), self._policy.member_since(claim.node)
        now = now if made is None else max(now, made)
        return signer.sign(self._mesh, claim.node, claim.public_key, claim.addresses, now, claim.routes or ())

    def replace_local_record(self, record: AdmissionRecord | None) -> None:
        """This node has another key, and this is its record from now on; None: it is still to be told."""
        self._own = record

    def settled(self, node: str) -> None:
        """The member is bound, or has gone: what is still asked of it must not bind it again."""
        self._missing.pop(node, None)

    def ask_now(self) -> None:
        """A bootstrap node is back: it may know who was asked for in vain."""
        for missing in self._missing.values():
            missing.due, missing.retry_now = 0.0, True
        if self._missing:
            self._news.notify()

    def lacking(self) -> list[Claim]:
        """Whoever is not bound because nobody asked has shown a record."""
        return [missing.claim for missing in self._missing.values() if missing.asked]

    def is_crowded(self) -> bool:
        """Whether more members lack a record than are asked about at once."""
        return len(self._missing) > MAX_CONCURRENT_QUERIES

    def answer_query(self, request: QueryReceived, own: Claim) -> bytes | None:
        """To the query `_admission`: the record of the member named."""
        node = request.payload.decode("ascii", "replace")
        if node == own.node:
            vouched = self.local_record(own)
        else:
            binding = self._ledger.by_name(node)
            if binding is None:
                return None
            vouched = self.record_for_peer(binding.claim)
        return vouched.admission.to_bytes() if vouched.admission else None

    async def run(
        self,
        changes: Signal,
        gossip: GossipNode,
        bootstraps: Callable[[], Sequence[str]],
        accept: Callable[[Claim, Origin], bool],
    ) -> None:
        """Asks for missing records: the member itself and a few bootstrap nodes, ever more seldom."""
        while True:
            generation = self._news.generation
            now = time.monotonic()
            due = sorted((m for m in self._missing.values() if m.due <= now), key=lambda m: m.asked)
            if due:
                alive = bootstraps()
                # Where all members must pass on what a crowd of invented ones is asked about, one at a time is enough.
                asked = due[: MAX_CONCURRENT_QUERIES if alive or not self.is_crowded() else 1]
                for missing in asked:
                    missing.retry_now = False
                found = await asyncio.gather(*(self._ask(gossip, m.claim, alive, accept) for m in asked))
                for missing, is_found in zip(asked, found, strict=True):
                    self._asked(missing, is_found=is_found)
                changes.notify()
            else:
                waits = [m.due - now for m in self._missing.values()]
                await self._news.wait_after(generation, min(waits, default=BACKOFF.longest_seconds))

    def _asked(self, missing: _MissingRecord, *, is_found: bool) -> None:
        node = missing.claim.node
        missing.asked += 1
        pause = jittered(BACKOFF.seconds(missing.asked))
        missing.due = 0.0 if missing.retry_now else time.monotonic() + pause
        if not is_found and missing.asked == REPORT_MISSING_AFTER:
            self._refusals.record("admission_missing", f"nobody has an admission record of {node}")
        if is_found or missing.asked > MAX_ATTEMPTS or self._ledger.by_name(node):
            # Whoever lives is heard of again, and asked for again.
            self._missing.pop(node, None)

    async def _ask(
        self,
        gossip: GossipNode,
        claim: Claim,
        bootstraps: Sequence[str],
        accept: Callable[[Claim, Origin], bool],
    ) -> bool:
        some = random.sample(list(bootstraps), min(len(bootstraps), QUERIED_BOOTSTRAPS))
        direct = bool(some) and self.is_crowded()
        nodes = some if direct else list(dict.fromkeys((*some, claim.node)))

        def settled(answer: bytes) -> bool:
            return claim.node not in self._missing or self._take(claim, answer, accept)

        try:
            # Whom we have not bound cannot answer us through a tunnel: others bring its answer. In a crowd bootstrap
            # nodes are asked straight: all members would pass on eight questions a second of each node about nobody.
            await gossip.query(
                ADMISSION_QUERY, claim.node.encode(), nodes=nodes, timeout=QUERY_TIMEOUT_SECONDS,
                relay_factor=RELAY_FACTOR, enough=settled, direct=direct,
            )  # fmt: skip
        except GossipError as error:
            log.warning("admission record not asked for", node=claim.node, why=str(error))
            return False
        return claim.node not in self._missing

    def _take(self, claim: Claim, answer: bytes, accept: Callable[[Claim, Origin], bool]) -> bool:
        try:
            record = AdmissionRecord.from_bytes(answer)
        except InvalidAdmission as error:
            self._refusals.record(error.reason.value, str(error))
            return False
        return accept(replace(claim, admission=record), Origin.GOSSIP)

    def _verified(self, claim: Claim, record: AdmissionRecord) -> tuple[Claim, bool]:
        rivals = self._ledger.conflicting_bindings(claim)
        bound = self._ledger.by_key(claim.public_key)
        if bound is not None and not rivals and _holds(bound, record):
            return claim, False
        record = self._verify(record)
        if (
            record.public_key != claim.public_key
            or (claim.node and record.node != claim.node)
            or not are_compatible_addresses(claim.addresses, record.addresses)
        ):
            raise InvalidAdmission(
                AdmissionFaultReason.MISMATCH,
                f"{claim.node or claim.public_key} shows a record that vouches for something else",
            )
        made = self._policy.member_since(record.node)
        if made is not None and not record.is_since(made):
            raise InvalidAdmission(
                AdmissionFaultReason.REPLAYED,
                f"{record.node} shows a record that is older than the member of that name, which was made anew",
            )
        for rival in rivals:
            is_expected = self._policy.announced_key(record.node) == record.public_key
            if (rival.origin is Origin.ROSTER and not is_expected) or _holds(rival, record):
                raise InvalidAdmission(
                    AdmissionFaultReason.REPLAYED,
                    f"{record.node} shows a record that is older than what {rival.claim.node} is bound by",
                )
        claim = replace(claim, node=record.node, addresses=record.addresses, admission=record)
        return replace(claim, routes=record.routes), True

    def _verify(self, record: AdmissionRecord) -> AdmissionRecord:
        assert self._trust is not None
        return self._verifier_of(self._trust).verify(record, self._clock())

    def _verifier_of(self, trust: Credentials) -> Verifier:
        """For the authorities as they are now."""
        authorities = trust.files.authorities
        if self._verifier is None or self._verifier[0] != authorities:
            self._verifier = (authorities, Verifier(self._mesh, authorities))
        return self._verifier[1]

    def _own_signer(self) -> Signer | None:
        """With the certificate as it is now; None if there is none that says that it may admit."""
        if self._signs_as is None:
            return None
        files = self._signs_as.files
        if self._signer is None or self._signer[0] is not files:
            self._signer = (files, self._made_signer(files))
        return self._signer[1]

    def _made_signer(self, files: TLSFiles) -> Signer | None:
        try:
            signer = Signer(files.key, files.certificate)
            Verifier(self._mesh, files.authorities).check_signer(signer.chain, self._clock())
        except (ValueError, InvalidAdmission) as error:
            log.warning("admission records cannot be made", why=str(error),
                        next="members are bound by whoever names them first")  # fmt: skip
            return None
        return signer

    def _miss(self, claim: Claim) -> None:
        if claim.node in self._missing:
            self._missing[claim.node].claim = claim
        elif claim.node and len(self._missing) < MAX_MISSING:
            self._missing[claim.node] = _MissingRecord(claim)
            self._news.notify()
        log.debug("admission record missing", node=claim.node, pubkey=str(claim.public_key))


def _holds(bound: Binding, record: AdmissionRecord) -> bool:
    """Whether what is bound is at least as new as the record."""
    if bound.claim.admission is not None:
        return bound.claim.admission.not_before >= record.not_before
    return bound.since * 1e6 >= record.not_before
