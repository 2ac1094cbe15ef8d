"""`wgmesh_agent.wireguard.uapi`: against a receiver of its own, and against any text."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.wireguard.devices import (
    ENDPOINTS,
    KEYS,
    NOW,
    OTHER,
    OWN,
    OWN_PUBLIC,
    PRESHARED,
    by_itself,
    devices,
    wishes,
)
from tests.unit.wireguard.strict_receivers import Receiver, uapi_set

from wgmesh_agent.mesh.dataplane.repair_rate_limit import changed_by_others
from wgmesh_agent.wireguard.diff import RemovePeer, SetDevice, SetPeer, diff
from wgmesh_agent.wireguard.errors import UapiError
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import DesiredDevice, Device, Endpoint, Peer
from wgmesh_agent.wireguard.patch import apply
from wgmesh_agent.wireguard.uapi import decode_get, decode_set_reply, encode_set, fingerprint

THROWAWAY = PublicKey(b"\xee" * 32)
A, B = KEYS[:2]


@given(wishes(), devices())
def test_what_the_process_makes_of_it_is_the_predicted_outcome(
    desired: DesiredDevice, actual: Device
) -> None:
    changes = diff(desired, actual, now_unix=NOW, own_public=OWN_PUBLIC)
    receiver = Receiver(actual)
    uapi_set(receiver, encode_set(changes, lambda: THROWAWAY))
    expected = apply(actual, changes, now_unix=NOW)
    stamps = {key: peer.endpoint_written for key, peer in expected.peers.items()}
    got = receiver.result()
    peers = {key: replace(peer, endpoint_written=stamps.get(key, 0.0)) for key, peer in got.peers.items()}
    assert replace(got, peers=peers) == expected


def test_an_operation_reads_as_the_protocol_says() -> None:
    changes = (
        SetDevice(OWN, 51820),
        SetPeer(A, ENDPOINTS[2], frozenset({ip_network("10.1.0.0/16")}), frozenset(), 25, create=True),
        SetPeer(B, remove_allowed_ips=frozenset({ip_network("fd32::/64")}), preshared_key=PRESHARED[1]),
        RemovePeer(KEYS[2]),
    )
    assert encode_set(changes, lambda: THROWAWAY).decode().split("\n") == [
        "set=1",
        f"private_key={OWN.raw.hex()}",
        "listen_port=51820",
        f"public_key={A.raw.hex()}",
        "endpoint=[2001:db8::1]:51820",
        "persistent_keepalive_interval=25",
        "allowed_ip=10.1.0.0/16",
        f"public_key={B.raw.hex()}",
        "update_only=true",
        f"preshared_key={'05' * 32}",
        f"public_key={KEYS[2].raw.hex()}",
        "remove=true",
        f"public_key={THROWAWAY.raw.hex()}",
        "allowed_ip=fd32::/64",
        f"public_key={THROWAWAY.raw.hex()}",
        "remove=true",
        "",
        "",
    ]


def reply(device: Device) -> str:
    """What a process answers to `get`, by hand."""
    private = {OWN_PUBLIC: OWN, OTHER.public(): OTHER}
    lines = []
    if device.public_key is not None:
        lines.append(f"private_key={private[device.public_key].raw.hex()}")
    lines += [f"listen_port={device.listen_port}"] if device.listen_port else []
    lines += [f"fwmark={device.fwmark}"] if device.fwmark else []
    for peer in device.peers.values():
        seconds = int(peer.last_handshake)
        lines += [
            f"public_key={peer.public_key.raw.hex()}",
            f"preshared_key={peer.preshared_key.raw.hex()}",
            "protocol_version=1",
            *([] if peer.endpoint is None else [f"endpoint={peer.endpoint}"]),
            f"last_handshake_time_sec={seconds}",
            f"last_handshake_time_nsec={int((peer.last_handshake - seconds) * 1e9)}",
            f"tx_bytes={peer.tx_bytes}",
            f"rx_bytes={peer.rx_bytes}",
            f"persistent_keepalive_interval={peer.keepalive_seconds}",
            *(f"allowed_ip={one}" for one in peer.allowed_ips),
        ]
    return "\n".join([*lines, "errno=0", "", ""])


@given(devices())
def test_an_answer_is_the_device(device: Device) -> None:
    written = {key: peer.endpoint_written for key, peer in device.peers.items()}
    assert decode_get(reply(device).encode(), "wgtest", written) == device


@given(devices(), devices())
def test_a_fingerprint_is_of_what_others_may_change_and_of_nothing_else(
    device: Device, other: Device
) -> None:
    mark = fingerprint(reply(device).encode())
    assert fingerprint(reply(by_itself(device)).encode()) == mark
    if changed_by_others(device, other):
        assert fingerprint(reply(other).encode()) != mark


@pytest.mark.parametrize("answer", [b"", b"listen_port=5\n", b"listen_port=5\nerrno=-5\n\n"])
def test_what_is_no_whole_answer_has_no_fingerprint(answer: bytes) -> None:
    with pytest.raises(UapiError):
        fingerprint(answer)


def test_an_ipv4_peer_on_a_socket_for_both_families_is_an_ipv4_peer() -> None:
    text = f"public_key={A.raw.hex()}\nendpoint=[::ffff:192.0.2.1]:5\nerrno=0\n\n"
    assert decode_get(text.encode(), "wgtest", {}).peers[A].endpoint == Endpoint(ip_address("192.0.2.1"), 5)


def test_a_key_of_a_later_protocol_is_passed_over() -> None:
    text = f"newer=1\npublic_key={A.raw.hex()}\nnewest=x\nerrno=0\n\n"
    assert decode_get(text.encode(), "wgtest", {}).peers == {A: Peer(A)}


def test_a_private_key_of_zeros_is_none() -> None:
    assert decode_get(f"private_key={'00' * 32}\nerrno=0\n\n".encode(), "wgtest", {}).public_key is None


HEX = A.raw.hex()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "before its empty line"),
        ("errno=0\n", "before its empty line"),
        ("\n\n", "error number"),
        ("listen_port=1\n\n", "error number"),
        ("errno=0\nlisten_port=1\nerrno=0\n\n", "continues"),
        ("errno=1\n\n", "rejected: EPERM"),
        ("errno=-22\n\n", "rejected: EINVAL"),
        ("errno=9999\n\n", "rejected: error 9999"),
        ("errno=\n\n", "not a number"),
        ("errno=0x1\n\n", "not a number"),
        ("nothing\nerrno=0\n\n", "KEY=VALUE"),
        ("=1\nerrno=0\n\n", "KEY=VALUE"),
        ("Listen=1\nerrno=0\n\n", "KEY=VALUE"),
        (f"listen_port={'1' * 300}\nerrno=0\n\n", "KEY=VALUE"),
        ("listen_port=65536\nerrno=0\n\n", "not within"),
        ("listen_port=-1\nerrno=0\n\n", "not within"),
        ("listen_port= 1\nerrno=0\n\n", "not a number"),
        ("listen_port=1_0\nerrno=0\n\n", "not a number"),
        ("private_key=00\nerrno=0\n\n", "64 hexadecimal"),
        (f"public_key={HEX[:-1]}g\nerrno=0\n\n", "64 hexadecimal"),
        (f"public_key={HEX}\npublic_key={HEX}\nerrno=0\n\n", "duplicated"),
        (f"public_key={HEX}\nallowed_ip=10.0.0.1/8\nerrno=0\n\n", "allowed_ip is malformed"),
        (f"public_key={HEX}\nendpoint=host:1\nerrno=0\n\n", "endpoint is malformed"),
        (f"public_key={HEX}\nlast_handshake_time_nsec=1000000000\nerrno=0\n\n", "not within"),
        ("é=1\nerrno=0\n\n", "ASCII"),
    ],
)
def test_a_malformed_answer_is_refused(text: str, message: str) -> None:
    with pytest.raises(UapiError, match=message):
        decode_get(text.encode(), "wgtest", {})


def test_a_malformed_private_key_is_not_repeated() -> None:
    with pytest.raises(UapiError) as caught:
        decode_get(b"private_key=5ec7e7\nerrno=0\n\n", "wgtest", {})
    assert "5ec7e7" not in str(caught.value)


@given(st.binary(max_size=200) | st.text(alphabet="abcdefnorpuity_k=0123\n", max_size=200).map(str.encode))
def test_any_bytes_are_a_device_or_a_uapi_error(raw: bytes) -> None:
    for text in (raw, raw + b"\nerrno=0\n\n"):
        try:
            assert decode_get(text, "wgtest", {}).name == "wgtest"
        except UapiError:
            continue


@given(devices(), st.data())
def test_a_damaged_answer_is_a_device_or_a_uapi_error(device: Device, data: st.DataObject) -> None:
    raw = bytearray(reply(device).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_get(bytes(raw), "wgtest", {})
    except UapiError:
        return


def test_the_answer_to_a_set_is_its_error_number() -> None:
    decode_set_reply(b"errno=0\n\n")
    with pytest.raises(UapiError, match="rejected: EADDRINUSE: choose another WireGuard port"):
        decode_set_reply(b"errno=-98\n\n")
    for text in (b"", b"errno=0", b"listen_port=1\nerrno=0\n\n", b"errno=0\nerrno=0\n\n"):
        with pytest.raises(UapiError):
            decode_set_reply(text)
