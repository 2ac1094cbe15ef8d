"""`wgmesh-agent kube`: an agent whose mesh and identity the cluster determines."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

import structlog

from wgmesh_agent.agent.node import MeshNode
from wgmesh_agent.agent.policies import Policies
from wgmesh_agent.agent.run import Entry, endpoint_of, run_agent
from wgmesh_agent.agent.session import Session
from wgmesh_agent.agent.session_start import SessionConfig, SessionStart
from wgmesh_agent.kube.api_client import ApiError, KubernetesApi
from wgmesh_agent.kube.certificate import (
    CertificateStore,
    RequestDenied,
    is_current,
    now,
    request_certificate,
)
from wgmesh_agent.kube.certificate_renewal import certificate_spec
from wgmesh_agent.kube.components import KubeComponents
from wgmesh_agent.kube.gossip_keyring import GossipKeyring, KeyringSync, read_keyring
from wgmesh_agent.kube.health_server import HealthServer
from wgmesh_agent.kube.metrics import MetricsSnapshot
from wgmesh_agent.kube.metrics_snapshot import collect_snapshot
from wgmesh_agent.kube.roster_cache import RosterCache, wait_until
from wgmesh_agent.kube.roster_policy import RosterKeyPolicy, RosterPolicy
from wgmesh_agent.kube.roster_status import RosterStatus
from wgmesh_agent.kube.roster_sync import claim_of
from wgmesh_agent.kube.settings import KubeSettings, from_environment
from wgmesh_agent.kube.status_writer import report_left
from wgmesh_agent.mesh.credentials import Credentials, TLSFiles
from wgmesh_agent.mesh.join.client import JoinRefused, JoinUnreachable
from wgmesh_agent.mesh.join.joiner import JoinFailed, JoinTarget, join_via, mesh_record_from
from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.mesh.psk.secret_file import SecretFile, from_mount
from wgmesh_agent.runtime.checksummed_file import CorruptFile
from wgmesh_agent.runtime.clock import SystemClock
from wgmesh_agent.runtime.supervisor import Component
from wgmesh_agent.settings.model import HostPort
from wgmesh_agent.state.store import StateStore
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_api.roster import RosterNode, node_object_name

log = structlog.get_logger()
RETRY_SECONDS = 3.0
PRE_STOP_GRACE_SECONDS = 3.0
LEAVE_SECONDS = 20.0
"""Including the waits before leaving and stopping, within the pod's grace period of 30 s."""
NO_LONGER_MEMBER = (RosterStatus.DELETED, RosterStatus.REPLACED, RosterStatus.UNLISTED)


def run_kube(environment: Mapping[str, str]) -> int:
    """Runs the agent of this Kubernetes node; returns the exit status. Raises SettingsError."""
    agent = KubeAgent(from_environment(environment))
    return run_agent(
        agent.settings.node,
        agent.entry,
        agent.companions,
        agent.after_leaving,
        before_stopping=agent.before_stopping,
        held_tunnel=agent.tunnel_is_held,
    )


