"""From settings to a running agent, and from its end to an exit status."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import structlog

from wgmesh_agent.daemon import agent_service
from wgmesh_agent.daemon.agent_service import SocketInUse
from wgmesh_agent.daemon.entering import CannotEnter, Door, enter_mesh, record_of
from wgmesh_agent.daemon.node import Identity, NameLost
from wgmesh_agent.daemon.session import End, Role, Session
from wgmesh_agent.endpoint.own import NoEndpoint, own_endpoint, resolve, underlay_mtu
from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.join.tls import Credentials, TLSFileError, load_tls_files
from wgmesh_agent.log import configure
from wgmesh_agent.membership.binding import Claim, IPAddress
from wgmesh_agent.membership.names import default_node_name
from wgmesh_agent.settings.model import (
    BootstrapSettings,
    ClientTLS,
    GossipProfile,
    HostPort,
    JoinSettings,
    NodeSettings,
    ServerTLS,
)
from wgmesh_agent.state.folder import MeshInUse, StateFolder
from wgmesh_agent.state.records import MeshRecord
from wgmesh_agent.state.sealed_file import DamagedFile
from wgmesh_agent.wireguard.backends.select import choose
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_agent.wireguard.model import Endpoint
from wgmesh_agent.wireguard.mtu import tunnel_mtu

log = structlog.get_logger()
T = TypeVar("T")
CAP_NET_ADMIN = 1 << 12
FORESEEABLE = (
    BackEndError, CannotEnter, DamagedFile, GossipError, MeshInUse, NameLost, NoEndpoint, SocketInUse, TLSFileError,
    OSError,
)  # fmt: skip


class Conflict(Exception):
    """The settings contradict this machine: what it may do, or what it remembers of the mesh."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What `bootstrap` and `join` come down to.

    Attributes:
        founds: makes the mesh if this machine knows none; None for a node that enters one.
        profile, gossip_port: None: the mesh's own.
    """

    node: NodeSettings
    role: Callable[[PrivateKey], Role]
    founds: MeshRecord | None
    ipam_ranges: tuple[Any, ...]
    join_timeout_seconds: float | None
    profile: GossipProfile | None
    gossip_port: int | None


def run_bootstrap(settings: BootstrapSettings) -> int:
    """Runs a bootstrap node until it is stopped; the exit status."""
    return _run(settings.node, lambda: _bootstrap_plan(settings))


def run_join(settings: JoinSettings) -> int:
    """Runs a plain node until it is stopped; the exit status."""
    return _run(settings.node, lambda: _join_plan(settings))


def _run(node: NodeSettings, plan: Callable[[], Plan]) -> int:
    configure(node.verbosity, node.log_format, sys.stderr)
    try:
        _require_net_admin()
        return asyncio.run(_agent(plan()))
    except (*FORESEEABLE, Conflict) as error:
        print(f"wgmesh: {_sentence(error)}", file=sys.stderr)  # noqa: T201
        return 1


def _require_net_admin() -> None:
    status = Path("/proc/self/status").read_text()
    effective = int(next(line for line in status.splitlines() if line.startswith("CapEff:")).split()[1], 16)
    if not effective & CAP_NET_ADMIN:
        raise Conflict("an agent sets up a network interface: run it as root, or with CAP_NET_ADMIN")


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"cannot use {error.filename}: {error.strerror.lower()}"
    return str(error)


async def _agent(plan: Plan) -> int:
    settings = plan.node
    stop, leave = _signals()
    agent_service.clear(settings.agent_socket)
    folder = StateFolder(settings.state_dir, settings.mesh_name)
    try:
        key, is_new_key = _private_key(folder)
        role = plan.role(key)
        start = await _unless_ended(_record(plan, role, folder, is_new_key=is_new_key), stop, leave)
        if start is None:
            return 0
        record, peers, fresh = start
        while True:
            session = await _session(plan, role, folder, key, record)
            end = await session.run(stop, leave, peers, fresh=fresh)
            if end is not End.MOVED or session.moved_to is None:
                return 0
            record, peers = session.moved_to
            fresh = True
    finally:
        folder.close()


async def _unless_ended(work: Coroutine[Any, Any, T], *ends: asyncio.Event) -> T | None:
    """What `work` answers, or None if one of the events comes first."""
    task = asyncio.create_task(work)
    waits = [asyncio.create_task(end.wait()) for end in ends]
    try:
        await asyncio.wait([task, *waits], return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for pending in (task, *waits):
            pending.cancel()


async def _record(
    plan: Plan, role: Role, folder: StateFolder, *, is_new_key: bool
) -> tuple[MeshRecord, tuple[Claim, ...], bool]:
    """The mesh as remembered, founded, or entered just now; its peers if entered; and whether it is new here."""
    remembered = _remembered(plan, folder)
    if remembered is not None:
        remembered = replace(remembered, bootstrap=role.bind is not None)
        if is_new_key and role.door is not None:
            door = replace(role.door, node=remembered.node)
            try:
                return await _entered(plan, door, folder, remembered, 0.0, bootstrap=remembered.bootstrap)
            except CannotEnter as error:
                log.warning("not admitted anew yet", why=str(error), next="trying on")
        return remembered, (), False
    if plan.founds is not None:
        return plan.founds, (), True
    if role.door is None:
        raise Conflict("neither a mesh to make nor a bootstrap node to ask")
    return await _entered(
        plan, role.door, folder, None, plan.join_timeout_seconds, bootstrap=role.bind is not None
    )


async def _entered(
    plan: Plan,
    door: Door,
    folder: StateFolder,
    earlier: MeshRecord | None,
    timeout_seconds: float | None,
    *,
    bootstrap: bool,
) -> tuple[MeshRecord, tuple[Claim, ...], bool]:
    async def endpoint(towards: Sequence[IPAddress]) -> Endpoint:
        return await _endpoint(plan.node, towards, ())

    admitted = await enter_mesh(door, endpoint, timeout_seconds)
    record = record_of(admitted, plan.node.mesh_name, earlier, bootstrap=bootstrap)
    record = replace(
        record,
        ipam_ranges=plan.ipam_ranges,
        profile=plan.profile.value if plan.profile else record.profile,
        gossip_port=plan.gossip_port or record.gossip_port,
    )
    folder.save_mesh(record)
    return record, admitted.peers, True


def _remembered(plan: Plan, folder: StateFolder) -> MeshRecord | None:
    try:
        record = folder.mesh()
    except DamagedFile as error:
        if plan.founds is not None:
            raise
        log.error("mesh forgotten", why=str(error), next="entering again by a bootstrap node")
        return None
    if record is None:
        return None
    name = plan.node.node_name
    if name is not None and name != record.node:
        raise Conflict(
            f"this machine is the member {record.node} of the mesh {record.mesh}, and cannot become {name}: "
            "run `wgmesh leave` first"
        )
    founds = plan.founds
    if founds is not None and founds.ranges != record.ranges:
        log.warning("the mesh keeps its ranges", ranges=[str(n) for n in record.ranges])
    if founds is not None and founds.gossip_keys and not set(founds.gossip_keys) <= set(record.gossip_keys):
        log.warning("the mesh keeps its gossip key: the one given is not on its ring")
    return record


def _private_key(folder: StateFolder) -> tuple[PrivateKey, bool]:
    """This node's key, and whether it was made just now."""
    is_new = not folder.has_private_key()
    try:
        return folder.private_key(), is_new
    except DamagedFile as error:
        log.error(
            "WireGuard key lost", why=str(error), next="a new one is made; the mesh must admit this node anew"
        )
        return folder.private_key(), True


