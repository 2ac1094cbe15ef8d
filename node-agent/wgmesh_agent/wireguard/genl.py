"""Codec of WireGuard's generic netlink messages (linux/wireguard.h), batched and merged; without sockets.

Implemented here instead of with pyroute2's `WireGuard`: that sends one peer per request, spends longer on encoding
1,000 peers than `wg` on programming them, and tens of times as long on reading them. Host byte order, except ports
and addresses.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from wgmesh_agent.runtime.borders import border
from wgmesh_agent.wireguard.diff import Change, RemovePeer, SetDevice, SetPeer
from wgmesh_agent.wireguard.errors import KernelError
from wgmesh_agent.wireguard.keys import KEY_BYTES, NO_PRESHARED_KEY, PresharedKey, PublicKey
from wgmesh_agent.wireguard.model import Device, Endpoint, Network, Peer

PEERS = border("peer for the kernel", "a peer of a change, encoded for the kernel back end")
FAMILY = "wireguard"
VERSION = 1
GET_DEVICE = 0
SET_DEVICE = 1

MAX_PEERS = 32
MAX_ALLOWED_IPS = 256
"""Maximum of peers and allowed IPs per message: a nest's length is 16 bit, and 32 × 124 + 256 × 40 bytes stay well
below."""

HEADER = struct.Struct("=BBH")
"""Generic netlink header: command, version, reserved."""
_ATTRIBUTE = struct.Struct("=HH")
_NESTED = 0x8000
_TYPE_MASK = 0x3FFF
_U8, _U16, _U32, _U64, _TIME = (struct.Struct(form) for form in ("=B", "=H", "=I", "=Q", "=qq"))
_PORT = struct.Struct(">H")

_AF_INET, _AF_INET6 = 2, 10
_DEVICE_NAME, _DEVICE_PRIVATE_KEY, _DEVICE_PUBLIC_KEY, _DEVICE_PORT, _DEVICE_FWMARK, _DEVICE_PEERS = (
    2,
    3,
    4,
    6,
    7,
    8,
)
_PEER_KEY, _PEER_PRESHARED, _PEER_FLAGS, _PEER_ENDPOINT, _PEER_KEEPALIVE = 1, 2, 3, 4, 5
_PEER_HANDSHAKE, _PEER_RX, _PEER_TX, _PEER_ALLOWED_IPS = 6, 7, 8, 9
_RANGE_FAMILY, _RANGE_ADDRESS, _RANGE_LENGTH = 1, 2, 3
_REMOVE_ME, _UPDATE_ONLY = 1, 4


def attribute(kind: int, payload: bytes) -> bytes:
    """Encodes one netlink attribute: length and type, 16 bit each, payload, padding to 4 bytes (`KernelError` if too
    long)."""
    length = _ATTRIBUTE.size + len(payload)
    if length > 0xFFFF:
        raise KernelError(f"a netlink attribute of {length} bytes does not fit its 16-bit length")
    return _ATTRIBUTE.pack(length, kind) + payload + bytes(-length % 4)


def attributes(payload: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yields type (without flags) and payload of each attribute in `payload`; raises `KernelError` if one is
    truncated."""
    end = len(payload)
    while start + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(payload, start)
        if length < _ATTRIBUTE.size or start + length > end:
            raise KernelError("a netlink attribute is longer than its container")
        yield kind & _TYPE_MASK, payload[start + _ATTRIBUTE.size : start + length]
        start += length + 3 & ~3
    if start < end:
        raise KernelError("a netlink message ends within an attribute")


@dataclass(slots=True)
class _Message:
    """A set request under construction."""

    device: bytes
    peers: list[bytes] = field(default_factory=list)
    ranges_left: int = MAX_ALLOWED_IPS

    def payload(self) -> bytes:
        nest = attribute(_DEVICE_PEERS | _NESTED, b"".join(self.peers)) if self.peers else b""
        return HEADER.pack(SET_DEVICE, VERSION, 0) + self.device + nest


def encode_get(name: str) -> bytes:
    """Returns the payload of a dump request for device `name`."""
    return HEADER.pack(GET_DEVICE, VERSION, 0) + _name(name)


