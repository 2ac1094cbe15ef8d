"""`wgmesh bootstrap` and `wgmesh join`: from settings to a running agent."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import structlog

from wgmesh_agent.agent.policies import Policies
from wgmesh_agent.agent.run import ConfigConflict, Entry, endpoint_of, run_agent
from wgmesh_agent.agent.session_start import SessionConfig, SessionStart
from wgmesh_agent.linux.interface_addresses import has_addresses
from wgmesh_agent.mesh.credentials import Credentials, load_tls_files
from wgmesh_agent.mesh.discovery.advertised_endpoint import NoUsableEndpoint
from wgmesh_agent.mesh.join.bootstrap_directory import (
    BootstrapDirectory,
    CombinedBootstraps,
    StaticBootstraps,
)
from wgmesh_agent.mesh.join.bundle import read_bundle, validity_problem
from wgmesh_agent.mesh.join.bundle_reloader import BundleReloader
from wgmesh_agent.mesh.join.joiner import (
    EARLIEST,
    JoinFailed,
    JoinTarget,
    join_mesh,
    mesh_record_from,
    until_the_clock_is_set,
)
from wgmesh_agent.mesh.join.other_bootstraps import other_bootstraps
from wgmesh_agent.mesh.join.start_conditions import Waiting, is_passing
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.mesh.membership.names import default_node_name
from wgmesh_agent.mesh.membership.policy import StandalonePolicy
from wgmesh_agent.mesh.psk.derivation import parse_secrets
from wgmesh_agent.mesh.psk.secret_file import SecretFile, from_file
from wgmesh_agent.mesh.rotation.key_policy import StandaloneKeyPolicy
from wgmesh_agent.runtime.checksummed_file import CorruptFile
from wgmesh_agent.runtime.supervisor import Component
from wgmesh_agent.settings.errors import SettingsError
from wgmesh_agent.settings.model import (
    BootstrapSettings,
    Bundle,
    ClientTLS,
    GossipProfile,
    HostPort,
    JoinSettings,
    NodeSettings,
    ServerTLS,
)
from wgmesh_agent.state.store import StateStore
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_agent.wireguard.model import Endpoint, IPAddress
from wgmesh_api.preshared import SecretsError

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """Common parameters of `bootstrap` and `join`.

    Attributes:
        creates: the record of the mesh to create if this machine knows none; None for a node that joins one.
        profile, gossip_port: None: those of the mesh.
        bundle: this node's identity, if a bundle states it.
    """

    node: NodeSettings
    role: Callable[[PrivateKey], SessionConfig]
    policies: Policies
    creates: MeshRecord | None
    ipam_ranges: tuple[Any, ...]
    join_timeout_seconds: float | None
    profile: GossipProfile | None
    gossip_port: int | None
    bundle: Bundle | None = None


def run_bootstrap(settings: BootstrapSettings) -> int:
    """Runs a bootstrap node until it is stopped; returns the exit status."""
    return run_agent(settings.node, lambda: _bootstrap_entry(settings), founds=not settings.bootstrap_addrs)


def run_join(settings: JoinSettings) -> int:
    """Runs a plain node until it is stopped; returns the exit status. Raises SettingsError for an expired bundle."""
    if settings.bundle is None:
        return run_agent(settings.node, lambda: _entry(_join_plan(settings, _tls(settings.tls))))
    watch = BundleReloader(settings.bundle)
    return run_agent(
        settings.node,
        lambda: _entry(_join_plan(settings, watch.credentials, watch)),
        lambda _session: (Component("bundle", watch.run),),
    )


def _entry(plan: LaunchPlan) -> Entry:
    return functools.partial(_start, plan)


def _bootstrap_entry(settings: BootstrapSettings) -> Entry:
    """Reads all its inputs at once, so that a mistake is reported at once."""
    tls, client, secrets = _tls(settings.tls), _tls(settings.client_tls), secrets_of(settings.node, None)

    async def entry(folder: StateStore, key: PrivateKey, is_new_key: bool) -> SessionStart:
        if tls is not None and folder.is_empty():
            await until_the_clock_is_set()
        others = await other_bootstraps(
            settings.bootstrap_addrs, settings.grpc_bind_port, founds=folder.is_empty()
        )
        plan = _bootstrap_plan(settings, others, tls, client, secrets)
        return await _start(plan, folder, key, is_new_key)

    return entry


async def _start(plan: LaunchPlan, folder: StateStore, key: PrivateKey, is_new_key: bool) -> SessionStart:
    """The mesh as remembered, founded, or joined just now."""
    role = plan.role(key)
    remembered = _remembered(plan, folder)
    if remembered is not None:
        remembered = replace(remembered, bootstrap=role.bind is not None)
        if role.join_target is None:
            remembered = replace(remembered, routes=plan.node.routes)
        is_other = _has_other_addresses(plan.bundle, remembered) or _must_rejoin_for_routes(plan, remembered)
        if role.join_target is not None and (is_new_key or is_other):
            door = replace(role.join_target, node=remembered.node, replaces=folder.earlier_private_key())
            try:
                return await _joined(plan, role, door, folder, remembered, 0.0)
            except (JoinFailed, NoUsableEndpoint) as error:
                log.warning("rejoin failed", error=str(error), next="retrying")
                role = replace(role, join_target=door)
        return SessionStart(role, plan.policies, remembered)
    if plan.creates is not None:
        return SessionStart(role, plan.policies, plan.creates, fresh=True)
    now = datetime.now(UTC)
    problem = validity_problem(plan.bundle, now) if plan.bundle is not None and now >= EARLIEST else None
    if problem is not None:
        raise SettingsError(problem)
    if role.join_target is None:
        raise ConfigConflict("no mesh to create and no bootstrap node to join")
    return await _joined(plan, role, role.join_target, folder, None, plan.join_timeout_seconds)


def _must_rejoin_for_routes(plan: LaunchPlan, remembered: MeshRecord) -> bool:
    """Whether this node requests other routes than when it joined, or was not granted all of them."""
    given = remembered.admission.routes if remembered.admission else ()
    return plan.node.routes != remembered.routes or not set(plan.node.routes) <= set(given)


def _has_other_addresses(bundle: Bundle | None, remembered: MeshRecord) -> bool:
    """Whether the bundle is for a member that was re-created since this machine joined."""
    return bundle is not None and bool(bundle.addresses) and bundle.addresses != remembered.addresses


async def _joined(
    plan: LaunchPlan,
    role: SessionConfig,
    door: JoinTarget,
    folder: StateStore,
    earlier: MeshRecord | None,
    timeout_seconds: float | None,
) -> SessionStart:
    async def endpoint(towards: Sequence[IPAddress]) -> Endpoint:
        return await endpoint_of(plan.node, towards, ())

    if timeout_seconds != 0:
        await _until_it_has_an_endpoint(lambda: endpoint(()), timeout_seconds)
    admitted = await join_mesh(door, endpoint, timeout_seconds)
    record = mesh_record_from(admitted, plan.node.mesh_name, earlier, bootstrap=role.bind is not None)
    record = replace(
        record,
        ipam_ranges=plan.ipam_ranges,
        profile=plan.profile.value if plan.profile else record.profile,
        gossip_port=plan.gossip_port or record.gossip_port,
        routes=plan.node.routes,
    )
    folder.save_mesh(record)
    folder.forget_earlier_key()
    return SessionStart(role, plan.policies, record, admitted.peers, fresh=True)


async def _until_it_has_an_endpoint(
    endpoint: Callable[[], Awaitable[Endpoint]], timeout_seconds: float | None
) -> None:
    """Waits until peers could reach this node. Without the configured address, a machine waits as long as for a
    bootstrap node. Raises NoUsableEndpoint.
    """
    addressed_since: float | None = None
    async with Waiting() as waiting:
        while True:
            try:
                await endpoint()
                return
            except NoUsableEndpoint as error:
                if not is_passing(error):
                    raise
                if addressed_since is None and await has_addresses():
                    addressed_since = time.monotonic()
                if (
                    timeout_seconds is not None
                    and addressed_since is not None
                    and time.monotonic() - addressed_since >= timeout_seconds
                ):
                    raise
                waiting.say(str(error))
            await waiting.pause()


def _remembered(plan: LaunchPlan, folder: StateStore) -> MeshRecord | None:
    try:
        record = folder.mesh()
    except CorruptFile as error:
        if plan.creates is not None:
            raise
        log.error("mesh record is corrupt", error=str(error), next="joining again via a bootstrap node")
        return None
    if record is None:
        return None
    name = plan.node.node_name
    if name is not None and name != record.node:
        raise ConfigConflict(
            f"this machine is the member {record.node} of the mesh {record.mesh}, and cannot become {name}: start it "
            f"as {record.node} and run `wgmesh leave`; if its state is another machine's, remove {folder.path}"
        )
    founds = plan.creates
    if founds is not None and founds.ranges != record.ranges:
        log.warning(
            "range setting ignored: ranges of a mesh are fixed", ranges=[str(n) for n in record.ranges]
        )
    if founds is not None and founds.gossip_keys and not set(founds.gossip_keys) <= set(record.gossip_keys):
        log.warning("gossip key setting ignored: it is not in the keyring")
    return record


def _bootstrap_plan(
    settings: BootstrapSettings,
    others: tuple[HostPort, ...],
    tls: Credentials | None,
    client: Credentials | None,
    secrets: SecretFile,
) -> LaunchPlan:
    bind = HostPort(str(settings.grpc_bind_addr), settings.grpc_bind_port)
    founds = None if others else _created(settings)
    return LaunchPlan(
        node=settings.node,
        role=lambda key: SessionConfig(
            bind,
            tls,
            _join_target(settings.node, others, client, key, secrets),
            settings.grpc_bind_port,
            secrets,
        ),
        policies=Policies(
            StandalonePolicy(settings.allow_routes), StandaloneKeyPolicy(), StaticBootstraps(others)
        ),
        creates=founds,
        ipam_ranges=settings.cidr_ipam,
        join_timeout_seconds=settings.join_timeout_seconds,
        profile=None,
        gossip_port=None,
    )


def _join_plan(
    settings: JoinSettings, client: Credentials | None, *directories: BootstrapDirectory
) -> LaunchPlan:
    """Args:
    directories: sources of bootstrap nodes' addresses other than the settings.
    """
    secrets = secrets_of(settings.node, settings.bundle)
    given = StaticBootstraps(settings.bootstrap_addrs)
    return LaunchPlan(
        node=settings.node,
        role=lambda key: SessionConfig(
            None,
            None,
            _join_target(settings.node, settings.bootstrap_addrs, client, key, secrets),
            settings.bootstrap_addrs[0].port,
            secrets=secrets,
        ),
        policies=Policies(
            StandalonePolicy(()), StandaloneKeyPolicy(), CombinedBootstraps((given, *directories))
        ),
        creates=None,
        ipam_ranges=(),
        join_timeout_seconds=settings.join_timeout_seconds,
        profile=settings.gossip_profile,
        gossip_port=settings.gossip_port,
        bundle=settings.bundle,
    )


def _created(settings: BootstrapSettings) -> MeshRecord:
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
        gossip_keys_since=now if keys else 0,
        profile=settings.gossip_profile.value,
        gossip_port=settings.gossip_port,
        bootstrap=True,
        tags={},
        requires_admission=settings.tls is not None,
        routes=node.routes,
    )


def _join_target(
    node: NodeSettings,
    bootstraps: tuple[HostPort, ...],
    tls: Credentials | None,
    key: PrivateKey,
    secrets: SecretFile,
) -> JoinTarget | None:
    if not bootstraps:
        return None
    return JoinTarget(
        bootstraps,
        tls,
        node.mesh_name,
        node.node_name or "",
        key.public(),
        node.routes,
        secrets=secrets,
        own_key=key,
    )


def secrets_of(node: NodeSettings, bundle: Bundle | None) -> SecretFile:
    """Those in the configured file, otherwise those in the bundle. Raises ConfigConflict."""
    try:
        if node.psk_file is not None:
            return from_file(node.psk_file, node.mesh_name)
        if bundle is not None:
            path, mesh = bundle.path, bundle.mesh
            return SecretFile(lambda: parse_secrets("\n".join(read_bundle(path).secrets), mesh))
    except SecretsError as error:
        raise ConfigConflict(str(error)) from error
    return SecretFile()


def _tls(files: ServerTLS | ClientTLS | None) -> Credentials | None:
    if files is None:
        return None
    return Credentials(load_tls_files(files.key, files.cert, authority=files.ca_cert, folder=files.ca_path))
