"""Writes this node's report to the status of its WgMeshNode: rate-limited, and only to this very object."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from wgmesh_agent.agent.node import MeshNode
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.kube.api_client import ApiError, KubernetesApi, nodes_path
from wgmesh_agent.kube.certificate import CertificateStore
from wgmesh_agent.kube.node_report import (
    MAX_NAMED,
    PeerObservation,
    build_report,
    expected_peers,
    with_certificate,
    with_time,
)
from wgmesh_agent.kube.roster_cache import RosterCache, wait_until
from wgmesh_agent.kube.status_rate_limit import StatusRateLimiter
from wgmesh_agent.mesh.credentials import Credentials
from wgmesh_agent.mesh.join.port_binding import Serving
from wgmesh_agent.mesh.membership.claims import Binding
from wgmesh_agent.mesh.rotation.gossip_key import RotationFailed
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Device
from wgmesh_api.report import BootstrapReport, NodeReport
from wgmesh_api.roster import API_VERSION, gossip_key_id, node_object_name
from wgmesh_api.version import VERSION

log = structlog.get_logger()
RESYNC_SECONDS = 2.0
RETRY_SECONDS = 10.0
PAUSE_SECONDS_PER_PEER = 0.001
"""Interval between two reports: with thousands of peers one is expensive, and something changes all the time."""
ANNOUNCE_TIMEOUT_SECONDS = 45.0
PROPAGATION_SECONDS = 2.0
GONE, CONFLICT = 404, 409


class StatusWriter:
    """Status writer of an agent; `run` runs beside each session."""

    def __init__(
        self,
        api: KubernetesApi,
        view: RosterCache,
        identity: CertificateStore,
        credentials: Credentials,
        entered_by: Callable[[str], str],
        unserved: Callable[[], str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            entered_by: from a member's name to the uid of the WgMeshNode by which it is bound here; empty: none yet.
            unserved: why health and metrics are unavailable; empty if they are available.
        """
        self._api = api
        self._view = view
        self._identity = identity
        self._credentials = credentials
        self._entered_by = entered_by
        self._unserved = unserved
        self._clock = clock
        self._calm = StatusRateLimiter(random.Random())  # noqa: S311
        self._next_key = ""
        self._bootstrap: BootstrapReport | None = None

    async def run(self, node: MeshNode) -> None:
        """Writes changes until cancelled."""
        while True:
            generation = node.changes.generation
            await self.reconcile(node)
            pause = max(self._calm.wait_seconds(self._clock()), PAUSE_SECONDS_PER_PEER * len(node.ledger))
            await asyncio.sleep(pause)
            if not self._calm.wait_seconds(self._clock()):
                await node.changes.wait_after(generation, RESYNC_SECONDS)

    async def reconcile(self, node: MeshNode) -> None:
        """Writes the current report, if it changed, the rate limit allows it, and its WgMeshNode is the one by which
        this node is a member.
        """
        own, uid = self._view.own, self._identity.uid()
        if own is None or (uid and own.uid != uid):
            return
        try:
            current = await self._report(node)
        except BackEndError as error:
            log.error("cannot read WireGuard", error=str(error))
            return
        if not self._calm.is_due(current, self._clock()):
            return
        stamp = with_time(current, self._calm.written, datetime.now(UTC))
        self._calm.attempted(self._clock())
        try:
            await _apply(self._api, own.name, stamp)
        except ApiError as error:
            log.debug("status not written", error=str(error))
        else:
            self._calm.record_written(stamp, self._clock())

    async def announce_key(self, key: PublicKey) -> None:
        """Publishes the next key in the roster, and returns when other agents have had time to read it.

        Raises:
            RotationFailed: the roster could not be written.
        """
        self._next_key = str(key)
        try:
            async with asyncio.timeout(ANNOUNCE_TIMEOUT_SECONDS):
                await wait_until(self._view, self._is_announced)
        except TimeoutError as error:
            self._next_key = ""
            raise RotationFailed(
                "the new key could not be published to the API server: the old one is in use"
            ) from error
        await asyncio.sleep(PROPAGATION_SECONDS)

    def _is_announced(self) -> bool:
        own = self._view.own
        return own is not None and own.report.next_public_key == self._next_key

    async def report_left(self, mesh: str, node: str) -> None:
        """Like the function `report_left`, with the last report."""
        await report_left(self._api, self._identity, node_object_name(mesh, node), self._calm.written)

    def _bootstrap_report(self, node: MeshNode) -> BootstrapReport | None:
        service = node.join_service
        serving = service.state if service is not None else None
        self._bootstrap = bootstrap_report(serving, self._bootstrap)
        return self._bootstrap

    async def _report(self, node: MeshNode) -> NodeReport:
        record, local = node.record, node.local
        expected, externals = expected_members(node, self._view)
        joined = not node.view.is_isolated() or not expected
        base = NodeReport(
            phase="Joined",
            public_key=(public_key := str(local.public_key)),
            public_key_since=datetime.fromtimestamp(record.wireguard_key_since, UTC)
            if record.wireguard_key_since
            else None,
            rotated_for=record.wireguard_key_token,
            next_public_key=self._next_key if self._next_key != public_key else "",
            endpoint=str(local.endpoint),
            backend=node.backend.kind.value,
            interface=local.config.interface,
            mtu=local.config.mtu,
            agent_version=VERSION,
            refused_routes=tuple(str(refusal) for refusal in node.routes.rejected[:MAX_NAMED]),
            gossip_keys=tuple(gossip_key_id(key) for key in record.gossip_keys),
            secret_ids=tuple(id_.hex() for id_ in local.secret_ids),
            metrics_problem=self._unserved(),
            ready=joined,
            ready_reason="Joined" if joined else "Isolated",
            ready_message="this node is a member of the mesh"
            if joined
            else "no other member is alive in gossip",
        )
        base = replace(base, bootstrap=self._bootstrap_report(node))
        base = with_certificate(base, self._credentials.files.leaf(), self._credentials.files.authorities)
        device = await node.device.read()
        told_of = {name: self._entered_by(name) for name in externals} if record.bootstrap else {}
        return await asyncio.to_thread(build_report, base, observe_peers(node, device), expected, told_of)


