"""The rows of the settings table that only `wgmesh bootstrap` has."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_network
from pathlib import Path

from wgmesh_agent.settings import parsing
from wgmesh_agent.settings.model import HostPort, IPAddress, IPNetwork
from wgmesh_agent.settings.setting import Command, Setting

CIDRS: Setting[tuple[IPNetwork, ...]] = Setting(
    commands=Command.BOOTSTRAP,
    flags=("cidr",),
    env=("WGMESH_CIDR_RANGE",),
    yaml=("bootstrap.mesh-cidr-range",),
    parse=parsing.ranges,
    default=(ip_network("10.232.0.0/16"),),
    default_text="10.232.0.0/16",
    metavar="CIDR[,CIDR]",
    is_list=True,
    help="the mesh's address range: IPv4, IPv6, or one of each",
)
CIDR_IPAM: Setting[tuple[IPNetwork, ...]] = Setting(
    commands=Command.BOOTSTRAP,
    flags=("cidr-ipam",),
    env=("WGMESH_CIDR_RANGE_IPAM",),
    yaml=("bootstrap.mesh-ipam-cidr-range",),
    parse=parsing.ranges,
    default=(),
    default_text="all of -cidr",
    metavar="CIDR[,CIDR]",
    is_list=True,
    help="part of -cidr from which joining nodes are assigned addresses",
)
MESH_IPS: Setting[tuple[IPAddress, ...]] = Setting(
    commands=Command.BOOTSTRAP,
    flags=("ip",),
    env=("WGMESH_MESH_IP",),
    yaml=("bootstrap.node-ip",),
    parse=parsing.addresses,
    default=(),
    default_text="10.232.1.1; in another range the network address + 257, or + 1 in small ranges",
    metavar="IP[,IP]",
    is_list=True,
    help="this node's address in the mesh, one for each range",
)
GRPC_BIND_ADDR: Setting[IPAddress] = Setting(
    commands=Command.BOOTSTRAP,
    flags=("grpc-bind-addr",),
    env=("WGMESH_GRPC_BIND_ADDR",),
    yaml=("bootstrap.grpc-bind-addr",),
    parse=parsing.address,
    default=IPv4Address(0),  # all addresses: a join service must be reachable
    default_text=str(IPv4Address(0)),
    metavar="IP",
    help="address the join service listens on",
)
GRPC_BIND_PORT: Setting[int] = Setting(
    commands=Command.BOOTSTRAP | Command.DOCTOR,
    flags=("grpc-bind-port",),
    env=("WGMESH_GRPC_BIND_PORT",),
    yaml=("bootstrap.grpc-bind-port",),
    parse=parsing.port,
    default=5000,
    default_text="5000",
    metavar="PORT",
    help="TCP port the join service listens on",
)
SERVER_KEY: Setting[Path | None] = Setting(
    commands=Command.BOOTSTRAP | Command.DOCTOR,
    flags=("grpc-server-key",),
    env=("WGMESH_SERVER_KEY",),
    yaml=("bootstrap.grpc-tls.grpc-server-key",),
    parse=parsing.path,
    default=None,
    metavar="FILE",
    help="the join service's private key (PEM)",
)
SERVER_CERT: Setting[Path | None] = Setting(
    commands=Command.BOOTSTRAP | Command.DOCTOR,
    flags=("grpc-server-cert",),
    env=("WGMESH_SERVER_CERT",),
    yaml=("bootstrap.grpc-tls.grpc-server-cert",),
    parse=parsing.path,
    default=None,
    metavar="FILE",
    help="the join service's certificate (PEM)",
)
SERVER_CA_CERT: Setting[Path | None] = Setting(
    commands=Command.BOOTSTRAP,
    flags=("grpc-ca-cert",),
    env=("WGMESH_CA_CERT",),
    yaml=("bootstrap.grpc-tls.grpc-ca-cert",),
    parse=parsing.path,
    default=None,
    metavar="FILE",
    help="CA certificates used to verify joining nodes (PEM)",
)
SERVER_CA_PATH: Setting[Path | None] = Setting(
    commands=Command.BOOTSTRAP,
    flags=("grpc-ca-path",),
    env=("WGMESH_CA_PATH",),
    yaml=("bootstrap.grpc-tls.grpc-ca-path",),
    parse=parsing.path,
    default=None,
    metavar="FOLDER",
    help="directory of CA certificates, instead of -grpc-ca-cert",
)
ENCRYPTION_KEY: Setting[bytes | None] = Setting(
    commands=Command.BOOTSTRAP,
    flags=("mesh-encryption-key",),
    env=("WGMESH_ENCRYPTION_KEY",),
    yaml=("bootstrap.mesh-encryption-key",),
    parse=parsing.encryption_key,
    default=None,
    default_text="random",
    metavar="BASE64",
    help="gossip encryption key, base64 of 32 bytes",
)
SERF_MODE_LAN: Setting[bool | None] = Setting(
    commands=Command.BOOTSTRAP,
    flags=("serf-mode-lan",),
    env=("WGMESH_SERF_MODE_LAN",),
    yaml=("bootstrap.serf-mode-lan",),
    parse=parsing.boolean,
    default=None,
    is_switch=True,
    help="same as --profile lan; =false: same as --profile wan",
)
BOOTSTRAP_PEERS: Setting[tuple[HostPort, ...]] = Setting(
    commands=Command.BOOTSTRAP,
    flags=("bootstrap-addr",),
    env=("WGMESH_BOOTSTRAP_ADDR",),
    yaml=("bootstrap.bootstrap-endpoint",),
    parse=parsing.host_ports(parsing.DEFAULT_BOOTSTRAP_PORT),
    default=(),
    default_text="create a new mesh",
    metavar="HOST[:PORT],…",
    is_list=True,
    help="join an existing mesh through these bootstrap nodes, as an additional bootstrap node",
)
ALLOW_ROUTES: Setting[tuple[tuple[str, IPNetwork], ...]] = Setting(
    commands=Command.BOOTSTRAP,
    flags=("allow-routes",),
    env=("WGMESH_ALLOW_ROUTES",),
    yaml=("bootstrap.allow-routes",),
    parse=parsing.allowed_routes,
    default=(),
    default_text="none",
    metavar="NODE=CIDR,…",
    is_list=True,
    help="networks that joining nodes may advertise; must be the same on all bootstrap nodes",
)
