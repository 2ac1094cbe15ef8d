"""Model of the data plane: actual and desired state of a WireGuard device."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
)
from typing import Self

from wgmesh_agent.wireguard.keys import NO_PRESHARED_KEY, PresharedKey, PrivateKey, PublicKey
from wgmesh_api.values import check_address, parse_host_port

Address = IPv4Address | IPv6Address
IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
Network = IPNetwork
Interface = IPv4Interface | IPv6Interface

ROUTE_PROTOCOL = 87
"""Marks every route of this program (rtm_protocol; unused in iproute2's rt_protos), so that only those are removed."""

MAX_KEEPALIVE_SECONDS = 65535
_MAX_PORT = 65535
_INTERFACE_NAME = re.compile(r"[A-Za-z0-9_.=+-]{1,15}")
_MAX_ENDPOINT_CHARACTERS = 80
"""Length of an IPv6 address with a zone, in brackets, and a port."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Destination of a peer's UDP packets. Port 0 only as read back.

    An IPv6 address may have a zone (`fe80::1%2`): the index or name of an interface of this machine, as its own
    device reports it. Endpoints that other machines report have none: see `reported`.
    """

    address: Address
    port: int

    def __post_init__(self) -> None:
        if not 0 <= self.port <= _MAX_PORT:
            raise ValueError(f"port {self.port} is not within 0 and {_MAX_PORT}")
        scope = self.address.scope_id if isinstance(self.address, IPv6Address) else None
        if scope is not None and not _INTERFACE_NAME.fullmatch(scope):
            raise ValueError("the zone of an endpoint is not the number or name of an interface")

    @classmethod
    def reported(cls, address: object, port: object) -> Self:
        """Validates an endpoint that another machine reports: a usable address, without a zone, and a port.

        Raises:
            wgmesh_api.values.UnusableValue: packets cannot be sent there.
        """
        return cls(*parse_host_port(address, port))

    @classmethod
    def parse_reported(cls, text: str) -> Self:
        """Like `reported`, from `192.0.2.1:51820` or `[2001:db8::1]:51820`. Raises ValueError."""
        endpoint = cls.parse(text)
        return cls(check_address(endpoint.address), endpoint.port)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses `192.0.2.1:51820` or `[2001:db8::1]:51820`, port 1 to 65535; raises `ValueError`."""
        if len(text) > _MAX_ENDPOINT_CHARACTERS:
            raise ValueError(f"{text[:40]!r} is too long for ADDRESS:PORT")
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if (
            not colon
            or not port.isascii()
            or not port.isdecimal()
            or len(port) > 5
            or not 1 <= int(port) <= _MAX_PORT
        ):
            raise ValueError(f"{text!r} is not ADDRESS:PORT with a port from 1 to {_MAX_PORT}")
        address = ip_address(host[1:-1] if bracketed else host)
        if bracketed != (address.version == 6):
            raise ValueError(f"{text!r}: brackets are required for an IPv6 address, and only for one")
        return cls(address, int(port))

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer as read from the device.

    `last_handshake` is in unix seconds, 0 for never; `endpoint_written` is when this process last wrote `endpoint`
    (unix seconds, 0: it was learned, or written by an earlier process), which no kernel stores.
    """

    public_key: PublicKey
    endpoint: Endpoint | None = None
    allowed_ips: frozenset[Network] = frozenset()
    keepalive_seconds: int = 0
    last_handshake: float = 0.0
    rx_bytes: int = 0
    tx_bytes: int = 0
    preshared_key: PresharedKey = NO_PRESHARED_KEY
    endpoint_written: float = 0.0


@dataclass(frozen=True, slots=True)
class Device:
    """A WireGuard interface as read: `public_key` is None as long as it has no private key, `listen_port` 0
    if unset.
    """

    name: str
    public_key: PublicKey | None = None
    listen_port: int = 0
    fwmark: int = 0
    peers: Mapping[PublicKey, Peer] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DesiredPeer:
    """Desired state of a peer: `endpoints` are candidates in order of preference, `keepalive_seconds` or
    `preshared_key` None keeps it. `try_now` is written whatever endpoint the peer has."""

    public_key: PublicKey
    allowed_ips: frozenset[Network]
    endpoints: tuple[Endpoint, ...] = ()
    keepalive_seconds: int | None = None
    try_now: Endpoint | None = None
    preshared_key: PresharedKey | None = None

    def __post_init__(self) -> None:
        if self.keepalive_seconds is not None and not 0 <= self.keepalive_seconds <= MAX_KEEPALIVE_SECONDS:
            raise ValueError(
                f"keepalive of {self.keepalive_seconds} s is not within 0 and {MAX_KEEPALIVE_SECONDS}"
            )


@dataclass(frozen=True, slots=True)
class DesiredDevice:
    """Desired state of the interface; `listen_port` 0 keeps the port.

    Peers are distinct and no range belongs to two of them; `ValueError` otherwise.
    """

    private_key: PrivateKey
    listen_port: int
    peers: tuple[DesiredPeer, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.listen_port <= _MAX_PORT:
            raise ValueError(f"port {self.listen_port} is not within 0 and {_MAX_PORT}")
        keys: set[PublicKey] = set()
        for peer in self.peers:
            if peer.public_key in keys:
                raise ValueError(f"peer {peer.public_key} is desired twice")
            keys.add(peer.public_key)
        ranges = [one for peer in self.peers for one in peer.allowed_ips]
        if len(set(ranges)) != len(ranges):
            raise ValueError("one range is desired for two peers")


@dataclass(frozen=True, slots=True)
class Route:
    """A destination through the interface.

    `mtu` is the path MTU in bytes, if it is below the interface's; `advmss` the MSS to advertise, where the MTU
    cannot express it (IPv6 has none below 1280).
    """

    destination: Network
    mtu: int | None = None
    advmss: int | None = None


@dataclass(frozen=True, slots=True)
class InterfaceSpec:
    """The interface around the peers: own `addresses` (set as /32 and /128), `ranges` routed to it, MTU in bytes,
    and `peer_routes`: routes to single peers with special settings.

    `subnet_routes` are networks behind peers. They have a separate routing table, in which packets from `addresses`
    and `local_networks`, the networks behind this node, are looked up before the main one; WireGuard's own packets,
    which are sent from the UDP `port`, are not (`linux.policy_rules`).
    """

    name: str
    addresses: tuple[Interface, ...]
    ranges: tuple[Network, ...]
    mtu: int
    peer_routes: tuple[Route, ...] = ()
    subnet_routes: tuple[Route, ...] = ()
    local_networks: tuple[Network, ...] = ()
    port: int = 0

    def __post_init__(self) -> None:
        check_interface_name(self.name)
        if not 68 <= self.mtu <= 65535:
            raise ValueError(f"an MTU of {self.mtu} bytes is not within 68 and 65535")
        if self.mtu < 1280 and any(one.version == 6 for one in (*self.addresses, *self.ranges)):
            raise ValueError(
                f"an MTU of {self.mtu} bytes is less than the 1280 IPv6 needs (RFC 8200 section 5)"
            )


def check_interface_name(name: str) -> None:
    """Raises `ValueError` unless the kernel accepts `name` for an interface and it is safe in a path."""
    if not _INTERFACE_NAME.fullmatch(name) or name in (".", ".."):
        raise ValueError(f"{name!r} is not an interface name: 1 to 15 of letters, digits and _.=+-")


def allowed_ips_of(peers: Mapping[PublicKey, Peer]) -> Iterator[tuple[Network, PublicKey]]:
    """Yields every allowed range with its owner."""
    for key, peer in peers.items():
        for one in peer.allowed_ips:
            yield one, key
