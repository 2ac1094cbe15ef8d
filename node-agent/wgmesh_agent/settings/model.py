"""Settings as the agent uses them: already validated, every default applied."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

from wgmesh_agent.runtime.log_levels import LogFormat, Verbosity

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


class GossipProfile(StrEnum):
    """Timing of failure detection: `lan` detects a dead node in seconds, `wan` in most of a minute."""

    LAN = "lan"
    WAN = "wan"
    LOCAL = "local"


class BackendChoice(StrEnum):
    """WireGuard implementation; `auto` prefers the kernel module if available."""

    AUTO = "auto"
    KERNEL = "kernel"
    USERSPACE = "userspace"


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host, by name or address, and a port (1 to 65535). Printed as `host:port`, `[v6]:port`."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """The WireGuard endpoint address to advertise: literal, or read from an interface.

    Exactly one of `address` and `interface` is set. `index` counts the interface's addresses from 0 in the order the
    kernel lists them; None means the first usable one.
    """

    address: IPAddress | None = None
    interface: str | None = None
    index: int | None = None

    def __str__(self) -> str:
        if self.address is not None:
            return str(self.address)
        return f"{self.interface}%{self.index}" if self.index is not None else str(self.interface)


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What bootstrap and joining nodes have in common."""

    mesh_name: str
    """1 to 10 of `[A-Za-z0-9]`."""
    node_name: str | None
    """1 to 64 of `[A-Za-z0-9._-]`, letter or digit at both ends; None: generated from mesh name and address."""
    listen_addr: ListenAddress | None
    listen_port: int
    """UDP port of WireGuard."""
    memberlist_file: Path | None
    agent_socket: Path
    agent_socket_owner: tuple[int, int] | None
    """User id and group id."""
    dev: bool
    """Development mode: neither TLS nor encrypted gossip."""
    backend: BackendChoice
    stun_server: HostPort | None
    state_dir: Path
    """The base directory; the mesh's own subdirectory is named after the mesh."""
    log_format: LogFormat
    verbosity: Verbosity
    mtu: int | None = None
    """Bytes; None: derived from the underlay."""
    keepalive_seconds: int | None = None
    """Interval of persistent keepalives; None: disabled, unless this node is behind NAT."""
    relays: tuple[str, ...] = ()
    """Names of the members that may relay traffic between others, in order of preference."""
    routes: tuple[IPNetwork, ...] = ()
    """Subnet routes that this node asks to advertise."""
    psk_file: Path | None = None
    """The mesh's secrets for pre-shared keys."""
    own_address: IPAddress | None = None
    """This machine's address as configured by the program that started the agent; preferred while the machine has
    it."""


@dataclass(frozen=True, slots=True)
class ServerTLS:
    """PEM files of the Mesh service. Exactly one of `ca_cert` (file) and `ca_path` (folder) is set."""

    key: Path
    cert: Path
    ca_cert: Path | None
    ca_path: Path | None


@dataclass(frozen=True, slots=True)
class ClientTLS:
    """PEM files a joiner presents and trusts. Exactly one of `ca_cert` (file) and `ca_path` (folder) is set."""

    key: Path
    cert: Path
    ca_cert: Path | None
    ca_path: Path | None


@dataclass(frozen=True, slots=True)
class BootstrapSettings:
    """`wgmesh bootstrap`: create a mesh, or with `bootstrap_addrs` join an existing one as a bootstrap node."""

    node: NodeSettings
    mesh_name_generated: bool
    """The name was not given but generated at random."""
    cidrs: tuple[IPNetwork, ...]
    """At most one IPv4 and one IPv6 range, in the order given."""
    cidr_ipam: tuple[IPNetwork, ...]
    """Parts of `cidrs` from which joiners are assigned addresses; empty: all of `cidrs`."""
    mesh_ips: tuple[IPAddress, ...]
    """This node's mesh addresses, one for each of `cidrs`, in their order."""
    grpc_bind_addr: IPAddress
    grpc_bind_port: int
    tls: ServerTLS | None
    """None exactly when `node.dev`."""
    client_tls: ClientTLS | None
    """For joining another bootstrap node's mesh; None without `bootstrap_addrs` and with `node.dev`."""
    encryption_key: bytes | None = field(repr=False)
    """Gossip key of 32 bytes; None: generated when the mesh is created, or unused with `node.dev`."""
    gossip_port: int
    gossip_profile: GossipProfile
    bootstrap_addrs: tuple[HostPort, ...]
    join_timeout_seconds: float | None
    """How long to retry `bootstrap_addrs`; None: indefinitely."""
    allow_routes: tuple[tuple[str, IPNetwork], ...] = ()
    """Which joining node, by name, may advertise which network."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A join bundle as read from its file: all that one machine needs to join one mesh.

    Attributes:
        path: the file it came from, absolute.
        bootstraps: at least one.
        addresses: the mesh addresses reserved for this machine; empty if the bundle does not contain any.
        authorities, certificate, key: PEM, and belonging together.
    """

    path: Path
    mesh: str
    node: str
    bootstraps: tuple[HostPort, ...]
    addresses: tuple[IPAddress, ...]
    authorities: bytes
    certificate: bytes
    key: bytes = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """For pre-shared keys, base64, the newest first."""


@dataclass(frozen=True, slots=True)
class JoinSettings:
    """`wgmesh join`."""

    node: NodeSettings
    bootstrap_addrs: tuple[HostPort, ...]
    """At least one; tried in turn."""
    tls: ClientTLS | None
    """None with `node.dev`, and with a bundle."""
    bundle: Bundle | None
    """This machine's identity, if there are no TLS files."""
    gossip_port: int | None
    """None: as in the mesh."""
    gossip_profile: GossipProfile | None
    """None: as in the mesh."""
    join_timeout_seconds: float | None
    """None: indefinitely."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """`wgmesh info` and the other commands that query the agent on this machine."""

    agent_socket: Path
    verbosity: Verbosity
