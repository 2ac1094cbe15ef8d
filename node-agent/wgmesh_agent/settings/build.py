"""Builds a command's settings from resolved values; checks for missing and conflicting ones."""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from wgmesh_agent.runtime.log_levels import Verbosity
from wgmesh_agent.settings import bootstrap_table, table
from wgmesh_agent.settings.errors import SettingsError
from wgmesh_agent.settings.model import (
    BootstrapSettings,
    Bundle,
    ClientSettings,
    GossipProfile,
    IPNetwork,
    JoinSettings,
    NodeSettings,
)
from wgmesh_agent.settings.ranges import check_ipam, mesh_addresses
from wgmesh_agent.settings.resolve import Layer, Resolved
from wgmesh_agent.settings.setting import Setting
from wgmesh_agent.settings.tls import bootstrap_client_tls, join_tls, server_tls

DEFAULT_GOSSIP_PORT = 7946
_GENERATED_NAME_LENGTH = 10
_GENERATED_NAME_ALPHABET = string.ascii_lowercase + string.digits


def bootstrap_settings(resolved: Resolved, chance: random.Random) -> BootstrapSettings:
    """Returns the settings of `wgmesh bootstrap`; `chance` generates a missing mesh name. Raises SettingsError."""
    given_name = resolved.value(table.MESH_NAME)
    mesh_name = given_name or "".join(chance.choices(_GENERATED_NAME_ALPHABET, k=_GENERATED_NAME_LENGTH))
    node = _node_settings(resolved, mesh_name)
    cidrs = resolved.value(bootstrap_table.CIDRS)
    gossip_port = resolved.value(table.GOSSIP_PORT) or DEFAULT_GOSSIP_PORT
    grpc_bind_port = resolved.value(bootstrap_table.GRPC_BIND_PORT)
    _check_ports_differ(resolved, table.GOSSIP_PORT, gossip_port, table.LISTEN_PORT, node.listen_port)
    _check_ports_differ(
        resolved, table.GOSSIP_PORT, gossip_port, bootstrap_table.GRPC_BIND_PORT, grpc_bind_port
    )
    if node.dev and resolved.is_given(bootstrap_table.ENCRYPTION_KEY):
        raise SettingsError(
            f"{resolved.origin(bootstrap_table.ENCRYPTION_KEY).label} cannot be combined with -dev"
        )
    tls = server_tls(resolved)
    return BootstrapSettings(
        node=node,
        mesh_name_generated=given_name is None,
        cidrs=cidrs,
        cidr_ipam=check_ipam(resolved, cidrs),
        mesh_ips=mesh_addresses(resolved, cidrs),
        grpc_bind_addr=resolved.value(bootstrap_table.GRPC_BIND_ADDR),
        grpc_bind_port=grpc_bind_port,
        tls=tls,
        client_tls=bootstrap_client_tls(resolved, tls),
        encryption_key=resolved.value(bootstrap_table.ENCRYPTION_KEY),
        gossip_port=gossip_port,
        gossip_profile=_gossip_profile(resolved),
        bootstrap_addrs=resolved.value(bootstrap_table.BOOTSTRAP_PEERS),
        join_timeout_seconds=resolved.value(table.JOIN_TIMEOUT),
        allow_routes=resolved.value(bootstrap_table.ALLOW_ROUTES),
    )


def join_settings(resolved: Resolved, read_bundle: Callable[[Path], Bundle]) -> JoinSettings:
    """Returns the settings of `wgmesh join`. Raises SettingsError.

    Args:
        read_bundle: reads a join bundle; raises SettingsError.
    """
    bundle = _bundle(resolved, read_bundle)
    mesh_name = resolved.value(table.MESH_NAME) if bundle is None else bundle.mesh
    if mesh_name is None:
        raise SettingsError(
            "the mesh to join needs a name: give -n, WGMESH_MESH_NAME, or mesh-name in YAML, or a -bundle"
        )
    bootstrap_addrs = resolved.value(table.BOOTSTRAP_ADDRS) or (bundle.bootstraps if bundle else ())
    if not bootstrap_addrs:
        raise SettingsError(
            "joining needs the address of a bootstrap node: give -bootstrap-addr HOST:PORT, "
            "WGMESH_BOOTSTRAP_ADDR, or join: bootstrap-endpoint in YAML"
        )
    node = _node_settings(resolved, mesh_name)
    if bundle is not None:
        node = replace(node, node_name=bundle.node)
    gossip_port = resolved.value(table.GOSSIP_PORT)
    if gossip_port is not None:
        _check_ports_differ(resolved, table.GOSSIP_PORT, gossip_port, table.LISTEN_PORT, node.listen_port)
    return JoinSettings(
        node=node,
        bootstrap_addrs=bootstrap_addrs,
        tls=join_tls(resolved) if bundle is None else None,
        bundle=bundle,
        gossip_port=gossip_port,
        gossip_profile=resolved.value(table.PROFILE),
        join_timeout_seconds=resolved.value(table.JOIN_TIMEOUT),
    )


