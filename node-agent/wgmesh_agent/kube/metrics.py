"""What an agent tells Prometheus: from one look at the running session to metrics. Pure.

No metric names a peer: with a series for each of them, a mesh of a thousand nodes would have a million. Who is not
heard stands in the WgMeshNode's status, all else in `wgmesh info`.
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
"""Metrics that are exported by their former name as well, for one release."""
PREVIOUS_REASONS = {
    "admission_expired": "admission_past_its_time",
    "admission_not_yet_valid": "admission_before_its_time",
    "gossip_implausible_time": "gossip_impossible",
    "malformed_endpoint_answer": "malformed_whereabouts",
}
"""Values of the label `reason` that metrics by their former name have."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Counters of the mesh's interface, packets inside the tunnels; they begin at 0 with the interface."""

    received_bytes: int
    received_packets: int
    receive_drops: int
    sent_bytes: int
    sent_packets: int
    send_drops: int


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """A session at one moment.

    Attributes:
        peers: everyone bound, as this node sees them.
        expected: how many other members there should be.
        heard: how many of those are heard, as the WgMeshNode's status counts it.
        members: by what gossip says of them.
        refused: claims of other members, by reason.
        traffic: None while the interface is not there.
        probe_period_seconds: how often each peer is probed.
        rejected: units of input from outside, by border and reason.
        components: those that should run; `down` are those of them that do not.
        restarts: how often each has been started again.
        repairs: of the interface, its addresses, routes and rules, and WireGuard's settings.
        roster_age_seconds: since the API server has confirmed the roster; None: it is not known.
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
    """What is known before there is a session."""
    yield InfoMetricFamily("wgmesh_build", "The agent's version.", {"version": version})
    yield CounterMetricFamily(
        "wgmesh_log_lines_lost", "Lines of log that standard error did not take.", lost_lines
    )


def metrics(look: MetricsSnapshot) -> Iterator[Metric]:
    """Everything about a running session; what was renamed also by the name of the previous release."""
    for family in _metrics(look):
        yield family
        if family.name in PREVIOUS_NAMES:
            yield _by_previous_name(family)


def _metrics(look: MetricsSnapshot) -> Iterator[Metric]:
    yield InfoMetricFamily(
        "wgmesh_interface",
        "The mesh's network interface and whose WireGuard it is.",
        {"interface": look.interface, "backend": look.backend},
    )
    yield _gauge("wgmesh_peers_expected", "Other members there should be.", look.expected)
    yield _gauge("wgmesh_peers", "Members this node has as WireGuard peers.", len(look.peers))
    yield _gauge("wgmesh_peers_reachable", "Peers whose probes arrive through the tunnel.", look.reachable)
    yield from _liveness(look)
    relayed = sum(1 for peer in look.peers if peer.relay)
    yield _gauge("wgmesh_peers_relayed", "Members reached through another that relays.", relayed)
    preshared = sum(1 for peer in look.peers if peer.preshared)
    yield _gauge(
        "wgmesh_peers_preshared", "Peers with whom the last handshake had a pre-shared key.", preshared
    )
    yield from _handshakes(look.peers)
    yield _by("wgmesh_members", "Members by what gossip says, this one included.", "status", look.members)
    refused = CounterMetricFamily("wgmesh_claims_rejected", "Claims rejected, by reason.", labels=["reason"])
    for reason, count in sorted(look.refused.items()):
        refused.add_metric([reason], count)
    yield refused
    yield rejected_input(look.rejected)
    yield from _components(look)
    yield CounterMetricFamily(
        "wgmesh_interface_repairs",
        "How often what others changed at the interface was put right.",
        look.repairs,
    )
    if look.roster_age_seconds is not None:
        yield _gauge(
            "wgmesh_roster_age_seconds",
            "How long ago the API server confirmed what this node knows of the mesh's members.",
            look.roster_age_seconds,
        )
    yield _gauge("wgmesh_bootstrap", "1 if this node admits others.", int(look.bootstrap))
    yield _gauge("wgmesh_mtu_bytes", "Bytes a packet inside the mesh may have.", look.mtu)
    paths = [peer.path for peer in look.peers if peer.path is not None]
    narrow = [path.mtu for path in paths if path.mtu is not None and path.is_reduced]
    yield _gauge("wgmesh_peers_mtu_reduced", "Peers to whom less than wgmesh_mtu_bytes passes.", len(narrow))
    yield _gauge("wgmesh_path_mtu_min_bytes", "Bytes that pass to every peer.", min(narrow, default=look.mtu))
    if look.certificate_not_after is not None:
        yield _gauge(
            "wgmesh_certificate_expiry_timestamp_seconds",
            "When this node's certificate ends, in seconds since 1970.",
            look.certificate_not_after.timestamp(),
        )
    if look.traffic is not None:
        yield from _traffic(look.traffic)


def rejected_input(counts: Mapping[tuple[str, str], int]) -> Metric:
    """Counted whether or not there is a session."""
    family = CounterMetricFamily(
        "wgmesh_rejected_input",
        "Units of input from outside that were rejected.",
        labels=["border", "reason"],
    )
    for (border, reason), count in sorted(counts.items()):
        family.add_metric([border, reason], count)
    return family


def read_traffic(table: str, interface: str) -> Traffic | None:
    """The counters of `interface` in the text of /proc/net/dev; None if it is not there."""
    for line in table.splitlines():
        name, _, rest = line.partition(":")
        fields = rest.split()
        if name.strip() == interface and len(fields) >= 12:
            received, sent = [int(field) for field in fields[:8]], [int(field) for field in fields[8:12]]
            return Traffic(received[0], received[1], received[3], sent[0], sent[1], sent[3])
    return None


def _liveness(look: MetricsSnapshot) -> Iterator[Metric]:
    yield _gauge(
        "wgmesh_probe_period_seconds", "How often each peer is probed now.", look.probe_period_seconds
    )
    links = [peer.link for peer in look.peers if peer.link is not None]
    yield _gauge(
        "wgmesh_peers_bidirectional",
        "Reachable peers that confirm receiving from this node.",
        sum(bool(link.peer_receiving) for link in links),
    )
    ages = [link.last_received_seconds_ago for link in links if link.last_received_seconds_ago is not None]
    if ages:
        yield _gauge(
            "wgmesh_probe_age_max_seconds",
            "Age of the oldest last probe of a peer; peers that never sent one are left out.",
            max(ages),
        )


def _components(look: MetricsSnapshot) -> Iterator[Metric]:
    yield _by(
        "wgmesh_component_up",
        "1 for a component of the agent that runs, 0 for one that is to be started again.",
        "component",
        {name: int(name not in look.down) for name in look.components},
    )
    family = CounterMetricFamily(
        "wgmesh_component_restarts", "How often a component was started again.", labels=["component"]
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
        "Peers by their last WireGuard handshake: fresh within 180 s, as traffic makes one every 120 s.",
        "handshake",
        counts,
    )
    known = [age for age in ages if age is not None]
    if known:
        yield _gauge(
            "wgmesh_handshake_age_max_seconds",
            "Age of the oldest last handshake with a peer.",
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
    """The same values by the names that metric and reasons had in the previous release."""
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
