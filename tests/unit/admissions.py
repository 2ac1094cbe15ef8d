"""An admission service without TLS, which requires no records."""

from __future__ import annotations

import os

from tests.unit.clock import TestClock
from tests.unit.factories import mesh_record
from tests.unit.local import local_node

from wgmesh_agent.mesh.membership.admissions import AdmissionService
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.mesh.membership.missing_records import MissingRecords
from wgmesh_agent.mesh.membership.policy import MembershipPolicy
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.wireguard.keys import PrivateKey


def admission_service(
    ledger: Ledger,
    rejections: RejectionLog,
    policy: MembershipPolicy,
    record: MeshRecord | None = None,
) -> AdmissionService:
    """For the node of `record`."""
    local = local_node(record or mesh_record(), PrivateKey.generate(os.urandom))
    return AdmissionService(
        local, None, None, ledger, MissingRecords(Signal()), rejections, policy, TestClock()
    )
