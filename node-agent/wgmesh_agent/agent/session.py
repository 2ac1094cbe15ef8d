"""One run of a node under one mesh record: start everything, wait for an end, stop everything."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import grpc
import structlog

from wgmesh_agent.agent.banner import banner
from wgmesh_agent.agent.composition import NodeStart, compose
from wgmesh_agent.agent.policies import Policies
from wgmesh_agent.control import server as agent_service
from wgmesh_agent.control.server import AgentService
from wgmesh_agent.diagnosis.collector import FactCollector
from wgmesh_agent.gossip.serf.events import Member
from wgmesh_agent.gossip.serf.foreign_key_detector import ForeignKeyDetector
from wgmesh_agent.linux.backends.backend_selection import SelectedBackend
from wgmesh_agent.linux.name_resolution import resolve
from wgmesh_agent.mesh.credentials import Credentials
from wgmesh_agent.mesh.discovery.advertised_endpoint import NoUsableEndpoint
from wgmesh_agent.mesh.join.bootstrap import BootstrapServer
from wgmesh_agent.mesh.join.client import JoinRefused, JoinResult, JoinUnreachable, peers_of
from wgmesh_agent.mesh.join.dispute_resolver import DisputeResolver
from wgmesh_agent.mesh.join.joiner import EndpointLookup, JoinTarget, join_via, mesh_record_from
from wgmesh_agent.mesh.join.port_binding import JoinServing
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.local_node import NodeConfig
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.mesh.psk.secret_file import SecretFile
from wgmesh_agent.mesh.rotation.gossip_key import GossipKeyRotation
from wgmesh_agent.mesh.rotation.key_switch import KeySwitch
from wgmesh_agent.mesh.rotation.service import RotationService
from wgmesh_agent.mesh.rotation.wireguard_key import WireGuardKeyRotation
from wgmesh_agent.runtime.atomic_file import write_atomically
from wgmesh_agent.runtime.backoff import jittered
from wgmesh_agent.runtime.borders import border
from wgmesh_agent.runtime.chunks import in_chunks
from wgmesh_agent.runtime.clock import SystemClock
from wgmesh_agent.runtime.debounced_writer import DebouncedWriter
from wgmesh_agent.runtime.log_levels import LogFormat
from wgmesh_agent.runtime.log_output import LogOutput
from wgmesh_agent.runtime.supervisor import Run
from wgmesh_agent.settings.model import HostPort, NodeSettings
from wgmesh_agent.state.memberlist_export import MemberRecord, render
from wgmesh_agent.state.store import StateStore
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_agent.wireguard.model import Endpoint
from wgmesh_api.values import bounded

log = structlog.get_logger()
LISTED = border("listed member", "what other members say of themselves, as the memberlist file has it")
MAX_MILLISECONDS = 1e9
ISOLATED_AFTER_SECONDS = 15.0
POLL_INTERVAL_SECONDS = 2.0
SERVICE_PORT = 5000
GRACE_SECONDS = 0.5
MAX_LOOKUPS = 3


class SessionOutcome(enum.Enum):
    """How a session ends."""

    STOP = "stop"  # the agent goes, the member stays
    LEFT = "left"  # the member has gone
    RESTARTED = "moved"  # entered again, and the mesh answered with other facts: run anew with them


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What this node does beyond being a member.

    Attributes:
        bind: where the Mesh service listens, `address:port`; None on a plain node.
        server_tls: None with `-dev`, and on a plain node.
        door: how to enter again when nobody else is left; None for the mesh's first node.
        service_port: the port that bootstrap nodes of this mesh serve on, as far as this node can tell.
        secrets: for pre-shared keys.
        follows_address: once this machine does not have the address of `bind`, the service listens where it is then.
    """

    bind: str | None
    server_tls: Credentials | None
    join_target: JoinTarget | None
    service_port: int = SERVICE_PORT
    secrets: SecretFile | None = None
    follows_address: bool = False

    @property
    def tls(self) -> bool:
        return self.client_tls is not None

    @property
    def client_tls(self) -> Credentials | None:
        """With which this node asks bootstrap nodes."""
        return self.server_tls if self.join_target is None else self.join_target.tls


@dataclass(frozen=True, slots=True)
class SessionStart:
    """What a session begins with.

    Attributes:
        policies: what decides for the node; the same object for all sessions of an agent.
        peers: who was told of at an admission just now.
        fresh: the record is new on this node, so the first gossip is waited for.
    """

    role: SessionConfig
    policies: Policies
    record: MeshRecord
    peers: tuple[Claim, ...] = ()
    fresh: bool = False


