"""Collects a metrics snapshot of a running session."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import structlog

from wgmesh_agent.agent.node import MeshNode
from wgmesh_agent.diagnosis.rejected_input import rejected_input
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.kube.metrics import MetricsSnapshot, Traffic, read_traffic
from wgmesh_agent.kube.node_report import build_report
from wgmesh_agent.kube.roster_cache import RosterCache
from wgmesh_agent.kube.status_writer import expected_members, observe_peers
from wgmesh_agent.mesh.credentials import Credentials
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.model import Device
from wgmesh_api.report import NodeReport

log = structlog.get_logger()
NET_DEV = Path("/proc/self/net/dev")
ZERO_BY_STATUS = {
    status.name.lower(): 0 for status in (MemberStatus.ALIVE, MemberStatus.LEAVING, MemberStatus.FAILED)
}
"""A status without members is exported as 0: a missing series means unknown."""


async def collect_snapshot(node: MeshNode, view: RosterCache, credentials: Credentials) -> MetricsSnapshot:
    """The current state. A WireGuard device that cannot be read counts as having no handshakes."""
    try:
        device = await node.device.read()
    except BackEndError as error:
        log.warning("cannot read WireGuard for metrics", error=str(error))
        device = Device(node.local.config.interface)
    peers = await asyncio.to_thread(tuple, observe_peers(node, device))
    expected, _ = expected_members(node, view)
    counted = await asyncio.to_thread(build_report, NodeReport(), peers, expected, {})
    return MetricsSnapshot(
        backend=node.backend.kind.value,
        interface=node.local.config.interface,
        mtu=node.local.config.mtu,
        bootstrap=node.join_service is not None and node.join_service.state.is_serving,
        peers=peers,
        expected=counted.expected,
        reachable=counted.heard,
        members={**ZERO_BY_STATUS, **Counter(member.status.name.lower() for member in node.view.present())},
        refused=dict(node.rejections.counts),
        certificate_not_after=credentials.files.leaf().not_valid_after_utc,
        traffic=await asyncio.to_thread(_traffic, node.local.config.interface),
        probe_period_seconds=node.probing.period_seconds,
        rejected=rejected_input(node.gossip.counters),
        components=node.tasks.components(),
        down=node.tasks.down().keys(),
        restarts=dict(node.tasks.restarts),
        repairs=node.repairs.made,
        roster_age_seconds=view.age_seconds,
    )


def _traffic(interface: str) -> Traffic | None:
    return read_traffic(NET_DEV.read_text(), interface)
