"""`wgmesh_agent.wireguard.genl`: against a receiver of its own, against pyroute2's, and against any bytes."""

import struct
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.generic.wireguard import wgmsg
from tests.unit.wireguard.devices import (
    ENDPOINTS,
    KEYS,
    NOW,
    OWN,
    OWN_PUBLIC,
    PRESHARED,
    by_itself,
    devices,
    wishes,
)
from tests.unit.wireguard.strict_receivers import Receiver, kernel_set

from wgmesh_agent.mesh.dataplane.repair_rate_limit import changed_by_others
from wgmesh_agent.wireguard.diff import Change, RemovePeer, SetDevice, SetPeer, diff
from wgmesh_agent.wireguard.errors import KernelError
from wgmesh_agent.wireguard.genl import (
    GET_DEVICE,
    HEADER,
    attribute,
    attributes,
    decode_device,
    encode_get,
    encode_set,
    fingerprint,
)
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import DesiredDevice, Device, Endpoint, Network, Peer
from wgmesh_agent.wireguard.patch import apply

THROWAWAY = PublicKey(b"\xee" * 32)
A = KEYS[0]
B, C = KEYS[1], KEYS[2]


def encoded(changes: Sequence[Change]) -> list[bytes]:
    return list(encode_set("wgtest", changes, lambda: THROWAWAY))


@given(wishes(), devices())
def test_what_the_kernel_makes_of_it_is_the_predicted_outcome(desired: DesiredDevice, actual: Device) -> None:
    changes = diff(desired, actual, now_unix=NOW, own_public=OWN_PUBLIC)
    receiver = Receiver(actual)
    for payload in encoded(changes):
        kernel_set(receiver, payload)
    expected = apply(actual, changes, now_unix=NOW)
    stamps = {key: peer.endpoint_written for key, peer in expected.peers.items()}
    got = receiver.result()
    peers = {key: replace(peer, endpoint_written=stamps.get(key, 0.0)) for key, peer in got.peers.items()}
    assert replace(got, peers=peers) == expected


def many(count: int) -> list[Network]:
    base = int(ip_address("10.232.0.0"))
    return [ip_network(base + number) for number in range(count)]


@pytest.mark.heavy
@pytest.mark.parametrize(("peers", "messages"), [(1, 1), (32, 1), (33, 2), (1000, 32)])
def test_a_message_holds_32_peers(peers: int, messages: int) -> None:
    changes = [
        SetPeer(PublicKey(number.to_bytes(32, "big")), ENDPOINTS[2], frozenset({one}), create=True)
        for number, one in enumerate(many(peers))
    ]
    payloads = encoded(changes)
    assert len(payloads) == messages
    receiver = Receiver(Device("wgtest"))
    for payload in payloads:
        kernel_set(receiver, payload)
    assert len(receiver.peers) == peers


@pytest.mark.parametrize(("ranges", "messages"), [(256, 1), (257, 2), (512, 2), (2000, 8)])
def test_a_message_holds_256_allowed_ips_and_a_peer_goes_on_in_the_next(ranges: int, messages: int) -> None:
    payloads = encoded([SetPeer(A, ENDPOINTS[0], frozenset(many(ranges)), keepalive_seconds=25, create=True)])
    assert len(payloads) == messages
    receiver = Receiver(Device("wgtest"))
    for payload in payloads:
        kernel_set(receiver, payload)
    assert receiver.peers == {A: Peer(A, ENDPOINTS[0], frozenset(many(ranges)), 25)}
    for payload in payloads[1:]:
        ((_, peer),) = attributes(dict(attributes(payload, HEADER.size))[8])
        # Saying the endpoint again could undo what was learned in between; saying "make it", what was removed.
        assert {kind for kind, _ in attributes(peer)} == {1, 3, 9}
        assert dict(attributes(peer))[3] == struct.pack("=I", 4)


