"""The settings as the daemon sees them: already checked, every default applied."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

from wgmesh_agent.runtime.log_levels import LogFormat, Verbosity

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


class GossipProfile(StrEnum):
    """Timing of failure detection: `lan` notices a dead node in seconds, `wan` in most of a minute."""

    LAN = "lan"
    WAN = "wan"
    LOCAL = "local"


class BackendChoice(StrEnum):
    """Which WireGuard to use; `auto` takes the kernel's where there is one."""

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
    """The address others are told to send WireGuard packets to: literal, or read off an interface.

    Exactly one of `address` and `interface` is set. `index` counts the interface's addresses from 0 in the
    order the kernel lists them; None means the first usable one.
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
    """1 to 64 of `[A-Za-z0-9._-]`, letter or digit at both ends; None: made from mesh name and address."""
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
    """The base; the mesh's own folder, named after the mesh, is below."""
    log_format: LogFormat
    verbosity: Verbosity
    mtu: int | None = None
    """Bytes; None: what the underlay leaves."""
    keepalive_seconds: int | None = None
    """Between packets that keep address translators open; None: none, unless this node is behind one."""
    relays: tuple[str, ...] = ()
    """Names of the members that may carry traffic between others, best first."""
    routes: tuple[IPNetwork, ...] = ()
    """Networks behind this node that it asks to announce."""
    psk_file: Path | None = None
    """The mesh's secrets for pre-shared keys."""
    own_address: IPAddress | None = None
    """This machine's address as whoever started the agent had it; preferred for as long as the machine has it."""


@dataclass(frozen=True, slots=True)
class ServerTLS:
    """PEM files of the Mesh service. Exactly one of `ca_cert` (file) and `ca_path` (folder) is set."""

    key: Path
    cert: Path
    ca_cert: Path | None
    ca_path: Path | None


@dataclass(frozen=True, slots=True)
class ClientTLS:
    """PEM files a joiner shows and trusts. Exactly one of `ca_cert` (file) and `ca_path` (folder) is set."""

    key: Path
    cert: Path
    ca_cert: Path | None
    ca_path: Path | None


@dataclass(frozen=True, slots=True)
class BootstrapSettings:
    """`wgmesh bootstrap`: make a mesh, or with `bootstrap_addrs` enter one that exists and admit others."""

    node: NodeSettings
    mesh_name_generated: bool
    """The name was not given but drawn by chance."""
    cidrs: tuple[IPNetwork, ...]
    """At most one IPv4 and one IPv6 range, in the order given."""
    cidr_ipam: tuple[IPNetwork, ...]
    """Parts of `cidrs` that joiners get addresses from; empty: all of `cidrs`."""
    mesh_ips: tuple[IPAddress, ...]
    """This node's mesh addresses, one for each of `cidrs`, in their order."""
    grpc_bind_addr: IPAddress
    grpc_bind_port: int
    tls: ServerTLS | None
    """None exactly when `node.dev`."""
    client_tls: ClientTLS | None
    """For entering another bootstrap node's mesh; None without `bootstrap_addrs` and with `node.dev`."""
    encryption_key: bytes | None = field(repr=False)
    """32 bytes of gossip key; None: made when the mesh is made, or none at all with `node.dev`."""
    gossip_port: int
    gossip_profile: GossipProfile
    bootstrap_addrs: tuple[HostPort, ...]
    join_timeout_seconds: float | None
    """How long to keep trying `bootstrap_addrs`; None: for ever."""
    allow_routes: tuple[tuple[str, IPNetwork], ...] = ()
    """Which joining node, by name, may announce which network."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A join bundle as it was in its file: all that one machine needs to enter one mesh.

    Attributes:
        path: the file it came from, absolute.
        bootstraps: at least one.
        addresses: what the mesh has for this machine; empty if the bundle does not say.
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
    """Who this machine is, where no TLS files say so."""
    gossip_port: int | None
    """None: the mesh's own."""
    gossip_profile: GossipProfile | None
    """None: the mesh's own."""
    join_timeout_seconds: float | None
    """None: for ever."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """`wgmesh info` and the others that ask the agent on this machine."""

    agent_socket: Path
    verbosity: Verbosity