def _bundle(resolved: Resolved, read: Callable[[Path], Bundle]) -> Bundle | None:
    """Returns the given bundle, after checking that no other setting contradicts it. Other addresses of bootstrap
    nodes are allowed: those in the bundle are as the cluster sees them."""
    path = resolved.value(table.BUNDLE)
    if path is None:
        return None
    label = resolved.origin(table.BUNDLE).label
    for setting in (table.CLIENT_KEY, table.CLIENT_CERT, table.CLIENT_CA_CERT, table.DEV):
        if resolved.is_given(setting):
            raise SettingsError(
                f"{resolved.origin(setting).label} cannot be combined with {label}: "
                "the bundle holds the certificates"
            )
    try:
        bundle = read(path.absolute())
    except SettingsError as error:
        raise SettingsError(f"{label}: {error}") from error
    for named, said, what in ((table.MESH_NAME, bundle.mesh, "mesh"), (table.NODE_NAME, bundle.node, "node")):
        given = resolved.value(named)
        if given is not None and given != said:
            raise SettingsError(
                f"{resolved.origin(named).label}: {path} is for the {what} {said}, not for {given}"
            )
    return bundle


def client_settings(resolved: Resolved) -> ClientSettings:
    """Returns the settings of the commands that query the agent."""
    return ClientSettings(
        agent_socket=resolved.value(table.AGENT_SOCKET),
        verbosity=verbosity(resolved),
    )


def verbosity(resolved: Resolved) -> Verbosity:
    if resolved.value(table.DEBUG):
        return Verbosity.DEBUG
    return Verbosity.VERBOSE if resolved.value(table.VERBOSE) else Verbosity.DEFAULT


def _node_settings(resolved: Resolved, mesh_name: str) -> NodeSettings:
    return NodeSettings(
        mesh_name=mesh_name,
        node_name=resolved.value(table.NODE_NAME),
        listen_addr=resolved.value(table.LISTEN_ADDR),
        listen_port=resolved.value(table.LISTEN_PORT),
        memberlist_file=_absolute(resolved.value(table.MEMBERLIST_FILE)),
        agent_socket=resolved.value(table.AGENT_BIND_SOCKET),
        agent_socket_owner=resolved.value(table.AGENT_BIND_SOCKET_ID),
        dev=resolved.value(table.DEV),
        backend=resolved.value(table.BACKEND),
        stun_server=resolved.value(table.STUN_SERVER),
        state_dir=resolved.value(table.STATE_DIR).absolute(),
        routes=_routes(resolved),
        psk_file=_absolute(resolved.value(table.PSK_FILE)),
        relays=resolved.value(table.RELAYS),
        log_format=resolved.value(table.LOG_FORMAT),
        verbosity=verbosity(resolved),
    )


def _routes(resolved: Resolved) -> tuple[IPNetwork, ...]:
    if resolved.value(table.DEV) and resolved.is_given(table.ROUTES):
        raise SettingsError(
            f"{resolved.origin(table.ROUTES).label} cannot be combined with -dev: routes require certificates"
        )
    return resolved.value(table.ROUTES)


def _gossip_profile(resolved: Resolved) -> GossipProfile:
    profile = resolved.value(table.PROFILE)
    lan_mode = resolved.value(bootstrap_table.SERF_MODE_LAN)
    if lan_mode is None:
        return profile or GossipProfile.LAN
    by_mode = GossipProfile.LAN if lan_mode else GossipProfile.WAN
    if profile is None or profile is by_mode:
        return by_mode
    profile_origin = resolved.origin(table.PROFILE)
    mode_origin = resolved.origin(bootstrap_table.SERF_MODE_LAN)
    if profile_origin.layer == mode_origin.layer:
        raise SettingsError(
            f"{mode_origin.label} ({by_mode}) contradicts {profile_origin.label} ({profile}), give only one"
        )
    return profile if profile_origin.layer > mode_origin.layer else by_mode


def _check_ports_differ(
    resolved: Resolved, one: Setting[int | None], one_port: int, other: Setting[int], other_port: int
) -> None:
    if one_port == other_port:
        stronger = max(resolved.origin(one), resolved.origin(other), key=lambda origin: origin.layer)
        label = stronger.label if stronger.layer is not Layer.DEFAULT else one.flag
        raise SettingsError(f"{label}: {one.flag} and {other.flag} cannot both be {one_port}")


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.absolute()
