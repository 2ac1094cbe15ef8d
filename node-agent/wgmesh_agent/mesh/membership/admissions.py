"""Admission service: issues admission records if this node may, and verifies them before gossip binds a member."""

from __future__ import annotations

from dataclasses import replace

import structlog

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
from wgmesh_agent.mesh.membership.local_node import LocalNode
from wgmesh_agent.mesh.membership.missing_records import MissingRecords
from wgmesh_agent.mesh.membership.policy import MembershipPolicy
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.runtime.clock import Clock

log = structlog.get_logger()
ADMISSION_QUERY = "_admission"
MAX_QUERY_RESPONSE_BYTES = 16 * 1024


class AdmissionService:
    """The admission records known to this node; without TLS there are none, and none is required."""

    def __init__(
        self,
        local: LocalNode,
        trust: Credentials | None,
        signer: Credentials | None,
        ledger: Ledger,
        missing: MissingRecords,
        refusals: RejectionLog,
        policy: MembershipPolicy,
        clock: Clock,
    ) -> None:
        """
        Args:
            local: its record contains this node's own admission record.
            trust: its CAs are those that signers' certificates chain to.
            signer: a bootstrap node's own; None on a plain node.
            missing: receives claims that are not bound because their record is missing.
        """
        self._local = local
        self._mesh = local.record.mesh
        self.missing = missing
        self._trust = trust
        self._signs_as = signer
        self._ledger = ledger
        self._refusals = refusals
        self._policy = policy
        self._clock = clock
        self._verifier: tuple[bytes, Verifier] | None = None
        self._signer: tuple[TLSFiles, Signer | None] | None = None
        may = signer is None or self._own_signer() is not None
        self.required = trust is not None and local.record.requires_admission and may
        for binding in ledger:
            self.strip_unverified(binding.claim)

    def may_admit(self, node: str) -> bool:
        """Whether a member is known to be a bootstrap node: by a record that it signed, if the mesh has records.

        Its own tags claim it too, and prove nothing. A bootstrap node that has not admitted any member yet is not
        known.
        """
        binding = self._ledger.by_name(node)
        if binding is None or not binding.claim.bootstrap:
            return False
        if not self.required or self._trust is None:
            return True
        admitting = self._verifier_of(self._trust).admitting()
        return admitting is None or node in admitting

    def verify(self, claim: Claim) -> tuple[Claim, bool] | None:
        """Evaluates a claim that is not authenticated: the claim to accept, and whether it overrides existing bindings.

        Returns None, and counts and logs it, if the claim requires a record and has no valid one.
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
        # The ledger reports any other fault of the claim more precisely.
        if self._ledger.by_key(claim.public_key) is not None or self._ledger.rejection_of(claim):
            return claim, False
        self._miss(claim)
        return None

    def strip_unverified(self, claim: Claim) -> Claim:
        """A claim from an authenticated source; its record is kept only if it is valid."""
        record = claim.admission
        if record is None or self._trust is None:
            return claim
        claim = replace(claim, routes=record.routes)
        if self._verifier_of(self._trust).knows(record.signer):
            return claim
        try:
            self._verify(record)
        except InvalidAdmission as error:
            log.debug("admission record ignored", node=claim.node, error=str(error))
            return replace(claim, admission=None, routes=None)
        return claim

    def record_for_peer(self, claim: Claim) -> Claim:
        """The claim with a record to forward: the newest known, or one issued here if that is old.

        A record signed for a bound member is stored with its binding.
        """
        binding = self._ledger.by_key(claim.public_key)
        record = newest(claim.admission, binding.claim.admission if binding else None)
        if claim.node:
            routes = claim.routes or ()
            if claim.node != self._ledger.local.node:
                routes = self._policy.allowed_routes(claim.node, routes)
            if record is None or not record.is_fresh(self._clock.now()) or record.routes != routes:
                signed = self.issue(replace(claim, routes=routes))
                if signed is not None:
                    record, claim = signed, replace(claim, routes=routes)
        vouched = claim if record is claim.admission else replace(claim, admission=record)
        if binding is not None and record is not binding.claim.admission:
            self._ledger.accept(vouched, binding.origin, binding.since)
        return vouched

    def local_record(self) -> Claim:
        """This node's own claim with its record."""
        before = self._local.record.admission
        vouched = self.record_for_peer(replace(self._local.claim(), admission=before))
        if vouched.admission is not before:
            self._local.update_record(admission=vouched.admission)
        return vouched

    def issue(self, claim: Claim) -> AdmissionRecord | None:
        """A newly issued record of this node, or None if it may not issue one."""
        signer = self._own_signer() if self.required else None
        if signer is None:
            return None
        # A clock that is behind the roster's must not make a member older than its own roster entry.
        now, made = self._clock.now(), self._policy.member_since(claim.node)
        now = now if made is None else max(now, made)
        return signer.sign(self._mesh, claim.node, claim.public_key, claim.addresses, now, claim.routes or ())

    def answer_query(self, request: QueryReceived) -> bytes | None:
        """Answers the query `_admission`: the record of the given member."""
        node = request.payload.decode("ascii", "replace")
        if node == self._local.node:
            vouched = self.local_record()
        else:
            binding = self._ledger.by_name(node)
            if binding is None:
                return None
            vouched = self.record_for_peer(binding.claim)
        return vouched.admission.to_bytes() if vouched.admission else None

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
                f"{claim.node or claim.public_key} sends a record of another binding",
            )
        made = self._policy.member_since(record.node)
        if made is not None and not record.is_since(made):
            raise InvalidAdmission(
                AdmissionFaultReason.REPLAYED,
                f"{record.node} sends a record that is older than the re-created member of that name",
            )
        for rival in rivals:
            is_expected = self._policy.announced_key(record.node) == record.public_key
            if (rival.origin is Origin.ROSTER and not is_expected) or _holds(rival, record):
                raise InvalidAdmission(
                    AdmissionFaultReason.REPLAYED,
                    f"{record.node} sends a record that is older than the binding of {rival.claim.node}",
                )
        claim = replace(claim, node=record.node, addresses=record.addresses, admission=record)
        return replace(claim, routes=record.routes), True

    def _verify(self, record: AdmissionRecord) -> AdmissionRecord:
        assert self._trust is not None
        return self._verifier_of(self._trust).verify(record, self._clock.now())

    def _verifier_of(self, trust: Credentials) -> Verifier:
        """A verifier for the current CAs."""
        authorities = trust.files.authorities
        if self._verifier is None or self._verifier[0] != authorities:
            self._verifier = (authorities, Verifier(self._mesh, authorities))
        return self._verifier[1]

    def _own_signer(self) -> Signer | None:
        """A signer with the current certificate; None if there is none that permits it to admit."""
        if self._signs_as is None:
            return None
        files = self._signs_as.files
        if self._signer is None or self._signer[0] is not files:
            self._signer = (files, self._made_signer(files))
        return self._signer[1]

    def _made_signer(self, files: TLSFiles) -> Signer | None:
        try:
            signer = Signer(files.key, files.certificate)
            Verifier(self._mesh, files.authorities).check_signer(signer.chain, self._clock.now())
        except (ValueError, InvalidAdmission) as error:
            log.warning(
                "cannot issue admission records",
                error=str(error),
                next="members are bound by their first claim",
            )
            return None
        return signer

    def _miss(self, claim: Claim) -> None:
        self.missing.add(claim)
        log.debug("admission record missing", node=claim.node, pubkey=str(claim.public_key))


def _holds(bound: Binding, record: AdmissionRecord) -> bool:
    """Whether the existing binding is at least as new as the record."""
    if bound.claim.admission is not None:
        return bound.claim.admission.not_before >= record.not_before
    return bound.since * 1e6 >= record.not_before
