"""Names that others rely on: other versions on the wire, this version after an upgrade, monitoring. They stay.

Names are found anywhere in the code: moving a module changes nothing here. A changed name breaks an upgrade, or a
dashboard.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.kube.metrics_factories import names as metric_names

from wgmesh_agent.mesh.join.decision import DenialReason
from wgmesh_agent.mesh.membership.admission_record import AdmissionFaultReason
from wgmesh_api.agent_pb2 import MemberInfo

AGENT = Path(__file__).parents[2] / "node-agent" / "wgmesh_agent"
WIRE = {
    "_admission",
    "_claim",
    "_doctor",
    "_herald",
    "_relay",
    "_where",
    "_j",
    "_rtt0",
    "_rtt1",
    "_addr",
    "_i",
    "_p",
    "_pk",
    "_port",
    "_psk",
    "_t",
    "_serf_",
    "_serf_conflict",
    "_serf_install-key",
    "_serf_list-keys",
    "_serf_ping",
    "_serf_remove-key",
    "_serf_use-key",
}
FILES = {
    "authorities.pem",
    "clock.json",
    "forwarding.json",
    "identity.key",
    "identity.pem",
    "machine.json",
    "member.uid",
    "members.json",
    "members.json.earlier",
    "mesh.json",
    "wireguard.key",
    "wireguard.key.earlier",
}
METRICS = {
    "wgmesh_build_info",
    "wgmesh_interface_info",
    "wgmesh_peers_expected",
    "wgmesh_peers",
    "wgmesh_peers_reachable",
    "wgmesh_peers_bidirectional",
    "wgmesh_probe_age_max_seconds",
    "wgmesh_probe_period_seconds",
    "wgmesh_peers_relayed",
    "wgmesh_peers_preshared",
    "wgmesh_peers_by_handshake",
    "wgmesh_handshake_age_max_seconds",
    "wgmesh_members",
    "wgmesh_claims_rejected_total",
    "wgmesh_bootstrap",
    "wgmesh_mtu_bytes",
    "wgmesh_peers_mtu_reduced",
    "wgmesh_path_mtu_min_bytes",
    "wgmesh_certificate_expiry_timestamp_seconds",
    "wgmesh_interface_bytes_total",
    "wgmesh_interface_packets_total",
    "wgmesh_interface_dropped_packets_total",
    "wgmesh_log_lines_lost_total",
    "wgmesh_rejected_input_total",
    "wgmesh_component_up",
    "wgmesh_component_restarts_total",
    "wgmesh_interface_repairs_total",
    "wgmesh_roster_age_seconds",
    # for one release, by their former names
    "wgmesh_peers_heard",
    "wgmesh_peers_hearing_us",
    "wgmesh_paths_narrow",
    "wgmesh_path_mtu_least_bytes",
    "wgmesh_oldest_probe_age_seconds",
    "wgmesh_oldest_handshake_age_seconds",
    "wgmesh_refused_claims_total",
}
REASONS = {
    "admission_bad_signature",
    "admission_not_yet_valid",
    "admission_malformed",
    "admission_mismatch",
    "admission_other_mesh",
    "admission_expired",
    "admission_replayed",
    "admission_signer_may_not_admit",
    "admission_unknown_signer",
    "bad_endpoint",
    "bad_key",
    "bad_name",
    "bad_route",
    "bad_secrets",
    "exhausted",
    "key_in_use",
    "name_in_use",
    "not_listed",
    "proof",
    "revoked",
    "token",
    "wrong_identity",
    "wrong_mesh",
}


def constants() -> Iterator[str]:
    """Texts that are given to names at the top of a module or class."""
    for path in AGENT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign):
                values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
                yield from (
                    v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)
                )


@pytest.mark.heavy
def test_names_on_the_wire_stay() -> None:
    assert set(constants()) >= WIRE


@pytest.mark.heavy
def test_files_of_the_state_folder_stay() -> None:
    assert {
        text for text in constants() if re.fullmatch(r"[\w.]+\.(json|key|pem|uid|earlier)", text)
    } >= FILES


def test_metrics_stay() -> None:
    assert metric_names() >= METRICS


def test_reasons_stay() -> None:
    assert {
        *(reason.value for reason in DenialReason),
        *(fault.value for fault in AdmissionFaultReason),
    } >= REASONS


@pytest.mark.parametrize(
    ("name", "number"), [("receiving", 25), ("peerReceiving", 26), ("lastProbeMsecAgo", 41)]
)
def test_renamed_fields_of_the_agents_socket_keep_their_numbers(name: str, number: int) -> None:
    assert MemberInfo.DESCRIPTOR.fields_by_name[name].number == number