class KubeAgent:
    """Connects API, roster and certificate with the agent. Created before the event loop runs."""

    tunnel_is_held = True

    def __init__(self, settings: KubeSettings) -> None:
        self.settings = settings
        self._api = KubernetesApi()
        self._view = RosterCache(settings.mesh, settings.kube_node)
        self._companions: KubeComponents | None = None
        self._session: Session | None = None
        self._credentials: Credentials | None = None
        self._policies: Policies | None = None
        self._identity: CertificateStore | None = None
        self._key: PrivateKey | None = None
        self._secrets = SecretFile()
        self._has_left = asyncio.Event()
        self._health = HealthServer(
            settings.metrics_port, self._collect_snapshot, lambda: self._view.age_seconds, SystemClock()
        )

    def entry(self) -> Entry:
        return self._join_mesh_unless_deleted

    def companions(self, session: Session) -> Iterable[Component]:
        self._session = session
        self._health.joined(session.node.tasks.down)
        assert self._companions is not None
        return (
            *self._companions.for_session(session),
            Component("health", self._health.heartbeat),
            Component("metrics", self._health.serve),
        )

    async def after_leaving(self) -> None:
        """Reports the leave to the operator, then waits: if this node is to be a member again, a new process starts."""
        self._health.left()
        mesh, node = self.settings.mesh, self.settings.kube_node
        if self._companions is not None:
            await self._companions.report_left(mesh, node)
        elif self._identity is not None:
            await report_left(self._api, self._identity, node_object_name(mesh, node))
        self._has_left.set()
        log.info("left permanently", next="waiting in case this node becomes a member again")
        await wait_until(self._view, lambda: self._view.synced and self._should_rejoin())

    async def before_stopping(self) -> None:
        """Leaves first, if this node is to be no member any more.

        When a node's label is removed, its pods are terminated at once; the roster shows why only a moment later.
        """
        if self._has_left.is_set() or not self._view.synced:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PRE_STOP_GRACE_SECONDS):
                await wait_until(self._view, self._should_leave)
        if self._should_leave():
            log.info("leaving before shutdown")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_SECONDS):
                    await self._has_left.wait()

    def _should_leave(self) -> bool:
        """Whether it is about to leave, or to find that it need not join."""
        if self._companions is None or self._identity is None:
            return self._is_deleted()
        return self._view.status_of_node(self._identity.uid()) in NO_LONGER_MEMBER

    async def _collect_snapshot(self) -> MetricsSnapshot | None:
        if not self._health.is_member or self._session is None or self._credentials is None:
            return None
        return await collect_snapshot(self._session.node, self._view, self._credentials)

    def _should_rejoin(self) -> bool:
        own, uid = self._view.own, self._identity.uid() if self._identity is not None else ""
        if own is None or own.deleting:
            return False
        # The uid under which it left stays left, whatever an outdated cache shows.
        return own.uid != uid if uid else own.report.phase != "Left"

    async def _join_mesh_unless_deleted(
        self, folder: StateStore, key: PrivateKey, is_new_key: bool
    ) -> SessionStart | None:
        """None: this node's WgMeshNode is deleted before the node became a member by it."""
        entering = asyncio.create_task(self._join_mesh(folder, key, is_new_key))
        deleted = asyncio.create_task(wait_until(self._view, self._is_deleted))
        try:
            await asyncio.wait([entering, deleted], return_when=asyncio.FIRST_COMPLETED)
            if entering.done():
                return entering.result()
        finally:
            entering.cancel()
            deleted.cancel()
            await asyncio.gather(entering, deleted, return_exceptions=True)
        log.warning("this node must not become a member", reason="its WgMeshNode is deleted")
        # The state of an earlier membership is removed too.
        self._companions, self._identity = None, CertificateStore(folder.path)
        return None

    def _is_deleted(self) -> bool:
        own = self._view.own
        return own is not None and own.deleting and own.report.phase != "Left"

    async def _join_mesh(self, folder: StateStore, key: PrivateKey, is_new_key: bool) -> SessionStart:
        self._key = key
        self._secrets = await asyncio.to_thread(from_mount, self.settings.secrets, self.settings.mesh)
        await self._health.start()
        identity = self._identity = CertificateStore(folder.path)
        await self._connect()
        record = _remembered(folder)
        files = identity.load()
        if record is not None and files is not None and not is_new_key:
            # Also with an expired certificate: traffic needs none, and the next one is requested in time.
            log.info("already a member", node=record.node, addresses=[str(a) for a in record.addresses])
            self._build_components(identity, files)
            return self._start(record, ())
        own = await self._own_entry()
        if identity.uid() not in ("", own.uid):
            record = None
        self._build_components(identity, await self._certificate(identity, own))
        if own.bootstrap:
            return await self._start_as_bootstrap(identity, own)
        return await self._join_as_member(folder, identity, own, record)

    async def _connect(self) -> None:
        while True:
            try:
                await self._api.connect()
                break
            except ApiError as error:
                log.warning("cannot reach the API server", error=str(error), retry_seconds=RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)
        self._view.start(self._api)

    async def _own_entry(self) -> RosterNode:
        view = self._view

        def ready() -> bool:
            own = view.own
            mesh = view.mesh
            return (
                own is not None
                and not own.deleting
                and own.report.phase != "Left"
                and bool(own.addresses)
                and mesh is not None
                and bool(mesh.trust_bundle)
            )

        if not ready():
            log.info("waiting for this node's WgMeshNode, its addresses and the mesh's CA")
        await wait_until(view, ready)
        assert view.own is not None
        return view.own

    async def _certificate(self, identity: CertificateStore, own: RosterNode) -> TLSFiles:
        while True:
            mesh = self._view.mesh
            wanted = certificate_spec(own, self._view)
            authorities = mesh.trust_bundle.encode() if mesh is not None else b""
            files = identity.load()
            if (
                files is not None
                and files.authorities == authorities
                and is_current(files, wanted, own.created, now())
            ):
                return files
            try:
                return await request_certificate(self._api, identity, wanted, authorities)
            except (ApiError, RequestDenied, ValueError, OSError) as error:
                log.warning("certificate request failed", error=str(error), retry_seconds=RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)
                own = await self._own_entry()

    def _build_components(self, identity: CertificateStore, files: TLSFiles) -> None:
        self._credentials = Credentials(files)
        ring = KeyringSync(self.settings.keyring, self._view.externals)
        policy = RosterPolicy(self._view, identity)
        self._companions = companions = KubeComponents(
            self._api,
            self._view,
            identity,
            policy,
            self._credentials,
            ring,
            self._health.problem,
            self._next_start,
        )
        keys = RosterKeyPolicy(self.settings.mesh, companions.status)
        # In force before the first session, and the same for all of them.
        self._policies = Policies(policy, keys, self._view)

    async def _start_as_bootstrap(self, identity: CertificateStore, own: RosterNode) -> SessionStart:
        """A bootstrap node needs no other to admit it: roster and keyring contain all it requires."""
        mesh = self._view.mesh
        assert mesh is not None
        ring = await self._keyring()
        identity.save_uid(own.uid)
        record = MeshRecord(
            mesh=mesh.name,
            node=own.node,
            addresses=own.addresses,
            ranges=mesh.cidrs,
            ipam_ranges=(),
            created_unix=mesh.created_at,
            joined_unix=int(time.time()),
            gossip_keys=ring.keys,
            gossip_keys_since=ring.since,
            profile=mesh.gossip_profile,
            gossip_port=mesh.gossip_port,
            bootstrap=True,
            tags={},
            requires_admission=True,
            routes=own.routes,
        )
        return self._start(record, self._roster_claims(own.node))

    async def _join_as_member(
        self, folder: StateStore, identity: CertificateStore, own: RosterNode, earlier: MeshRecord | None
    ) -> SessionStart:
        assert self._credentials is not None
        while True:
            door = replace(self._join_target(own.node), replaces=folder.earlier_private_key())
            for bootstrap in self._view.bootstraps():
                try:
                    admitted = await join_via(
                        door, bootstrap, lambda towards: endpoint_of(self.settings.node, towards, ())
                    )
                except (JoinRefused, JoinUnreachable, JoinFailed) as error:
                    log.warning("join via bootstrap node failed", bootstrap=str(bootstrap), error=str(error))
                    continue
                record = mesh_record_from(admitted, door.mesh, earlier, bootstrap=False)
                identity.save_uid(own.uid)
                folder.save_mesh(record)
                folder.forget_earlier_key()
                return self._start(record, (*admitted.peers, *self._roster_claims(own.node)), fresh=True)
            await asyncio.sleep(RETRY_SECONDS)
            # In the meantime it may have become a bootstrap node itself, or have been deleted and re-created.
            own = await self._own_entry()
            self._credentials.files = await self._certificate(identity, own)
            if own.bootstrap:
                return await self._start_as_bootstrap(identity, own)

    def _start(self, record: MeshRecord, peers: tuple[Claim, ...], *, fresh: bool = False) -> SessionStart:
        port = self.settings.bootstrap_port
        bind = HostPort(self.settings.host_ip, port) if record.bootstrap else None
        credentials = self._credentials if bind else None
        role = SessionConfig(
            bind, credentials, self._join_target(record.node), port, self._secrets, follows_address=True
        )
        assert self._policies is not None
        return SessionStart(role, self._policies, record, peers, fresh)

    def _next_start(self, node: MeshNode) -> SessionStart:
        """Restarts the session after this node's role or addresses changed."""
        own = self._view.own
        assert own is not None
        self._key = node.local.private_key
        record = replace(node.record, bootstrap=own.bootstrap, addresses=own.addresses)
        return self._start(record, ())

    def _join_target(self, node: str) -> JoinTarget:
        assert self._key is not None
        return JoinTarget(
            tuple(self._view.bootstraps()),
            self._credentials,
            self.settings.mesh,
            node,
            self._key.public(),
            secrets=self._secrets,
        )

    def _roster_claims(self, own: str) -> tuple[Claim, ...]:
        claims = (
            claim_of(entry)
            for entry in self._view.nodes.values()
            if entry.node != own and not (entry.deleting or entry.external or self._view.rival(entry.node))
        )
        return tuple(claim for claim in claims if claim is not None)

    async def _keyring(self) -> GossipKeyring:
        while True:
            try:
                return await asyncio.to_thread(read_keyring, self.settings.keyring)
            except (OSError, ValueError) as error:
                log.warning("cannot read the gossip keyring", error=str(error), retry_seconds=RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)


def _remembered(folder: StateStore) -> MeshRecord | None:
    try:
        return folder.mesh()
    except CorruptFile as error:
        log.error("mesh record is corrupt", error=str(error), next="joining again")
        return None
