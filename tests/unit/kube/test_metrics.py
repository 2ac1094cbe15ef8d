"""Metrics of an agent, as Prometheus text."""

from __future__ import annotations

import re
from dataclasses import replace

from tests.unit.kube.metrics_factories import LOOK, samples, seen, text

from wgmesh_agent.kube.metrics import Traffic, read_traffic
from wgmesh_agent.mesh.probing.liveness import LinkState

TABLE = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls ...
    lo: 701682608 1501521    0    0    0     0          0         0 701682608 1501521    0    0    0 0 0 0
wgblue: 1000 10 1 2 0 0 0 0 3000 30 4 5 0 0 0 0
wgblues: 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9
"""


PREVIOUS_RELEASE = {
    "wgmesh_peers_heard": 2.0,
    "wgmesh_peers_hearing_us": 1.0,
    "wgmesh_oldest_probe_age_seconds": 70.0,
    "wgmesh_oldest_handshake_age_seconds": 500.0,
    "wgmesh_refused_claims_total reason=name_bound": 2.0,
    "wgmesh_paths_narrow": 1.0,
    "wgmesh_path_mtu_least_bytes": 1216.0,
}
"""What an agent of the previous release exports by names that have changed."""


def test_everything_there_is_to_tell_is_told() -> None:
    assert samples(LOOK) == PREVIOUS_RELEASE | {
        "wgmesh_build_info version=1.2.3": 1,
        "wgmesh_log_lines_lost_total": 0,
        "wgmesh_interface_info backend=kernel interface=wgblue": 1,
        "wgmesh_peers_expected": 4,
        "wgmesh_peers": 3,
        "wgmesh_peers_reachable": 2,
        "wgmesh_peers_bidirectional": 1,
        "wgmesh_probe_age_max_seconds": 70,
        "wgmesh_probe_period_seconds": 2,
        "wgmesh_peers_relayed": 1,
        "wgmesh_peers_preshared": 2,
        "wgmesh_peers_by_handshake handshake=fresh": 1,
        "wgmesh_peers_by_handshake handshake=stale": 1,
        "wgmesh_peers_by_handshake handshake=never": 1,
        "wgmesh_handshake_age_max_seconds": 500,
        "wgmesh_members status=alive": 3,
        "wgmesh_members status=failed": 1,
        "wgmesh_claims_rejected_total reason=name_bound": 2,
        "wgmesh_rejected_input_total border=gossip datagram reason=DecodeError": 3,
        "wgmesh_component_up component=probe": 1,
        "wgmesh_component_up component=reconcile": 0,
        "wgmesh_component_restarts_total component=probe": 0,
        "wgmesh_component_restarts_total component=reconcile": 4,
        "wgmesh_interface_repairs_total": 6,
        "wgmesh_roster_age_seconds": 12,
        "wgmesh_bootstrap": 1,
        "wgmesh_mtu_bytes": 1420,
        "wgmesh_peers_mtu_reduced": 1,
        "wgmesh_path_mtu_min_bytes": 1216,
        "wgmesh_certificate_expiry_timestamp_seconds": 1796083200,
        "wgmesh_interface_bytes_total direction=receive": 1000,
        "wgmesh_interface_bytes_total direction=send": 3000,
        "wgmesh_interface_packets_total direction=receive": 10,
        "wgmesh_interface_packets_total direction=send": 30,
        "wgmesh_interface_dropped_packets_total direction=receive": 2,
        "wgmesh_interface_dropped_packets_total direction=send": 5,
    }


def test_metrics_by_their_former_name_say_that_they_are_deprecated() -> None:
    helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text(LOOK), re.M))
    former = {name.partition(" ")[0] for name in PREVIOUS_RELEASE}
    assert {name for name, said in helps.items() if said.startswith("deprecated: use ")} == former
    assert helps["wgmesh_peers_heard"] == "deprecated: use wgmesh_peers_reachable"
    assert helps["wgmesh_refused_claims_total"] == "deprecated: use wgmesh_claims_rejected_total"
    assert all(helps[name].removeprefix("deprecated: use ") in helps for name in former)


def test_former_metrics_have_the_former_reasons() -> None:
    counts = {
        "admission_expired": 1,
        "admission_not_yet_valid": 2,
        "gossip_implausible_time": 3,
        "malformed_endpoint_answer": 4,
    }
    found = samples(replace(LOOK, refused=counts))
    assert {name: value for name, value in found.items() if "claims" in name} == {
        "wgmesh_claims_rejected_total reason=admission_expired": 1,
        "wgmesh_claims_rejected_total reason=admission_not_yet_valid": 2,
        "wgmesh_claims_rejected_total reason=gossip_implausible_time": 3,
        "wgmesh_claims_rejected_total reason=malformed_endpoint_answer": 4,
        "wgmesh_refused_claims_total reason=admission_past_its_time": 1,
        "wgmesh_refused_claims_total reason=admission_before_its_time": 2,
        "wgmesh_refused_claims_total reason=gossip_impossible": 3,
        "wgmesh_refused_claims_total reason=malformed_whereabouts": 4,
    }


def test_what_is_not_known_is_left_out() -> None:
    found = samples(replace(LOOK, certificate_not_after=None, traffic=None, peers=(), refused={}))
    assert not [
        name
        for name in found
        if "certificate" in name or "interface_bytes" in name or "oldest" in name or "_max_" in name
    ]
    assert found["wgmesh_peers_by_handshake handshake=fresh"] == 0


def test_a_larger_mesh_has_no_more_series() -> None:
    heard = LinkState(1.0, receiving=True, peer_receiving=True)
    larger = replace(LOOK, peers=tuple(seen(f"n{number}", 1.0, heard) for number in range(1000)))
    assert len(samples(larger)) == len(samples(LOOK))
    assert "n999" not in text(larger)


def test_the_counters_are_those_of_the_meshs_own_interface() -> None:
    assert read_traffic(TABLE, "wgblue") == Traffic(1000, 10, 2, 3000, 30, 5)
    assert read_traffic(TABLE, "wgred") is None
    assert read_traffic("", "wgblue") is None