def encode_set(name: str, changes: Iterable[Change], throwaway: Callable[[], PublicKey]) -> Iterator[bytes]:
    """Returns payloads of as few set requests as the limits allow, to be sent in order.

    Kernels before 6.16 cannot remove a range from a peer and reject the attribute for it. Therefore a removed range
    moves to a peer with key `throwaway()` that is removed again, last in the same message. A peer that cannot be
    encoded is omitted: the rest of the change is applied.
    """
    message = _Message(_name(name))
    removed: list[Network] = []
    for change in changes:
        if isinstance(change, SetDevice):
            if message.peers:
                yield message.payload()
            yield _Message(_name(name) + _settings(change)).payload()
            message = _Message(_name(name))
            continue
        if isinstance(change, RemovePeer):
            entry = _Entry(change.public_key, _REMOVE_ME, b"", ())
        else:
            removed.extend(change.remove_allowed_ips)
            with PEERS.fence(change.public_key) as item:
                entry = _entry(change)
            if item.rejected is not None:
                continue
        yield from _fill(message, entry)
    # Two of each message's 32 peers: the throwaway peer with its ranges, and its removal.
    for start in range(0, len(removed), MAX_ALLOWED_IPS):
        if message.peers:
            yield message.payload()
        key = throwaway()
        message = _Message(_name(name))
        yield from _fill(message, _Entry(key, 0, b"", tuple(removed[start : start + MAX_ALLOWED_IPS])))
        yield from _fill(message, _Entry(key, _REMOVE_ME, b"", ()))
    if message.peers:
        yield message.payload()


@dataclass(frozen=True, slots=True)
class _Entry:
    """One peer of a set request: settings are in the first part if its ranges need several."""

    key: PublicKey
    flags: int
    settings: bytes
    ranges: tuple[Network, ...]


def _fill(message: _Message, entry: _Entry) -> Iterator[bytes]:
    """Adds `entry` to `message`, yielding (and emptying) it whenever it is full."""
    ranges, flags, settings = entry.ranges, entry.flags, entry.settings
    while True:
        if len(message.peers) == MAX_PEERS or (ranges and not message.ranges_left):
            yield message.payload()
            message.peers, message.ranges_left = [], MAX_ALLOWED_IPS
        part, ranges = ranges[: message.ranges_left], ranges[message.ranges_left :]
        message.ranges_left -= len(part)
        body = _PEER_KEY_HEADER + entry.key.raw
        if flags:
            body += attribute(_PEER_FLAGS, _U32.pack(flags))
        body += settings
        if part:
            body += attribute(_PEER_ALLOWED_IPS | _NESTED, b"".join(map(_range, part)))
        message.peers.append(attribute(_NESTED, body))
        if not ranges:
            return
        # The remaining parts refer to the peer that now exists: its settings must not be repeated, and it need not
        # be created.
        flags, settings = _UPDATE_ONLY, b""


_PEER_KEY_HEADER = _ATTRIBUTE.pack(_ATTRIBUTE.size + KEY_BYTES, _PEER_KEY)


def _entry(change: SetPeer) -> _Entry:
    settings = b""
    if change.preshared_key is not None:
        settings += attribute(_PEER_PRESHARED, change.preshared_key.raw)
    if change.endpoint is not None:
        settings += attribute(_PEER_ENDPOINT, _socket_address(change.endpoint))
    if change.keepalive_seconds is not None:
        settings += attribute(_PEER_KEEPALIVE, _U16.pack(change.keepalive_seconds))
    flags = 0 if change.create else _UPDATE_ONLY
    return _Entry(change.public_key, flags, settings, tuple(change.add_allowed_ips))


def _name(name: str) -> bytes:
    return attribute(_DEVICE_NAME, name.encode("ascii") + b"\0")


def _settings(change: SetDevice) -> bytes:
    key = b"" if change.private_key is None else attribute(_DEVICE_PRIVATE_KEY, change.private_key.raw)
    port = b"" if change.listen_port is None else attribute(_DEVICE_PORT, _U16.pack(change.listen_port))
    return key + port


def _socket_address(endpoint: Endpoint) -> bytes:
    """`struct sockaddr_in` or `sockaddr_in6`; the scope id, unlike port and flow, is in host byte order."""
    port = _PORT.pack(endpoint.port)
    address = endpoint.address
    if isinstance(address, IPv4Address):
        return _U16.pack(_AF_INET) + port + address.packed + bytes(8)
    scope = address.scope_id or "0"
    if not (scope.isascii() and scope.isdecimal() and int(scope) <= 0xFFFF_FFFF):
        raise ValueError("the zone of an endpoint must be an interface index for the kernel")
    return _U16.pack(_AF_INET6) + port + bytes(4) + address.packed + _U32.pack(int(scope))


@lru_cache(maxsize=65536)
def _range(network: Network) -> bytes:
    family = _AF_INET if network.version == 4 else _AF_INET6
    return attribute(
        _NESTED,
        attribute(_RANGE_FAMILY, _U16.pack(family))
        + attribute(_RANGE_ADDRESS, network.network_address.packed)
        + attribute(_RANGE_LENGTH, _U8.pack(network.prefixlen)),
    )


@dataclass(slots=True)
class _Draft:
    """A peer read so far: its allowed IPs may continue in the next message, under its key again."""

    settings: dict[int, bytes]
    ranges: list[Network] = field(default_factory=list)