def bootstrap_report(serving: Serving | None, before: BootstrapReport | None) -> BootstrapReport | None:
    """Whether this node serves joiners.

    Args:
        serving: None on a node that is not a bootstrap node.
        before: the last report. That it could not serve stays reported when the role has moved to another node, lest it
            return.
    """
    if serving is None:
        return before if before is not None and not before.serving else None
    if serving.is_serving:
        return BootstrapReport(serving=True)
    return BootstrapReport(serving=False, message=serving.problem) if serving.is_lasting else before


def expected_members(node: MeshNode, view: RosterCache) -> tuple[frozenset[str], frozenset[str]]:
    """The names of all other members expected, and of the external ones."""
    names = {entry.node: entry.external for entry in view.nodes.values() if not entry.deleting}
    if view.own is None:
        # Not listed yet, or an inconsistent roster.
        names = {binding.claim.node: False for binding in node.ledger if binding.claim.node}
    return expected_peers(names, node.record.node)


def observe_peers(node: MeshNode, device: Device) -> Iterator[PeerObservation]:
    """All bound peers as this node sees them now; may be iterated in a thread."""
    links, paths = node.probing.links(), node.probing.path_mtus()
    members, relays = node.gossip.members(), node.indirect.relays_in_use()
    bindings, now_unix = list(node.ledger), time.time()

    def seen(binding: Binding) -> PeerObservation:
        claim = binding.claim
        member = members.get(claim.node)
        peer = device.peers.get(claim.public_key)
        return PeerObservation(
            node=claim.node,
            alive=member is not None and member.status is MemberStatus.ALIVE,
            failed=member is not None and member.status is MemberStatus.FAILED,
            link=links.get(claim.node),
            path=paths.get(claim.node),
            handshake_seconds_ago=now_unix - peer.last_handshake if peer and peer.last_handshake else None,
            public_key=str(claim.public_key),
            endpoint=str(peer.endpoint) if peer and peer.endpoint else "",
            relay=relays.get(claim.public_key, ""),
            preshared=node.psk.is_protected(device, claim.public_key),
            secret_ids=tuple(id_.hex() for id_ in claim.secret_ids or ()),
        )

    return map(seen, bindings)


async def report_left(
    api: KubernetesApi, identity: CertificateStore, name: str, written: NodeReport | None = None
) -> None:
    """Reports to the operator that nothing of this member is left on its node, unless its WgMeshNode was deleted.

    Another of the same name may have been created since: therefore the write names the version that was read.

    Args:
        name: the WgMeshNode's.
        written: the last report, if there is one.
    """
    base = replace(
        written or NodeReport(),
        phase="Left",
        ready=False,
        ready_reason="Left",
        ready_message="this node has left, and nothing of the mesh is on it",
    )
    stamp = with_time(base, written, datetime.now(UTC))
    while True:
        try:
            found = (await api.get(nodes_path(name))).get("metadata") or {}
            uid = identity.uid()
            if found.get("uid") == uid if uid else found.get("deletionTimestamp"):
                await _apply(api, name, stamp, str(found.get("resourceVersion") or ""))
            return
        except ApiError as error:
            if error.status == GONE:
                return
            if error.status != CONFLICT:
                log.warning("leave not reported", error=str(error), retry_seconds=RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)


async def _apply(api: KubernetesApi, name: str, stamp: NodeReport, resource_version: str = "") -> None:
    metadata: dict[str, Any] = {"name": name}
    if resource_version:
        metadata["resourceVersion"] = resource_version
    body = {
        "apiVersion": API_VERSION,
        "kind": "WgMeshNode",
        "metadata": metadata,
        "status": stamp.to_status(),
    }
    await api.apply(nodes_path(name, status=True), body)
