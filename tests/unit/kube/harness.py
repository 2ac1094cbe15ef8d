"""An API server in memory, and a node whose gossip, probes and WireGuard are the test's."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

from tests.unit import factories
from tests.unit.clock import TestClock
from tests.unit.device import PlayedDevice
from tests.unit.factories import mesh_record
from tests.unit.members import PlayedGossip, PlayedProbing
from tests.unit.node import composed
from tests.unit.policies import standalone
from tests.unit.tunnels import PlayedTunnels

from wgmesh_agent.agent.session_end import SessionEnd
from wgmesh_agent.gossip.serf.events import Member
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.kube.api_client import ApiError, KubernetesApi, meshes_path, nodes_path
from wgmesh_agent.kube.list_watch import Freshness, Object
from wgmesh_agent.mesh.credentials import TLSFiles
from wgmesh_agent.mesh.discovery.service import EndpointDiscovery
from wgmesh_agent.mesh.join.port_binding import JoinServing, Serving
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.departures import Departures
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.membership.policy import MembershipPolicy, StandalonePolicy
from wgmesh_agent.mesh.membership.tags import own_tags
from wgmesh_agent.mesh.membership.tracker import MembershipTracker
from wgmesh_agent.settings.model import HostPort
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import Device, Endpoint
from wgmesh_api.certificates import (
    CertificateAuthority,
    cert_to_pem,
    generate_key,
    issue,
    key_to_pem,
)
from wgmesh_api.fields import write_time
from wgmesh_api.identity import NodeIdentity, Role
from wgmesh_api.roster import API_VERSION, LEAVE_FINALIZER

T = TypeVar("T")
MADE = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
OWN, OWN_KEY = "alpha", PrivateKey(bytes([0, *[1] * 30, 64]))
SECONDS = 10.0
"""How long tests wait for what happens at once; the machine may be busy."""


def public_key(number: int) -> PublicKey:
    return PublicKey(bytes([number]) * 32)


def node_body(
    node: str = OWN,
    number: int = 1,
    *,
    uid: str = "",
    key: PublicKey | None = None,
    deleting: bool = False,
    created: datetime = MADE,
    status: dict[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A WgMeshNode whose agent reports `key`."""
    metadata: dict[str, Any] = {
        "name": f"blue.{node}",
        "uid": uid or f"uid-{node}",
        "creationTimestamp": write_time(created),
        "finalizers": [LEAVE_FINALIZER],
    }
    if deleting:
        metadata["deletionTimestamp"] = write_time(MADE)
    report = {"phase": "Joined", "publicKey": str(key), "endpoint": f"192.0.2.{number}:54540"} if key else {}
    return {
        "apiVersion": API_VERSION,
        "kind": "WgMeshNode",
        "metadata": metadata,
        "spec": {"mesh": "blue", "node": node, "addresses": [f"10.232.0.{number}"], **spec},
        "status": {**report, **(status or {})},
    }


def mesh_body(trust_bundle: str = "", *, deleting: bool = False, **status: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "blue", "uid": "uid-blue", "creationTimestamp": write_time(MADE)}
    if deleting:
        metadata["deletionTimestamp"] = write_time(MADE)
    bootstraps = [{"node": "beta", "address": "192.0.2.2:5000"}]
    return {
        "apiVersion": API_VERSION,
        "kind": "WgMesh",
        "metadata": metadata,
        "spec": {"cidrs": ["10.232.0.0/16"], "certificates": {"lifetime": "1h"}},
        "status": {"bootstraps": bootstraps, "trustBundle": trust_bundle, **status},
    }


class MemoryApi(KubernetesApi):
    """Objects by path. While it is `away` there are no responses, and watches send nothing; then they list again."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, dict[str, Any]] = {}
        self.away = False
        self.applied: list[tuple[str, Object]] = []
        self.created: list[Object] = []
        self.refusals: list[ApiError] = []
        """What the next calls are answered with instead."""
        self.on_create: Callable[[Object], None] = lambda body: None
        self.freshness = Freshness()
        self._watches: list[tuple[str, Callable[[list[Object]], None], Callable[[str, Object], None]]] = []
        self._version = 0

    @property
    def watched(self) -> bool:
        return bool(self._watches)

    async def connect(self) -> None:
        pass

    async def get(self, path: str) -> Object:
        self._answer("GET", path)
        if path not in self.objects:
            raise ApiError(f"GET {path}: not found", 404)
        return copy.deepcopy(self.objects[path])

    async def create(self, path: str, body: Object) -> Object:
        self._answer("POST", path)
        self.created.append(body)
        self.objects[f"{path}/{body['metadata']['name']}"] = copy.deepcopy(dict(body))
        self.on_create(body)
        return body

    async def apply(self, path: str, body: Object) -> Object:
        self._answer("PATCH", path)
        name = path.removesuffix("/status")
        held = self.objects.get(name)
        if held is None:
            raise ApiError(f"PATCH {path}: not found", 404)
        version = body["metadata"].get("resourceVersion")
        if version is not None and version != held["metadata"]["resourceVersion"]:
            raise ApiError(f"PATCH {path}: the object has been modified", 409)
        self.applied.append((path, body))
        self.put({**held, "status": dict(body["status"])})
        return self.objects[name]

    def watch(
        self,
        path: str,
        query: list[tuple[str, str]],
        read: Callable[[Object], T],
        replace: Callable[[list[T]], None],
        change: Callable[[str, T], None],
    ) -> Freshness:
        def replace_all(bodies: list[Object]) -> None:
            replace([read(body) for body in bodies])

        self._watches.append((path, replace_all, lambda kind, body: change(kind, read(body))))
        if not self.away:
            replace_all(self._all(path))
            self.freshness.confirm()
        return self.freshness

    def put(self, body: dict[str, Any], kind: str = "") -> None:
        """As some other user: create or change."""
        path = self._path(body)
        self._version += 1
        body = copy.deepcopy(body)
        body["metadata"]["resourceVersion"] = str(self._version)
        told = kind or ("MODIFIED" if path in self.objects else "ADDED")
        self.objects[path] = body
        self._tell(path, told, body)

    def remove(self, path: str) -> None:
        """As another user: it is deleted at once."""
        self._tell(path, "DELETED", self.objects.pop(path))

    def lose(self, *paths: str) -> None:
        """These objects vanish without a word; the next list is without them."""
        for path in paths:
            del self.objects[path]

    def back(self) -> None:
        """It answers again, and watches begin with a list."""
        self.away = False
        for path, relisted, _ in self._watches:
            relisted(self._all(path))
        self.freshness.confirm()

    def _tell(self, path: str, kind: str, body: Object) -> None:
        for watched, _, change in self._watches:
            if not self.away and path.startswith(f"{watched}/"):
                change(kind, copy.deepcopy(body))

    def _all(self, path: str) -> list[Object]:
        return [copy.deepcopy(body) for key, body in self.objects.items() if key.startswith(f"{path}/")]

    def _answer(self, method: str, path: str) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        if self.away:
            raise ApiError(f"{method} {path}: the API server does not answer")

    @staticmethod
    def _path(body: Object) -> str:
        name = body["metadata"]["name"]
        return nodes_path(name) if body["kind"] == "WgMeshNode" else meshes_path(name)


def node_path(node: str = OWN) -> str:
    return nodes_path(f"blue.{node}")


class PlayedDiscovery(EndpointDiscovery):
    """Records the reported endpoints of others."""

    def __init__(self) -> None:
        self.hints: list[tuple[PublicKey, Endpoint]] = []

    def hinted(self, key: PublicKey, endpoint: Endpoint) -> None:
        self.hints.append((key, endpoint))


class PlayedService(JoinServing):
    """Serves joiners, or not, as the test says."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    @property
    def state(self) -> Serving:
        return self._serving