def decode_device(payloads: Iterable[bytes], name: str, written: Mapping[PublicKey, float]) -> Device:
    """Decodes the device `name` from all payloads of one dump; `written` gives each peer's `endpoint_written`.

    Merges peers by key. Raises `KernelError` for anything the kernel's interface does not allow.
    """
    settings: dict[int, bytes] = {}
    drafts: dict[bytes, _Draft] = {}
    try:
        for payload in payloads:
            for kind, value in attributes(payload, HEADER.size):
                if kind != _DEVICE_PEERS:
                    settings.setdefault(kind, value)
                    continue
                for _, nest in attributes(value):
                    _read_peer(nest, drafts)
        peers = {(key := PublicKey(raw)): _peer(key, one, written) for raw, one in drafts.items()}
        public_key = settings.get(_DEVICE_PUBLIC_KEY)
        return Device(
            name,
            PublicKey(public_key) if public_key is not None else None,
            _U16.unpack(settings.get(_DEVICE_PORT, bytes(2)))[0],
            _U32.unpack(settings.get(_DEVICE_FWMARK, bytes(4)))[0],
            peers,
        )
    except (struct.error, ValueError) as error:
        raise KernelError(f"the kernel's description of {name} is malformed: {error}") from error


_SETTINGS = {_PEER_KEY, _PEER_PRESHARED, _PEER_ALLOWED_IPS}


def fingerprint(payloads: Iterable[bytes]) -> int:
    """See `Backend.fingerprint`; from all payloads of one dump. Raises `KernelError`."""
    kept: list[tuple[int, bytes]] = []
    for payload in payloads:
        for kind, value in attributes(payload, HEADER.size):
            if kind in (_DEVICE_PUBLIC_KEY, _DEVICE_PORT):
                kept.append((kind, value))
            elif kind == _DEVICE_PEERS:
                for _, nest in attributes(value):
                    kept += [one for one in attributes(nest) if one[0] in _SETTINGS]
    return hash(tuple(kept))


def _read_peer(nest: bytes, drafts: dict[bytes, _Draft]) -> None:
    found = dict(attributes(nest))
    key = found.get(_PEER_KEY)
    if key is None:
        raise KernelError("the kernel reported a peer without its key")
    draft = drafts.get(key)
    if draft is None:
        draft = drafts[key] = _Draft(found)
    ranges = found.get(_PEER_ALLOWED_IPS)
    if ranges:
        draft.ranges.extend(_network(one) for _, one in attributes(ranges))


def _peer(key: PublicKey, draft: _Draft, written: Mapping[PublicKey, float]) -> Peer:
    get = draft.settings.get
    endpoint, preshared = get(_PEER_ENDPOINT), get(_PEER_PRESHARED)
    seconds, nanoseconds = _TIME.unpack(get(_PEER_HANDSHAKE, bytes(16)))
    return Peer(
        key,
        None if endpoint is None else _endpoint(endpoint),
        frozenset(draft.ranges),
        _U16.unpack(get(_PEER_KEEPALIVE, bytes(2)))[0],
        seconds + nanoseconds / 1e9,
        _U64.unpack(get(_PEER_RX, bytes(8)))[0],
        _U64.unpack(get(_PEER_TX, bytes(8)))[0],
        NO_PRESHARED_KEY if preshared is None else PresharedKey(preshared),
        written.get(key, 0.0),
    )


@lru_cache(maxsize=65536)
def _endpoint(raw: bytes) -> Endpoint:
    (family,), (port,) = _U16.unpack_from(raw), _PORT.unpack_from(raw, 2)
    if family == _AF_INET and len(raw) == 16:
        return Endpoint(IPv4Address(raw[4:8]), port)
    if family == _AF_INET6 and len(raw) == 28:
        (scope,) = _U32.unpack_from(raw, 24)
        address = IPv6Address(raw[8:24])
        return Endpoint(IPv6Address(f"{address}%{scope}") if scope else address, port)
    raise ValueError(f"an endpoint of family {family} and {len(raw)} bytes")


@lru_cache(maxsize=65536)
def _network(raw: bytes) -> Network:
    found = dict(attributes(raw))
    (family,) = _U16.unpack(found.get(_RANGE_FAMILY, b""))
    (length,) = _U8.unpack(found.get(_RANGE_LENGTH, b""))
    address = found.get(_RANGE_ADDRESS, b"")
    if (family, len(address)) == (_AF_INET, 4):
        return IPv4Network((address, length))
    if (family, len(address)) == (_AF_INET6, 16):
        return IPv6Network((address, length))
    raise ValueError(f"an allowed IP of family {family} and {len(address)} bytes")
