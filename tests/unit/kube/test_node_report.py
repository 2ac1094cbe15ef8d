"""The agent's report: counts links that are up, names down ones, and is stable without changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tests.unit.kube.harness import make_authority, tls_files

from wgmesh_agent.kube.node_report import (
    PeerObservation,
    build_report,
    expected_peers,
    has_changed,
    with_certificate,
    with_time,
)
from wgmesh_agent.mesh.probing.liveness import LinkState
from wgmesh_agent.mesh.probing.path_mtu import PathMTU
from wgmesh_api.report import NodeReport, read_report

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def peer(name: str, *, heard: bool = True, ago: float | None = 1.0) -> PeerObservation:
    return PeerObservation(name, True, False, LinkState(ago, heard, heard), 5.0, "key", "192.0.2.1:54540")


def test_heard_peers_are_counted_and_silent_ones_named() -> None:
    found = build_report(NodeReport(), [peer("b"), peer("c", heard=False, ago=47.0)], {"b", "c", "d"}, {})
    assert (found.heard, found.expected) == (1, 3)
    assert found.worst == (("c", "no probe for 40s"), ("d", "not joined yet"))


def test_the_narrowest_paths_are_named_and_all_counted() -> None:
    mtus = {"b": 1300, "c": 1216, "d": 1440, "e": 1280, "f": 600, "g": 1000, "h": 700}
    peers = [replace(peer(name), path=PathMTU(mtu, 1440)) for name, mtu in mtus.items()]
    found = build_report(
        NodeReport(), [*peers, replace(peer("x"), path=PathMTU(None, 1440))], {*mtus, "x"}, {}
    )
    assert found.narrow_count == 6
    assert found.narrow == (("f", 600), ("h", 700), ("g", 1000), ("c", 1216), ("e", 1280))


def test_relayed_peers_are_heard_peers_and_counted_apart() -> None:
    through = [replace(peer("b"), relay="r"), replace(peer("c", heard=False), relay="r"), peer("r")]
    found = build_report(NodeReport(), through, {"b", "c", "r"}, {})
    assert (found.heard, found.relayed, found.expected) == (2, 1, 3)
    assert read_report(found.to_status()).relayed == 1


def test_peers_with_a_pre_shared_key_are_counted_while_they_are_heard() -> None:
    seen = [replace(peer("b"), preshared=True), replace(peer("c", heard=False), preshared=True), peer("d")]
    outside = replace(peer("x"), secret_ids=("01020304",))
    found = build_report(NodeReport(secret_ids=("0a0b0c0d",)), [*seen, outside], {"b", "c", "d"}, {"x": "u"})
    read = read_report(found.to_status())
    assert (read.heard, read.preshared, read.secret_ids) == (2, 1, ("0a0b0c0d",))
    assert read.externals[0].secret_ids == ("01020304",)


def test_no_more_than_five_are_named() -> None:
    assert len(build_report(NodeReport(), [], {f"n{n}" for n in range(100)}, {}).worst) == 5


def test_a_peer_without_probes_counts_by_gossip_and_handshake() -> None:
    old = PeerObservation("b", True, False, None, 60.0, "key", "")
    stale = PeerObservation("c", True, False, None, 600.0, "key", "")
    dead = PeerObservation("d", False, True, None, 1.0, "key", "")
    found = build_report(NodeReport(), [old, stale, dead], {"b", "c", "d"}, {})
    assert found.heard == 1
    assert found.failed == 1


def test_silence_that_goes_on_changes_the_report_only_now_and_then() -> None:
    reports = [
        build_report(NodeReport(), [peer("b", heard=False, ago=float(ago))], {"b"}, {})
        for ago in range(10, 60)
    ]
    assert len(set(reports)) == 5


def test_only_known_externals_are_reported() -> None:
    found = build_report(NodeReport(), [peer("x"), peer("b")], {"x", "y", "b"}, {"x": "u", "y": "v"})
    assert [(external.node, external.uid) for external in found.externals] == [("x", "u")]


def test_the_time_of_writing_is_no_news() -> None:
    first = with_time(NodeReport(phase="Joined", ready=True), None, NOW)
    again = with_time(NodeReport(phase="Joined", ready=True), first, NOW + timedelta(hours=1))
    assert not has_changed(again, first)
    assert again.ready_since == NOW
    fallen = with_time(NodeReport(phase="Joined", ready=False), first, NOW + timedelta(hours=2))
    assert has_changed(fallen, first)
    assert fallen.ready_since == NOW + timedelta(hours=2)


def test_what_is_written_reads_back_the_same() -> None:
    written = with_time(
        build_report(
            NodeReport(phase="Joined", ready=True, ready_reason="Joined", ready_message="a member"),
            [peer("b")],
            {"b"},
            {"b": "u"},
        ),
        None,
        NOW,
    )
    back = read_report(written.to_status())
    assert not has_changed(written, back)


def test_this_node_expects_everybody_but_itself() -> None:
    assert expected_peers({"a": False, "b": False, "x": True}, "a") == (
        frozenset({"b", "x"}),
        frozenset({"x"}),
    )


def test_authorities_that_cannot_be_read_are_reported_as_none() -> None:
    leaf = tls_files(make_authority()).leaf()
    assert with_certificate(NodeReport(), leaf, b"moon").trusted == ()