class SessionGround:
    """The node alpha, with gossip, probes and WireGuard as the test says; everything else is real."""

    def __init__(
        self,
        folder: Path,
        policy: MembershipPolicy | None = None,
        *,
        bootstrap: bool = False,
        requires_admission: bool = False,
        serving: Serving | None = None,
    ) -> None:
        policy = policy or StandalonePolicy(())
        record = mesh_record(
            node=OWN,
            addresses=(ip_address("10.232.0.1"),),
            bootstrap=bootstrap,
            requires_admission=requires_admission,
        )
        self.end = SessionEnd()
        made = composed(folder, record, policies=replace(standalone(), membership=policy))
        # Without certificates a node requires no records by itself.
        made.local.update_record(requires_admission=requires_admission)
        self.gossip, self.probing, self.discovery = PlayedGossip(), PlayedProbing(), PlayedDiscovery()
        members = MemberView(self.gossip, made.ledger)
        self.node = replace(
            made,
            gossip=self.gossip,
            view=members,
            probing=self.probing,
            discovery=self.discovery,
            device=PlayedDevice(Device("wgblue")),
            join_service=PlayedService(serving) if serving is not None else None,
            tracker=MembershipTracker(
                made.ledger,
                made.rejections,
                members,
                made.admissions,
                Departures(),
                PlayedTunnels(),
                policy,
                made.changes,
                TestClock(),
            ),
        )
        self.local, self.ledger, self.changes = made.local, made.ledger, made.changes
        self.membership, self.links = self.node.tracker, self.probing.heard
        self.leave_requested, self.hinted = self.end.leave_requested, self.discovery.hints

    def bind(self, claim: Claim, origin: Origin = Origin.GOSSIP, since: float = 1.0) -> None:
        assert self.ledger.accept(claim, origin, since) is None

    def gossips(self, claim: Claim, status: MemberStatus = MemberStatus.ALIVE) -> None:
        self.gossip.table[claim.node] = Member(
            claim.node, claim.addresses[0], 7946, own_tags(claim, {}), status, 1, b"", 0.0
        )

    def bound(self) -> dict[str, PublicKey]:
        return {binding.claim.node: binding.claim.public_key for binding in self.ledger}


def claim(node: str, number: int, key: int = 0) -> Claim:
    """A member as it says of itself; its key is made of `key`, or of its number."""
    endpoint = Endpoint(ip_address(f"192.0.2.{number}"), 54540)
    return Claim(node, public_key(key or number), (ip_address(f"10.232.0.{number}"),), (endpoint,))


def make_authority(serial: int = 1) -> CertificateAuthority:
    now = datetime.now(UTC) - timedelta(days=1)
    return factories.make_authority(now=now, lifetime=timedelta(days=30), serial=serial)


def certificate(
    authority: CertificateAuthority,
    key: Any = None,
    *,
    role: Role = Role.NODE,
    begun: datetime = MADE,
    lifetime: timedelta = timedelta(hours=1),
    address: str = "10.232.0.1",
) -> bytes:
    """PEM for the node alpha."""
    return cert_to_pem(
        issue(
            authority,
            NodeIdentity("blue", OWN, role),
            (key or generate_key()).public_key(),
            now=begun,
            lifetime=lifetime,
            serial=7,
            addresses=[ip_address(address)],
            not_before=begun,
        )
    )


def tls_files(authority: CertificateAuthority, **more: Any) -> TLSFiles:
    key = generate_key()
    return TLSFiles(key_to_pem(key), certificate(authority, key, **more), cert_to_pem(authority.cert))


async def eventually(condition: Callable[[], object]) -> None:
    """Returns when it holds."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


BOOTSTRAP = HostPort("192.0.2.2", 5000)