ComponentFactory = Callable[["Session"], Iterable[tuple[str, Run]]]


class Session:
    """Started with a record and, after a fresh admission, the peers that came with it."""

    def __init__(
        self,
        settings: NodeSettings,
        role: SessionConfig,
        policies: Policies,
        folder: StateStore,
        config: NodeConfig,
        record: MeshRecord,
        key: PrivateKey,
        endpoint: Endpoint,
        choice: SelectedBackend,
        locate: EndpointLookup,
        companions: ComponentFactory,
    ) -> None:
        self._settings = settings
        self._role = role
        self._policies = policies
        self._choice = choice
        self._endpoint = locate
        self._companions = companions
        start = NodeStart(
            config,
            record,
            key,
            endpoint,
            self._locate,
            trust=role.server_tls or role.client_tls,
            signer=role.server_tls if role.bind else None,
            secrets=role.secrets or SecretFile(),
        )
        self.node = compose(start, folder, choice, policies)
        self.rotations = self._composed_rotations(policies)
        self._ended: asyncio.Future[SessionOutcome] = asyncio.get_running_loop().create_future()
        self._leaving = asyncio.Lock()
        self.leave_requested = asyncio.Event()
        self.next_start: SessionStart | None = None
        self.joins: JoinServing | None = None
        self.has_started = False

    async def run(
        self, stop: asyncio.Event, leave: asyncio.Event, peers: tuple[Claim, ...], *, fresh: bool
    ) -> SessionOutcome:
        """Runs until `stop` or `leave` is set, the user leaves through the socket, or a task fails.

        Raises:
            BackEndError, GossipError, OSError, SocketInUse: it could not start.
            Exception: whatever ended one of its tasks.
        """
        try:
            # The servers go first: what they answer with is the node.
            async with contextlib.AsyncExitStack() as servers:
                await self._start(servers, peers, fresh=fresh)
                self.has_started = True
                return await self._until_ended(stop, leave)
        finally:
            if not self._ended.done() or self._ended.result() is not SessionOutcome.LEFT:
                await self.node.stop()

    async def leave(self) -> None:
        """Leaves for good, once; answers when it is done."""
        async with self._leaving:
            if not self._ended.done():
                await self.node.leave()
                self._end(SessionOutcome.LEFT)

    def restart_with(self, start: SessionStart) -> None:
        """Ends this session; the next one begins with `start`, on the same interface."""
        self.next_start = start
        self._end(SessionOutcome.RESTARTED)

    async def _start(
        self, servers: contextlib.AsyncExitStack, peers: tuple[Claim, ...], *, fresh: bool
    ) -> None:
        node, settings, role = self.node, self._settings, self._role
        await node.start(peers)
        if role.bind is not None:
            bootstrap = BootstrapServer(node, node.record.ipam_ranges or node.record.ranges)
            self.joins = serving = JoinServing(bootstrap, self._bind, role.server_tls)
            servers.push_async_callback(bootstrap.stop)
            await serving.attempt()
            node.tasks.keep(serving.run, "join service")
        examiner = FactCollector(node, role.client_tls)
        service = AgentService(node, self.rotations, examiner, tls=role.tls, leave=self.leave)
        server = await agent_service.serve(service, settings.agent_socket, settings.agent_socket_owner)
        servers.push_async_callback(self._stop_agent, server)
        if settings.memberlist_file is not None:
            writer = DebouncedWriter(node.changes, self._collect_memberlist, "memberlist file")
            node.tasks.keep(writer.run, "memberlist")
        if fresh:
            await self._join_gossip()
        else:
            node.tasks.start(self._join_gossip(), "enter gossip")
        if role.join_target is not None:
            door = role.join_target
            node.tasks.keep(lambda: self._enter_again(door), "enter again")
        else:
            # Nobody is to be asked: the others ask this node which key it has.
            await asyncio.to_thread(node.store.forget_earlier_key)
        confirming = self._confirming()
        node.tasks.keep(lambda: confirming.run(node.changes), "confirming")
        for name, run in self._companions(self):
            node.tasks.keep(run, name)
        # A log that programs read has no place for lines to a person at a terminal.
        if settings.log_format is LogFormat.TEXT:
            text = banner(
                node,
                settings,
                tls=role.tls,
                bind=role.bind,
                joined=role.join_target is not None,
                backend_reason=self._choice.reason,
            )
            LogOutput(sys.stdout).write(f"{text}\n")

    def _composed_rotations(self, policies: Policies) -> RotationService:
        node = self.node
        switch = KeySwitch(node.local, node.ledger, node.reconciler, node.store, SystemClock())
        wireguard = WireGuardKeyRotation(
            switch, node.local, node.admissions, node.view, node.gossip, node.device, policies.keys, self
        )
        gossip = (
            GossipKeyRotation(node.gossip, node.keyring, node.tracker.failed_bootstraps)
            if node.keyring is not None
            else None
        )
        return RotationService(wireguard, gossip, node.tracker, policies.keys)

    def _confirming(self) -> DisputeResolver:
        node = self.node
        return DisputeResolver(
            node.ledger,
            node.tracker.accept,
            node.tracker.disputed_claims,
            node.tracker.has_failed_bootstrap,
            node.admissions.missing.is_crowded,
            self.bootstraps,
            self._peers_of,
        )

    async def _peers_of(self, bootstrap: HostPort) -> Sequence[Claim]:
        own_key = self.node.local.private_key.public()
        at = await resolve(bootstrap.host, bootstrap.port)
        if not at:
            raise JoinUnreachable(f"the name {bootstrap.host} does not resolve")
        return await peers_of(str(bootstrap), self._role.client_tls, own_key, at=at)

    def bootstraps(self) -> list[HostPort]:
        """Where bootstrap nodes serve: as told, then where members that are bootstrap nodes say they live."""
        found = dict.fromkeys(self._policies.bootstraps.bootstraps())
        for binding in self.node.ledger:
            if binding.claim.bootstrap:
                found.update(
                    dict.fromkeys(
                        HostPort(str(endpoint.address), self._role.service_port)
                        for endpoint in binding.claim.endpoints[:1]
                    )
                )
        return list(found)

    async def _bind(self) -> HostPort:
        """Where the Mesh service is to listen now."""
        assert self._role.bind is not None
        host, _, port = self._role.bind.rpartition(":")
        bind = HostPort(host.removeprefix("[").removesuffix("]"), int(port))
        if not self._role.follows_address:
            return bind
        try:
            if bind.host not in map(str, await self.node.addresses.reachable()):
                return HostPort(str((await self._endpoint(())).address), bind.port)
        except (NoUsableEndpoint, BackEndError) as error:
            log.debug("cannot determine own endpoint", error=str(error))
        return bind

    async def _locate(self) -> Endpoint:
        """Where others reach this node now; raises NoUsableEndpoint."""
        hosts = dict.fromkeys(one.host for one in self.bootstraps()[:MAX_LOOKUPS])
        port = self._role.service_port
        return await self._endpoint([found for host in hosts for found in await resolve(host, port)])

    async def _join_gossip(self) -> None:
        if len(self.node.ledger) and not await self.node.joiner.join_any():
            log.warning("no member answers yet", known=len(self.node.ledger), next="retrying")

    async def _until_ended(self, stop: asyncio.Event, leave: asyncio.Event) -> SessionOutcome:
        stopping = asyncio.create_task(stop.wait())
        leaving = asyncio.create_task(leave.wait())
        wanted = asyncio.create_task(self.leave_requested.wait())
        waits: list[asyncio.Future[object]] = [stopping, leaving, wanted, self._ended, self.node.tasks.failed]  # type: ignore[list-item]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pending in (stopping, leaving, wanted):
                pending.cancel()
        if self.node.tasks.failed.done():
            self.node.tasks.failed.result()
        if (leave.is_set() or self.leave_requested.is_set()) and not stop.is_set():
            left = asyncio.create_task(self.leave())
            hurried = asyncio.create_task(stop.wait())
            await asyncio.wait([left, hurried], return_when=asyncio.FIRST_COMPLETED)
            hurried.cancel()
            if left.done():
                left.result()
            else:
                left.cancel()
        self._end(SessionOutcome.STOP)
        return self._ended.result()

    def _end(self, end: SessionOutcome) -> None:
        if not self._ended.done():
            self._ended.set_result(end)

    async def _stop_agent(self, server: grpc.aio.Server) -> None:
        await server.stop(GRACE_SECONDS)
        self._settings.agent_socket.unlink(missing_ok=True)

    async def _enter_again(self, door: JoinTarget) -> None:
        """A node that nobody knows any more, after a long time away or a lost mesh, asks to be let in again."""
        # Who knows nobody, having lost its member snapshot, has nobody to wait for.
        pause, hurried = ISOLATED_AFTER_SECONDS if len(self.node.ledger) else 0.0, True
        while True:
            cut_off = await self._is_cut_off(jittered(pause), hurried=hurried)
            pause, hurried = ISOLATED_AFTER_SECONDS, not cut_off
            if not cut_off:
                continue
            for bootstrap in self.bootstraps():
                try:
                    held = self.node.local.private_key
                    own = replace(door, public_key=held.public(), own_key=held)
                    admitted = await join_via(own, bootstrap, self._endpoint)
                except (JoinRefused, JoinUnreachable, NoUsableEndpoint) as error:
                    log.warning("isolated, and rejoin failed", bootstrap=str(bootstrap), error=str(error))
                    continue
                record = mesh_record_from(
                    admitted, door.mesh, self.node.record, bootstrap=self.node.record.bootstrap
                )
                door = replace(door, replaces=None)
                await asyncio.to_thread(self.node.store.forget_earlier_key)
                if not self._take_over(record):
                    log.warning(
                        "rejoined with different addresses or settings",
                        addresses=[str(a) for a in record.addresses],
                    )
                    self.restart_with(
                        SessionStart(self._role, self._policies, record, admitted.peers, fresh=True)
                    )
                    return
                await self._meet(admitted.peers)
                break

    async def join_with_new_key(
        self,
        bootstrap: HostPort,
        old: PrivateKey,
        new: PrivateKey,
        before_joining: Callable[[], Awaitable[None]],
    ) -> JoinResult:
        """Joins with a new key in the place of the old one. Raises JoinRefused or JoinUnreachable."""
        record = self.node.record
        door = JoinTarget(
            (), self._role.client_tls, record.mesh, record.node, new.public(), record.routes, replaces=old,
            secrets=self._role.secrets,
        )  # fmt: skip
        try:
            admitted = await join_via(door, bootstrap, self._endpoint, before_joining)
        except NoUsableEndpoint as error:
            raise JoinUnreachable(str(error)) from error
        if admitted.addresses != record.addresses:
            raise JoinRefused(f"it gave another address: {', '.join(map(str, admitted.addresses))}")
        return admitted

    def _take_over(self, record: MeshRecord) -> bool:
        """Takes over the gossip keys of a record that says nothing else new; False if it does."""
        own = self.node.record
        ring, since = record.gossip_keys, record.gossip_keys_since
        others = replace(
            record, created_unix=own.created_unix, gossip_keys=own.gossip_keys,
            gossip_keys_since=own.gossip_keys_since,
        )  # fmt: skip
        if others != own or bool(ring) != bool(own.gossip_keys):
            return False
        if ring != own.gossip_keys:
            try:
                self.node.replace_gossip_keys(ring, since)
            except OSError as error:
                log.error("cannot adopt gossip keys", error=str(error))
        return True

    async def _is_cut_off(self, seconds: float, *, hurried: bool) -> bool:
        """Whether this node is alone at the end of `seconds`; or, hurried, goes on hearing before that what its key
        does not open while members are missing: keys were changed while it, and all whom it can reach, were away.
        """
        node, loop = self.node, asyncio.get_running_loop()
        deadline, strangers = loop.time() + seconds, ForeignKeyDetector()
        while (left := deadline - loop.time()) > 0:
            await asyncio.sleep(min(left, POLL_INTERVAL_SECONDS))
            if node.keyring is None or not hurried:
                continue
            go_on = strangers.persists(node.keyring.foreign_key_messages, node.keyring.primary, loop.time())
            if go_on and node.tracker.failed():
                log.warning(
                    "members use a gossip key this node lacks",
                    next="requesting the keys from bootstrap nodes",
                )
                return True
        return node.view.is_isolated()

    async def _meet(self, peers: Sequence[Claim]) -> None:
        for claim in peers:
            self.node.tracker.accept(claim, Origin.PEERS)
        await self.node.reconciler.reconcile()
        await self._join_gossip()

    async def _collect_memberlist(self) -> Callable[[], None]:
        path = self._settings.memberlist_file
        assert path is not None
        records: list[MemberRecord] = []

        def add(member: Member) -> None:
            with LISTED.fence(member.name):
                records.append(
                    MemberRecord(
                        name=member.name,
                        addr=str(member.address),
                        status=member.status.name.lower(),
                        rtt_ms=_milliseconds(self.node.gossip.rtt(member.name)),
                        tags=dict(member.tags),
                    )
                )

        await in_chunks(self.node.members(), add)
        return lambda: write_atomically(path, render(records, int(time.time())), mode=0o644)


def _milliseconds(seconds: float | None) -> float | None:
    """Raises UnusableValue for what no file can say."""
    return None if seconds is None else round(bounded(seconds * 1000, 0.0, MAX_MILLISECONDS), 3)
