"""A snapshot of a session in which every field has a value, and its Prometheus text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from wgmesh_agent.kube.metrics import MetricsSnapshot, Traffic, build, metrics
from wgmesh_agent.kube.node_report import PeerObservation
from wgmesh_agent.mesh.probing.liveness import LinkState
from wgmesh_agent.mesh.probing.path_mtu import PathMTU


def seen(node: str, handshake: float | None, link: LinkState | None = None) -> PeerObservation:
    return PeerObservation(
        node, alive=True, failed=False, link=link, handshake_seconds_ago=handshake, public_key="", endpoint=""
    )


def narrow(node: str, handshake: float, link: LinkState) -> PeerObservation:
    return replace(seen(node, handshake, link), path=PathMTU(1216, 1420))


LOOK = MetricsSnapshot(
    backend="kernel",
    interface="wgblue",
    mtu=1420,
    bootstrap=True,
    peers=(
        replace(
            narrow("b", 12.5, LinkState(1.5, receiving=True, peer_receiving=True)), relay="c", preshared=True
        ),
        replace(seen("c", 500.0, LinkState(70.0, receiving=False, peer_receiving=None)), preshared=True),
        seen("d", None),
    ),
    expected=4,
    reachable=2,
    members={"alive": 3, "failed": 1},
    refused={"name_bound": 2},
    certificate_not_after=datetime(2026, 12, 1, tzinfo=UTC),
    traffic=Traffic(1000, 10, 2, 3000, 30, 5),
    probe_period_seconds=2.0,
    rejected={("gossip datagram", "DecodeError"): 3},
    components=frozenset({"probe", "reconcile"}),
    down=frozenset({"reconcile"}),
    restarts={"reconcile": 4},
    repairs=6,
    roster_age_seconds=12.0,
)


class Once(Collector):
    def __init__(self, look: MetricsSnapshot) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        yield from build("1.2.3", 0)
        yield from metrics(self._look)


def text(look: MetricsSnapshot) -> str:
    registry = CollectorRegistry()
    registry.register(Once(look))
    return generate_latest(registry).decode()


def samples(look: MetricsSnapshot) -> dict[str, float]:
    """Values by name and labels."""
    return {
        " ".join(
            [sample.name, *(f"{key}={value}" for key, value in sorted(sample.labels.items()))]
        ): sample.value
        for family in text_string_to_metric_families(text(look))
        for sample in family.samples
    }


def names() -> set[str]:
    """Every metric there is, as queries call it."""
    return {name.partition(" ")[0] for name in samples(LOOK)}