async def _session(
    plan: Plan, role: Role, folder: StateFolder, key: PrivateKey, record: MeshRecord
) -> Session:
    settings = plan.node
    towards = [a for b in (role.door.bootstraps if role.door else ()) for a in await resolve(b.host, b.port)]
    own = await _endpoint(settings, towards, record.ranges)
    choice = await choose(settings.backend.value, f"wg{record.mesh}")
    log.info("WireGuard back end", kind=choice.kind.value, why=choice.reason)
    identity = Identity(
        private_key=key,
        listen_port=settings.listen_port,
        endpoint=own,
        mtu=tunnel_mtu(
            [await underlay_mtu(towards, own)], mesh_version=max(n.version for n in record.ranges)
        ),
        interface=f"wg{record.mesh}",
    )

    async def endpoint(towards: Sequence[IPAddress]) -> Endpoint:
        return await _endpoint(settings, towards, record.ranges)

    return Session(settings, role, folder, identity, choice, record, endpoint)


async def _endpoint(settings: NodeSettings, towards: Sequence[IPAddress], ranges: Sequence[Any]) -> Endpoint:
    return await own_endpoint(
        settings.listen_addr, settings.listen_port, settings.stun_server, towards, ranges
    )


def _signals() -> tuple[asyncio.Event, asyncio.Event]:
    """SIGTERM stops; Ctrl-C leaves, and the second Ctrl-C does not wait for that."""
    stop, leave = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, lambda: stop.set() if leave.is_set() else leave.set())
    return stop, leave


