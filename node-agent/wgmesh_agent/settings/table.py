"""All settings: spelling as flag, variable and YAML key, parser, default.

Names are those of the original wgmesh where it had the setting. The command line, the YAML reader, the environment
and `docs/command-line.md` are generated from this table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wgmesh_agent.runtime.log_levels import LogFormat
from wgmesh_agent.settings import bootstrap_table, parsing
from wgmesh_agent.settings.model import BackendChoice, GossipProfile, HostPort, IPNetwork, ListenAddress
from wgmesh_agent.settings.setting import ALL, NODE, Command, Setting

CONFIG: Setting[Path | None] = Setting(
    commands=ALL,
    flags=("config",),
    env=("WGMESH_CONFIG",),
    parse=parsing.path,
    default=None,
    metavar="FILE",
    help="YAML file to read settings from",
)
VERBOSE: Setting[bool] = Setting(
    commands=ALL,
    flags=("v", "verbose"),
    parse=parsing.boolean,
    default=False,
    is_switch=True,
    help="log joins, leaves and rejected claims",
)
DEBUG: Setting[bool] = Setting(
    commands=ALL,
    flags=("d", "debug"),
    parse=parsing.boolean,
    default=False,
    is_switch=True,
    help="log everything",
)
MESH_NAME: Setting[str | None] = Setting(
    commands=NODE | Command.DOCTOR,
    flags=("name", "n"),
    env=("WGMESH_MESH_NAME",),
    yaml=("mesh-name",),
    parse=parsing.mesh_name,
    default=None,
    default_text="bootstrap: 10 random letters and digits; join: must be given",
    metavar="NAME",
    help="the mesh's name, 1 to 10 letters and digits",
)
NODE_NAME: Setting[str | None] = Setting(
    commands=NODE,
    flags=("node-name",),
    env=("WGMESH_NODE_NAME",),
    yaml=("node-name",),
    parse=parsing.node_name,
    default=None,
    default_text="mesh name and mesh address in hex",
    metavar="NAME",
    help="this node's name",
)
BOOTSTRAP_ADDRS: Setting[tuple[HostPort, ...]] = Setting(
    commands=Command.JOIN,
    flags=("bootstrap-addr",),
    env=("WGMESH_BOOTSTRAP_ADDR", "WGMESH_WIREGUARD_BOOTSTRAP_ADDR"),
    yaml=("join.bootstrap-endpoint",),
    parse=parsing.host_ports(parsing.DEFAULT_BOOTSTRAP_PORT),
    default=(),
    default_text="must be given; port 5000",
    metavar="HOST[:PORT],…",
    is_list=True,
    help="bootstrap nodes to join at, tried in turn",
)
CLIENT_KEY: Setting[Path | None] = Setting(
    commands=NODE | Command.DOCTOR,
    flags=("client-key",),
    env=("WGMESH_CLIENT_KEY",),
    yaml=("join.client-key",),
    parse=parsing.path,
    default=None,
    default_text="join: must be given; bootstrap: -grpc-server-key",
    metavar="FILE",
    help="private key of the client certificate (PEM)",
)
CLIENT_CERT: Setting[Path | None] = Setting(
    commands=NODE | Command.DOCTOR,
    flags=("client-cert",),
    env=("WGMESH_CLIENT_CERT",),
    yaml=("join.client-cert",),
    parse=parsing.path,
    default=None,
    default_text="join: must be given; bootstrap: -grpc-server-cert",
    metavar="FILE",
    help="client certificate presented to bootstrap nodes (PEM)",
)
CLIENT_CA_CERT: Setting[Path | None] = Setting(
    commands=Command.JOIN | Command.DOCTOR,
    flags=("ca-cert",),
    env=("WGMESH_CA_CERT",),
    yaml=("join.ca-cert",),
    parse=parsing.path,
    default=None,
    default_text="must be given",
    metavar="FILE",
    help="CA certificates used to verify bootstrap nodes (PEM)",
)
BUNDLE: Setting[Path | None] = Setting(
    commands=Command.JOIN | Command.DOCTOR,
    flags=("bundle",),
    env=("WGMESH_BUNDLE",),
    yaml=("bundle",),
    parse=parsing.path,
    default=None,
    metavar="FILE",
    help="join bundle, instead of -name, -node-name, -bootstrap-addr and certificates",
)
JOIN_TIMEOUT: Setting[float | None] = Setting(
    commands=NODE,
    flags=("join-timeout",),
    env=("WGMESH_JOIN_TIMEOUT",),
    yaml=("join.timeout",),
    parse=parsing.seconds,
    default=60.0,
    default_text="60",
    metavar="SECONDS",
    help="how long to retry joining once this machine can send, in seconds; 0: indefinitely",
)
LISTEN_ADDR: Setting[ListenAddress | None] = Setting(
    commands=NODE,
    flags=("listen-addr",),
    env=("WGMESH_WIREGUARD_LISTEN_ADDR",),
    yaml=("wireguard.listen-addr",),
    parse=parsing.listen_address,
    default=None,
    default_text="source address of packets to the bootstrap node, or to the internet",
    metavar="IP|INTERFACE[%N]",
    help="endpoint address advertised to peers: IP address or interface; eth0%1 is the second address of eth0",
)
LISTEN_PORT: Setting[int] = Setting(
    commands=NODE | Command.DOCTOR,
    flags=("listen-port",),
    env=("WGMESH_WIREGUARD_LISTEN_PORT",),
    yaml=("wireguard.listen-port",),
    parse=parsing.port,
    default=54540,
    default_text="54540",
    metavar="PORT",
    help="UDP port of WireGuard",
)
MEMBERLIST_FILE: Setting[Path | None] = Setting(
    commands=NODE,
    flags=("memberlist-file",),
    env=("WGMESH_MEMBERLIST_FILE",),
    yaml=("memberlist-file", "bootstrap.memberlist-file"),
    parse=parsing.path,
    default=None,
    default_text="none",
    metavar="FILE",
    help="file in which the agent keeps a JSON list of members and services",
)
AGENT_BIND_SOCKET: Setting[Path] = Setting(
    commands=NODE,
    flags=("agent-grpc-bind-socket",),
    env=("WGMESH_AGENT_BIND_SOCKET", "WGMESH_AGENT_GRPC_BIND_SOCKET"),
    yaml=("agent.agent-grpc-bind-socket",),
    parse=parsing.socket_path,
    default=Path("/var/run/wgmesh.sock"),
    default_text="/var/run/wgmesh.sock",
    metavar="PATH",
    help="Unix socket of the agent",
)
AGENT_BIND_SOCKET_ID: Setting[tuple[int, int] | None] = Setting(
    commands=NODE,
    flags=("agent-grpc-bind-socket-id",),
    env=("WGMESH_AGENT_BIND_SOCKET_ID", "WGMESH_AGENT_GRPC_BIND_SOCKET_ID"),
    yaml=("agent.agent-grpc-bind-socket-id",),
    parse=parsing.owner,
    default=None,
    default_text="the user that started the agent",
    metavar="UID:GID",
    help="owner of that socket",
)
AGENT_SOCKET: Setting[Path] = Setting(
    commands=Command.CLIENT | Command.DOCTOR,
    flags=("agent-grpc-socket",),
    env=("WGMESH_AGENT_SOCKET",),
    yaml=("agent.agent-grpc-socket",),
    parse=parsing.socket_path,
    default=Path("/var/run/wgmesh.sock"),
    default_text="/var/run/wgmesh.sock",
    metavar="PATH",
    help="Unix socket of the agent",
)
DEV: Setting[bool] = Setting(
    commands=NODE,
    flags=("dev",),
    parse=parsing.boolean,
    default=False,
    is_switch=True,
    help="development mode: no TLS, no gossip encryption, anyone can join",
)
GOSSIP_PORT: Setting[int | None] = Setting(
    commands=NODE,
    flags=("gossip-port",),
    env=("WGMESH_GOSSIP_PORT",),
    yaml=("gossip.port",),
    parse=parsing.port,
    default=None,
    default_text="bootstrap: 7946; join: the mesh's",
    metavar="PORT",
    help="TCP and UDP port of gossip, on the mesh address only",
)
PROFILE: Setting[GossipProfile | None] = Setting(
    commands=NODE,
    flags=("profile",),
    env=("WGMESH_PROFILE",),
    yaml=("gossip.profile",),
    parse=parsing.one_of(GossipProfile),
    default=None,
    default_text="bootstrap: lan; join: the mesh's",
    metavar="lan|wan|local",
    help="timing of failure detection",
)
BACKEND: Setting[BackendChoice] = Setting(
    commands=NODE | Command.DOCTOR,
    flags=("backend",),
    env=("WGMESH_BACKEND",),
    yaml=("wireguard.backend",),
    parse=parsing.one_of(BackendChoice),
    default=BackendChoice.AUTO,
    default_text="auto",
    metavar="auto|kernel|userspace",
    help="WireGuard implementation: kernel module or wireguard-go",
)
STUN_SERVER: Setting[HostPort | None] = Setting(
    commands=NODE,
    flags=("stun-server",),
    env=("WGMESH_STUN_SERVER",),
    yaml=("wireguard.stun-server",),
    parse=parsing.host_port(parsing.DEFAULT_STUN_PORT),
    default=None,
    default_text="none; port 3478",
    metavar="HOST[:PORT]",
    help="STUN server used to discover the public endpoint",
)
ROUTES: Setting[tuple[IPNetwork, ...]] = Setting(
    commands=NODE,
    flags=("routes",),
    env=("WGMESH_ROUTES",),
    yaml=("routes",),
    parse=parsing.routes,
    default=(),
    default_text="none",
    metavar="CIDR,…",
    is_list=True,
    help="subnet routes to advertise; bootstrap nodes must allow them",
)
RELAYS: Setting[tuple[str, ...]] = Setting(
    commands=NODE,
    flags=("relays",),
    env=("WGMESH_RELAYS",),
    yaml=("relays",),
    parse=parsing.node_names,
    default=(),
    default_text="none",
    metavar="NAME[,NAME…]",
    is_list=True,
    help="members allowed to relay traffic between nodes without a direct path; this node relays if it is listed",
)
PSK_FILE: Setting[Path | None] = Setting(
    commands=NODE,
    flags=("psk-file",),
    env=("WGMESH_PSK_FILE",),
    yaml=("wireguard.psk-file",),
    parse=parsing.path,
    default=None,
    default_text="none; join: secrets of the bundle",
    metavar="FILE",
    help="secrets for deriving pre-shared keys, newest first; created by `wgmesh keys new-psk`",
)
STATE_DIR: Setting[Path] = Setting(
    commands=NODE | Command.DOCTOR,
    flags=("state-dir",),
    env=("WGMESH_STATE_DIR",),
    yaml=("state-dir",),
    parse=parsing.path,
    default=Path("/var/lib/wgmesh"),
    default_text="/var/lib/wgmesh",
    metavar="FOLDER",
    help="directory for keys and known members, one subdirectory per mesh",
)
LOG_FORMAT: Setting[LogFormat] = Setting(
    commands=NODE,
    flags=("log-format",),
    env=("WGMESH_LOG_FORMAT",),
    yaml=("log-format",),
    parse=parsing.one_of(LogFormat),
    default=LogFormat.TEXT,
    default_text="text",
    metavar="text|json",
    help="log format",
)

SETTINGS: tuple[Setting[Any], ...] = (
    MESH_NAME,
    NODE_NAME,
    bootstrap_table.CIDRS,
    bootstrap_table.CIDR_IPAM,
    bootstrap_table.MESH_IPS,
    bootstrap_table.GRPC_BIND_ADDR,
    bootstrap_table.GRPC_BIND_PORT,
    bootstrap_table.SERVER_KEY,
    bootstrap_table.SERVER_CERT,
    bootstrap_table.SERVER_CA_CERT,
    bootstrap_table.SERVER_CA_PATH,
    bootstrap_table.ENCRYPTION_KEY,
    bootstrap_table.SERF_MODE_LAN,
    bootstrap_table.BOOTSTRAP_PEERS,
    BUNDLE,
    BOOTSTRAP_ADDRS,
    CLIENT_KEY,
    CLIENT_CERT,
    CLIENT_CA_CERT,
    JOIN_TIMEOUT,
    LISTEN_ADDR,
    LISTEN_PORT,
    BACKEND,
    PSK_FILE,
    STUN_SERVER,
    RELAYS,
    GOSSIP_PORT,
    PROFILE,
    ROUTES,
    bootstrap_table.ALLOW_ROUTES,
    MEMBERLIST_FILE,
    STATE_DIR,
    AGENT_BIND_SOCKET,
    AGENT_BIND_SOCKET_ID,
    AGENT_SOCKET,
    DEV,
    LOG_FORMAT,
    CONFIG,
    VERBOSE,
    DEBUG,
)


def settings_of(command: Command) -> tuple[Setting[Any], ...]:
    """Returns the rows of `command`, in the order of help."""
    return tuple(setting for setting in SETTINGS if command & setting.commands)