@pytest.mark.parametrize("ranges", [1, 256, 257, 700])
def test_removed_ranges_go_with_a_throwaway_peer(ranges: int) -> None:
    held = frozenset(many(ranges + 1))
    receiver = Receiver(Device("wgtest", peers={A: Peer(A, allowed_ips=held)}))
    removed = frozenset(many(ranges))
    for payload in encoded([SetPeer(A, remove_allowed_ips=removed)]):
        kernel_set(receiver, payload)
        # Created and removed within one message: it is never visible.
        assert set(receiver.peers) == {A}
    assert receiver.peers[A].allowed_ips == held - removed
    assert set(receiver.created) == {THROWAWAY}


def by_pyroute2(payload: bytes) -> Any:
    message: Any = wgmsg(struct.pack("=IHHII", 16 + len(payload), 0, 0, 0, 0) + payload)  # type: ignore[no-untyped-call]
    message.decode()
    return message


def test_pyroute2_reads_in_our_message_what_we_put_there() -> None:
    change = SetPeer(
        A,
        ENDPOINTS[0],
        frozenset({ip_network("10.232.8.0/24"), ip_network("fd32::/64")}),
        keepalive_seconds=25,
        preshared_key=PRESHARED[1],
    )
    (settings, peers) = encoded([SetDevice(OWN, 51820), change])
    message = by_pyroute2(settings)
    assert message.get_attr("WGDEVICE_A_IFNAME") == "wgtest"
    assert message.get_attr("WGDEVICE_A_LISTEN_PORT") == 51820
    assert message.get_attr("WGDEVICE_A_PRIVATE_KEY").decode() == OWN.to_base64()
    message = by_pyroute2(peers)
    (peer,) = message.get_attr("WGDEVICE_A_PEERS")
    assert peer.get_attr("WGPEER_A_PUBLIC_KEY").decode() == str(A)
    assert b64decode(peer.get_attr("WGPEER_A_PRESHARED_KEY")) == PRESHARED[1].raw
    assert peer.get_attr("WGPEER_A_FLAGS") == 4
    assert peer.get_attr("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL") == 25
    endpoint = peer.get_attr("WGPEER_A_ENDPOINT")
    assert (endpoint["addr"], endpoint["port"]) == ("192.0.2.1", 51820)
    assert {one["addr"] for one in peer.get_attr("WGPEER_A_ALLOWEDIPS")} == {"10.232.8.0/24", "fd32::/64"}


def test_device_settings_come_first_and_removals_say_only_the_key() -> None:
    first, second = encoded([SetDevice(None, 51820), RemovePeer(A)])
    assert dict(attributes(first, HEADER.size))[6] == struct.pack("=H", 51820)
    assert 3 not in dict(attributes(first, HEADER.size))
    ((_, peer),) = attributes(dict(attributes(second, HEADER.size))[8])
    assert dict(attributes(peer)) == {1: A.raw, 3: struct.pack("=I", 1)}


def test_no_change_is_no_message() -> None:
    assert encoded([]) == []


@pytest.mark.parametrize("zone", ["eth0", "99999999999"])
def test_a_peer_that_cannot_be_encoded_costs_no_other_peer(zone: str) -> None:
    broken = SetPeer(A, Endpoint(ip_address(f"fe80::1%{zone}"), 1))
    others: list[Change] = [RemovePeer(B), SetPeer(C, Endpoint(ip_address("192.0.2.1"), 1))]
    assert encoded([others[0], broken, others[1]]) == encoded(others)


def test_a_request_names_its_device() -> None:
    payload = encode_get("wgtest")
    assert payload[0] == GET_DEVICE
    assert dict(attributes(payload, HEADER.size)) == {2: b"wgtest\0"}


# What a kernel answers, by hand.


def nest(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | 0x8000, b"".join(parts))


def dumped_range(network: Network) -> bytes:
    family = 2 if network.version == 4 else 10
    return nest(
        0,
        attribute(1, struct.pack("=H", family)),
        attribute(2, network.network_address.packed),
        attribute(3, bytes([network.prefixlen])),
    )


def dumped_endpoint(endpoint: Endpoint) -> bytes:
    port = struct.pack(">H", endpoint.port)
    if endpoint.address.version == 4:
        return attribute(4, struct.pack("=H", 2) + port + endpoint.address.packed + bytes(8))
    scope = int(getattr(endpoint.address, "scope_id", None) or 0)
    raw = struct.pack("=H", 10) + port + bytes(4) + endpoint.address.packed + struct.pack("=I", scope)
    return attribute(4, raw)


