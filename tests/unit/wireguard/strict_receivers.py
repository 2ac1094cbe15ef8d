"""The other ends of both configuration protocols, as strict as the real ones: requests are applied to a device.

Written from linux/wireguard.h and wireguard.com/xplatform, not from the code under test: they share no encoder with it.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from wgmesh_agent.wireguard.keys import PresharedKey, PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import Device, Endpoint, Network, Peer

MAX_PEERS, MAX_RANGES = 32, 256


@dataclass
class Receiver:
    """A device that is being configured: the rules both implementations share."""

    device: Device
    peers: dict[PublicKey, Peer] = field(init=False)
    created: list[PublicKey] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.peers = dict(self.device.peers)

    def set_key(self, raw: bytes) -> None:
        self.device = replace(self.device, public_key=PrivateKey(raw).public())
        self.peers.pop(PrivateKey(raw).public(), None)

    def peer(self, key: PublicKey, update_only: bool) -> bool:
        """Whether the settings that follow are for a peer that exists."""
        if key == self.device.public_key or (update_only and key not in self.peers):
            return False
        if key not in self.peers:
            self.peers[key] = Peer(key)
            self.created.append(key)
        return True

    def give(self, key: PublicKey, network: Network) -> None:
        for other, peer in self.peers.items():
            self.peers[other] = replace(peer, allowed_ips=peer.allowed_ips - {network})
        self.peers[key] = replace(self.peers[key], allowed_ips=self.peers[key].allowed_ips | {network})

    def result(self) -> Device:
        return replace(self.device, peers=self.peers)


def split(payload: bytes) -> Iterator[tuple[int, bytes]]:
    while payload:
        length, kind = struct.unpack("=HH", payload[:4])
        assert 4 <= length <= len(payload)
        yield kind, payload[4:length]
        payload = payload[(length + 3) // 4 * 4 :]


def kernel_set(receiver: Receiver, payload: bytes) -> None:
    """One generic netlink message with command WG_CMD_SET_DEVICE."""
    assert payload[:4] == bytes([1, 1, 0, 0])
    assert len(payload) < 0xFFFF
    top = list(split(payload[4:]))
    assert dict(top)[2] == b"wgtest\0"
    ranges = peers = 0
    for kind, value in top:
        if kind == 3:
            receiver.set_key(value)
        elif kind == 6:
            receiver.device = replace(receiver.device, listen_port=struct.unpack("=H", value)[0])
        elif kind == 8 | 0x8000:
            for nested, peer in split(value):
                assert nested & 0x8000
                peers += 1
                ranges += _kernel_peer(receiver, dict(split(peer)))
        else:
            assert kind == 2
    assert peers <= MAX_PEERS
    assert ranges <= MAX_RANGES


def _kernel_peer(receiver: Receiver, attributes: dict[int, bytes]) -> int:
    assert set(attributes) <= {1, 2, 3, 4, 5, 9 | 0x8000}
    key = PublicKey(attributes[1])
    flags = struct.unpack("=I", attributes.get(3, bytes(4)))[0]
    assert flags in (0, 1, 4)
    if flags == 1:
        receiver.peers.pop(key, None)
        return 0
    if not receiver.peer(key, flags == 4):
        return 0
    if 2 in attributes:
        receiver.peers[key] = replace(receiver.peers[key], preshared_key=PresharedKey(attributes[2]))
    if 4 in attributes:
        receiver.peers[key] = replace(receiver.peers[key], endpoint=_address(attributes[4]))
    if 5 in attributes:
        keepalive = struct.unpack("=H", attributes[5])[0]
        receiver.peers[key] = replace(receiver.peers[key], keepalive_seconds=keepalive)
    count = 0
    for nested, value in split(attributes.get(9 | 0x8000, b"")):
        assert nested & 0x8000
        one = dict(split(value))
        family, length = struct.unpack("=H", one[1])[0], one[3][0]
        network = IPv4Network((one[2], length)) if family == 2 else IPv6Network((one[2], length))
        receiver.give(key, network)
        count += 1
    return count


def _address(raw: bytes) -> Endpoint:
    family, port = struct.unpack("=H", raw[:2])[0], struct.unpack(">H", raw[2:4])[0]
    if family == 2:
        assert len(raw) == 16
        return Endpoint(ip_address(raw[4:8]), port)
    assert (family, len(raw)) == (10, 28)
    scope = struct.unpack("=I", raw[24:])[0]
    return Endpoint(IPv6Address(f"{ip_address(raw[8:24])}%{scope}" if scope else raw[8:24]), port)


def uapi_set(receiver: Receiver, request: bytes) -> None:
    """One `set` operation."""
    lines = request.decode().split("\n")
    assert lines[0] == "set=1"
    assert lines[-2:] == ["", ""]
    key: PublicKey | None = None
    known = False
    for line in lines[1:-2]:
        name, _, value = line.partition("=")
        if name == "public_key":
            key = PublicKey(bytes.fromhex(value))
            existed = key in receiver.peers
            known = receiver.peer(key, update_only=False)
        elif key is None:
            if name == "private_key":
                receiver.set_key(bytes.fromhex(value))
            else:
                assert name == "listen_port"
                receiver.device = replace(receiver.device, listen_port=int(value))
        elif name == "update_only":
            assert value == "true"
            if known and not existed:
                del receiver.peers[key]
                receiver.created.remove(key)
                known = False
        elif name == "remove":
            assert value == "true"
            receiver.peers.pop(key, None)
            known = False
        elif known:
            _uapi_setting(receiver, key, name, value)


def _uapi_setting(receiver: Receiver, key: PublicKey, name: str, value: str) -> None:
    if name == "preshared_key":
        preshared = PresharedKey(bytes.fromhex(value))
        receiver.peers[key] = replace(receiver.peers[key], preshared_key=preshared)
    elif name == "endpoint":
        receiver.peers[key] = replace(receiver.peers[key], endpoint=Endpoint.parse(value))
    elif name == "persistent_keepalive_interval":
        receiver.peers[key] = replace(receiver.peers[key], keepalive_seconds=int(value))
    else:
        assert name == "allowed_ip"
        receiver.give(key, ip_network(value))
