"""Metrics of an agent: from a snapshot of the running session to Prometheus.

No metric names a peer: with a series for each, a mesh of a thousand nodes would have a million. Unreachable peers are
listed in the WgMeshNode's status, everything else in `wgmesh info`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from wgmesh_agent.kube.node_report import HANDSHAKE_FRESH_SECONDS, PeerObservation

PREVIOUS_NAMES = {
    "wgmesh_peers_reachable": "wgmesh_peers_heard",
    "wgmesh_peers_bidirectional": "wgmesh_peers_hearing_us",
    "wgmesh_peers_mtu_reduced": "wgmesh_paths_narrow",
    "wgmesh_path_mtu_min_bytes": "wgmesh_path_mtu_least_bytes",
    "wgmesh_probe_age_max_seconds": "wgmesh_oldest_probe_age_seconds",
    "wgmesh_handshake_age_max_seconds": "wgmesh_oldest_handshake_age_seconds",
    "wgmesh_claims_rejected": "wgmesh_refused_claims",
}
"""Metrics that are also exported by their former name, for one release."""
PREVIOUS_REASONS = {
    "admission_expired": "admission_past_its_time",
    "admission_not_yet_valid": "admission_before_its_time",
    "gossip_implausible_time": "gossip_impossible",
    "malformed_endpoint_answer": "malformed_whereabouts",
}
"""Values of the label `reason` in metrics by their former name."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Counters of the mesh's interface, packets inside the tunnels; they start at 0 with the interface."""

    received_bytes: int
    received_packets: int
    receive_drops: int
    sent_bytes: int
    sent_packets: int
    send_drops: int


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """Snapshot of a session.

    Attributes:
        peers: all bound members, as this node sees them.
        expected: number of other members expected.
        heard: number of those with a link up, as in the WgMeshNode's status.
        members: number by gossip status.
        refused: rejected claims of other members, by reason.
        traffic: None without the interface.
        probe_period_seconds: interval of probes to each peer.
        rejected: rejected units of input from outside, by border and reason.
        components: the required ones; `down` are those that are not running.
        restarts: number of restarts of each.
        repairs: of the interface, its addresses, routes and rules, and WireGuard's settings.
        roster_age_seconds: since the API server confirmed the roster; None: unknown.
    """

    backend: str
    interface: str
    mtu: int
    bootstrap: bool
    peers: tuple[PeerObservation, ...]
    expected: int
    reachable: int
    members: Mapping[str, int]
    refused: Mapping[str, int]
    certificate_not_after: datetime | None
    traffic: Traffic | None
    probe_period_seconds: float = 0.0
    rejected: Mapping[tuple[str, str], int] = field(default_factory=dict)
    components: Set[str] = frozenset()
    down: Set[str] = frozenset()
    restarts: Mapping[str, int] = field(default_factory=dict)
    repairs: int = 0
    roster_age_seconds: float | None = None


def build(version: str, lost_lines: int) -> Iterator[Metric]:
    """Metrics that exist without a session."""
    yield InfoMetricFamily("wgmesh_build", "The agent's version.", {"version": version})
    yield CounterMetricFamily(
        "wgmesh_log_lines_lost", "Log lines that standard error did not accept.", lost_lines
    )


def metrics(look: MetricsSnapshot) -> Iterator[Metric]:
    """All metrics of a running session; renamed ones also by their former names."""
    for family in _metrics(look):
        yield family
        if family.name in PREVIOUS_NAMES:
            yield _by_previous_name(family)


def _metrics(look: MetricsSnapshot) -> Iterator[Metric]:
    yield InfoMetricFamily(
        "wgmesh_interface",
        "Name of the mesh's interface, and its WireGuard backend.",
        {"interface": look.interface, "backend": look.backend},
    )
    yield _gauge("wgmesh_peers_expected", "Number of other members expected.", look.expected)
    yield _gauge("wgmesh_peers", "Members that are WireGuard peers of this node.", len(look.peers))
    yield _gauge(
        "wgmesh_peers_reachable",
        ("Expected peers with a link up: their probes arrive through the tunnel."),
        look.reachable,
    )
    yield from _liveness(look)
    relayed = sum(1 for peer in look.peers if peer.relay)
    yield _gauge("wgmesh_peers_relayed", "Members reached via a relay.", relayed)
    preshared = sum(1 for peer in look.peers if peer.preshared)
    yield _gauge("wgmesh_peers_preshared", "Peers whose last handshake used a pre-shared key.", preshared)
    yield from _handshakes(look.peers)
    yield _by("wgmesh_members", "Members by gossip status, including this one.", "status", look.members)
    refused = CounterMetricFamily("wgmesh_claims_rejected", "Rejected claims, by reason.", labels=["reason"])
    for reason, count in sorted(look.refused.items()):
        refused.add_metric([reason], count)
    yield refused
    yield rejected_input(look.rejected)
    yield from _components(look)
    yield CounterMetricFamily(
        "wgmesh_interface_repairs",
        "Repairs of foreign changes to the interface.",
        look.repairs,
    )
    if look.roster_age_seconds is not None:
        yield _gauge(
            "wgmesh_roster_age_seconds",
            "Time since the API server confirmed this node's roster.",
            look.roster_age_seconds,
        )
    yield _gauge("wgmesh_bootstrap", "1 if this node admits members.", int(look.bootstrap))
    yield _gauge("wgmesh_mtu_bytes", "MTU of the mesh interface.", look.mtu)
    paths = [peer.path for peer in look.peers if peer.path is not None]
    narrow = [path.mtu for path in paths if path.mtu is not None and path.is_reduced]
    yield _gauge("wgmesh_peers_mtu_reduced", "Peers with a path MTU below wgmesh_mtu_bytes.", len(narrow))
    yield _gauge(
        "wgmesh_path_mtu_min_bytes", "Lowest path MTU from this node.", min(narrow, default=look.mtu)
    )
    if look.certificate_not_after is not None:
        yield _gauge(
            "wgmesh_certificate_expiry_timestamp_seconds",
            "Expiry time of this node's certificate, in seconds since 1970.",
            look.certificate_not_after.timestamp(),
        )
    if look.traffic is not None:
        yield from _traffic(look.traffic)