def dumped_peer(peer: Peer, ranges: list[Network]) -> bytes:
    seconds = int(peer.last_handshake)
    return nest(
        0,
        attribute(1, peer.public_key.raw),
        attribute(2, peer.preshared_key.raw),
        b"" if peer.endpoint is None else dumped_endpoint(peer.endpoint),
        attribute(5, struct.pack("=H", peer.keepalive_seconds)),
        attribute(6, struct.pack("=qq", seconds, int((peer.last_handshake - seconds) * 1e9))),
        attribute(7, struct.pack("=Q", peer.rx_bytes)),
        attribute(8, struct.pack("=Q", peer.tx_bytes)),
        attribute(10, struct.pack("=I", 1)),
        nest(9, *map(dumped_range, ranges)),
    )


def dumped_device(device: Device, *peers: bytes) -> bytes:
    return (
        bytes(4)
        + attribute(1, struct.pack("=I", 7))
        + attribute(2, b"wgtest\0")
        + (b"" if device.public_key is None else attribute(3, OWN.raw) + attribute(4, device.public_key.raw))
        + attribute(6, struct.pack("=H", device.listen_port))
        + attribute(7, struct.pack("=I", device.fwmark))
        + nest(8, *peers)
    )


@given(devices(), st.integers(1, 3))
def test_a_dump_in_any_number_of_messages_is_the_device(device: Device, split: int) -> None:
    written = {key: peer.endpoint_written for key, peer in device.peers.items()}
    payloads = [dumped_device(device)]
    for peer in device.peers.values():
        ranges = sorted(peer.allowed_ips, key=str)
        # A peer whose ranges do not fit continues in the next message with its key only.
        payloads.append(dumped_device(device, dumped_peer(peer, ranges[:split])))
        if ranges[split:]:
            rest = nest(0, attribute(1, peer.public_key.raw), nest(9, *map(dumped_range, ranges[split:])))
            payloads.append(bytes(4) + nest(8, rest))
    assert decode_device(payloads, "wgtest", written) == device


def whole(device: Device) -> bytes:
    ranges = {key: sorted(peer.allowed_ips, key=str) for key, peer in device.peers.items()}
    return dumped_device(device, *(dumped_peer(peer, ranges[key]) for key, peer in device.peers.items()))


@given(devices(), devices())
def test_a_fingerprint_is_of_what_others_may_change_and_of_nothing_else(
    device: Device, other: Device
) -> None:
    mark = fingerprint([whole(device)])
    in_order = {key: by_itself(device).peers[key] for key in device.peers}
    assert fingerprint([whole(replace(device, peers=in_order))]) == mark
    if changed_by_others(device, other):
        assert fingerprint([whole(other)]) != mark


def test_a_scope_id_is_in_host_byte_order() -> None:
    peer = Peer(A, Endpoint(ip_address("fe80::1%3"), 5))
    (got,) = decode_device(
        [dumped_device(Device("wgtest"), dumped_peer(peer, []))], "wgtest", {}
    ).peers.values()
    assert got.endpoint == Endpoint(ip_address("fe80::1%3"), 5)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_device_or_a_kernel_error(payload: bytes) -> None:
    try:
        assert decode_device([payload], "wgtest", {}).name == "wgtest"
    except KernelError:
        return


@given(devices(), st.data())
def test_a_damaged_dump_is_a_device_or_a_kernel_error(device: Device, data: st.DataObject) -> None:
    payload = bytearray(
        dumped_device(device, *(dumped_peer(one, list(one.allowed_ips)) for one in device.peers.values()))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_device([bytes(payload[: data.draw(st.integers(0, len(payload)))])], "wgtest", {})
    except KernelError:
        return


def test_a_peer_without_a_key_is_refused() -> None:
    with pytest.raises(KernelError, match="without its key"):
        decode_device([bytes(4) + nest(8, nest(0, attribute(5, bytes(2))))], "wgtest", {})


def test_an_attribute_too_long_for_its_length_is_refused() -> None:
    with pytest.raises(KernelError, match="16-bit"):
        attribute(1, bytes(65532))
    assert len(attribute(1, bytes(65531))) == 65536