def _bootstrap_plan(settings: BootstrapSettings) -> Plan:
    tls = _tls(settings.tls)
    client = _tls(settings.client_tls)
    bind = str(HostPort(str(settings.grpc_bind_addr), settings.grpc_bind_port))
    others = tuple(b for b in settings.bootstrap_addrs if not _is_self(b, settings.grpc_bind_port))
    founds = None if others else _founded(settings)
    return Plan(
        node=settings.node,
        role=lambda key: Role(bind, tls, _door(settings.node, others, client, key)),
        founds=founds,
        ipam_ranges=settings.cidr_ipam,
        join_timeout_seconds=settings.join_timeout_seconds,
        profile=None,
        gossip_port=None,
    )


def _join_plan(settings: JoinSettings) -> Plan:
    client = _tls(settings.tls)
    return Plan(
        node=settings.node,
        role=lambda key: Role(None, None, _door(settings.node, settings.bootstrap_addrs, client, key)),
        founds=None,
        ipam_ranges=(),
        join_timeout_seconds=settings.join_timeout_seconds,
        profile=settings.gossip_profile,
        gossip_port=settings.gossip_port,
    )


def _is_self(bootstrap: HostPort, port: int) -> bool:
    """Whether this is the node that reads it: one list of bootstrap nodes serves all of them, the founder too."""
    if bootstrap.port != port:
        return False
    try:
        found = socket.getaddrinfo(bootstrap.host, port, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(_is_local(family, address[0]) for family, _, _, _, address in found)


def _is_local(family: int, address: object) -> bool:
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


def _founded(settings: BootstrapSettings) -> MeshRecord:
    node, now = settings.node, int(time.time())
    keys = () if node.dev else (settings.encryption_key or os.urandom(32),)
    if node.dev and settings.encryption_key:
        keys = (settings.encryption_key,)
    return MeshRecord(
        mesh=node.mesh_name,
        node=node.node_name or default_node_name(node.mesh_name, settings.mesh_ips[0]),
        addresses=settings.mesh_ips,
        ranges=settings.cidrs,
        ipam_ranges=settings.cidr_ipam,
        created_unix=now,
        joined_unix=now,
        gossip_keys=keys,
        profile=settings.gossip_profile.value,
        gossip_port=settings.gossip_port,
        bootstrap=True,
        tags={},
    )


def _door(
    node: NodeSettings, bootstraps: tuple[HostPort, ...], tls: Credentials | None, key: PrivateKey
) -> Door | None:
    if not bootstraps:
        return None
    return Door(bootstraps, tls, node.mesh_name, node.node_name or "", key.public())


def _tls(files: ServerTLS | ClientTLS | None) -> Credentials | None:
    if files is None:
        return None
    return Credentials(load_tls_files(files.key, files.cert, authority=files.ca_cert, folder=files.ca_path))