def rejected_input(counts: Mapping[tuple[str, str], int]) -> Metric:
    """Counted independently of sessions."""
    family = CounterMetricFamily(
        "wgmesh_rejected_input",
        "Rejected units of input from outside.",
        labels=["border", "reason"],
    )
    for (border, reason), count in sorted(counts.items()):
        family.add_metric([border, reason], count)
    return family


def read_traffic(table: str, interface: str) -> Traffic | None:
    """The counters of `interface` in the text of /proc/net/dev; None without the interface."""
    for line in table.splitlines():
        name, _, rest = line.partition(":")
        fields = rest.split()
        if name.strip() == interface and len(fields) >= 12:
            received, sent = [int(field) for field in fields[:8]], [int(field) for field in fields[8:12]]
            return Traffic(received[0], received[1], received[3], sent[0], sent[1], sent[3])
    return None


def _liveness(look: MetricsSnapshot) -> Iterator[Metric]:
    yield _gauge("wgmesh_probe_period_seconds", "Interval of probes to each peer.", look.probe_period_seconds)
    links = [peer.link for peer in look.peers if peer.link is not None]
    yield _gauge(
        "wgmesh_peers_bidirectional",
        "Peers with a link up in both directions.",
        sum(bool(link.peer_receiving) for link in links),
    )
    ages = [link.last_received_seconds_ago for link in links if link.last_received_seconds_ago is not None]
    if ages:
        yield _gauge(
            "wgmesh_probe_age_max_seconds",
            "Age of the oldest most recent probe over all peers that have sent one.",
            max(ages),
        )


def _components(look: MetricsSnapshot) -> Iterator[Metric]:
    yield _by(
        "wgmesh_component_up",
        "1 for a running component of the agent, 0 for one that awaits its restart.",
        "component",
        {name: int(name not in look.down) for name in look.components},
    )
    family = CounterMetricFamily(
        "wgmesh_component_restarts", "Restarts of a component.", labels=["component"]
    )
    for name in sorted(look.components):
        family.add_metric([name], look.restarts.get(name, 0))
    yield family


def _handshakes(peers: Iterable[PeerObservation]) -> Iterator[Metric]:
    ages = [peer.handshake_seconds_ago for peer in peers]
    counts = {
        "fresh": sum(age is not None and age <= HANDSHAKE_FRESH_SECONDS for age in ages),
        "stale": sum(age is not None and age > HANDSHAKE_FRESH_SECONDS for age in ages),
        "never": ages.count(None),
    }
    yield _by(
        "wgmesh_peers_by_handshake",
        "Peers by their last WireGuard handshake: fresh within 180 s, because traffic causes one every 120 s.",
        "handshake",
        counts,
    )
    known = [age for age in ages if age is not None]
    if known:
        yield _gauge(
            "wgmesh_handshake_age_max_seconds",
            "Age of the oldest most recent handshake over all peers.",
            max(known),
        )


def _traffic(traffic: Traffic) -> Iterator[Metric]:
    for name, what, received, sent in (
        ("bytes", "Bytes", traffic.received_bytes, traffic.sent_bytes),
        ("packets", "Packets", traffic.received_packets, traffic.sent_packets),
        ("dropped_packets", "Packets dropped", traffic.receive_drops, traffic.send_drops),
    ):
        family = CounterMetricFamily(
            f"wgmesh_interface_{name}", f"{what} at the mesh's interface.", labels=["direction"]
        )
        family.add_metric(["receive"], received)
        family.add_metric(["send"], sent)
        yield family


def _by_previous_name(family: Metric) -> Metric:
    """The same values by the former names of metric and reasons."""
    suffix = "_total" if family.type == "counter" else ""
    name = PREVIOUS_NAMES[family.name]
    copy = Metric(name, f"deprecated: use {family.name}{suffix}", family.type)
    for sample in family.samples:
        labels = dict(sample.labels)
        if "reason" in labels:
            labels["reason"] = PREVIOUS_REASONS.get(labels["reason"], labels["reason"])
        copy.add_sample(name + suffix, labels, sample.value)
    return copy


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, value)


def _by(name: str, what: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, what, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family
