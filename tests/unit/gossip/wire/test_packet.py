from __future__ import annotations

import random
import struct
import time
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgmesh_agent.gossip.errors import (
    DecodeError,
    DecryptError,
    GossipError,
    LabelError,
    LimitError,
    PeerError,
)
from wgmesh_agent.gossip.wire import messages
from wgmesh_agent.gossip.wire.compression import compress_layer
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.gossip.wire.packet import (
    COMPOUND_PART_BYTES,
    MAX_DATAGRAM_BYTES,
    MAX_DECODED_PARTS,
    MAX_DEPTH,
    MAX_EXPANDED_BYTES,
    MAX_PARTS,
    UDP_PACKET_BYTES,
    PacketCodec,
)

RING = Keyring(bytes(32))
PLAIN = PacketCodec(None)
PARTS = st.lists(
    st.binary(min_size=1, max_size=60).filter(lambda part: part[0] not in (7, 9, 12, 244)),
    min_size=1,
    max_size=10,
)


def nonces(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def compound(*parts: bytes) -> bytes:
    return struct.pack(f">BB{len(parts)}H", 7, len(parts), *map(len, parts)) + b"".join(parts)


@given(PARTS, st.booleans(), st.booleans(), st.booleans(), st.sampled_from([0, 1]), st.binary(max_size=20))
def test_all_parts_come_back_through_all_layers(
    parts: list[bytes], keyed: bool, crc: bool, compress: bool, version: int, label: bytes
) -> None:
    codec = PacketCodec(
        RING if keyed else None, label, compress=compress, encryption_version=version, nonces=nonces
    )
    assert codec.decode(codec.encode(parts, crc=crc)) == parts


@settings(max_examples=300)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x07", b"\x09", b"\x07\x02", b"\x0c", b"\x09\x82"]))
def test_any_datagram_is_parts_or_the_peers_error(data: bytes, head: bytes) -> None:
    with suppress(PeerError):
        parts = PLAIN.decode(head + data)
        assert parts
        assert all(parts)


@given(st.binary(max_size=100), st.data())
def test_a_damaged_compressed_compound_is_parts_or_the_peers_error(body: bytes, draw: st.DataObject) -> None:
    data = bytearray(compress_layer(compound(b"\x00" + body, compress_layer(b"\x08" + body))))
    at = draw.draw(st.integers(0, len(data) - 1))
    data[at] = draw.draw(st.integers(0, 255))
    with suppress(PeerError):
        assert all(PLAIN.decode(bytes(data)))


def test_one_part_travels_without_a_compound() -> None:
    assert PLAIN.encode([b"\x08hello"]) == b"\x08hello"


def test_several_parts_travel_in_a_compound() -> None:
    assert PLAIN.encode([b"\x08a", b"\x08bc"]) == b"\x07\x02\x00\x02\x00\x03\x08a\x08bc"


def test_compression_is_used_only_when_it_makes_the_packet_smaller() -> None:
    codec = PacketCodec(None, compress=True)
    assert codec.encode([b"\x08" + b"a" * 200])[0] == 9
    assert codec.encode([b"\x08abc"]) == b"\x08abc"


def test_the_checksum_covers_everything_after_its_header() -> None:
    packet = PLAIN.encode([b"\x08abc"], crc=True)
    assert packet == b"\x0c" + zlib.crc32(b"\x08abc").to_bytes(4) + b"\x08abc"


def test_127_parts_are_sent_and_128_refused_because_old_peers_misread_them() -> None:
    assert len(PLAIN.decode(PLAIN.encode([b"\x08"] * MAX_PARTS))) == MAX_PARTS
    with pytest.raises(GossipError, match="128 parts"):
        PLAIN.encode([b"\x08"] * (MAX_PARTS + 1))


def test_255_parts_of_a_newer_peer_are_read() -> None:
    assert len(PLAIN.decode(compound(*[b"\x08"] * 255))) == 255


@pytest.mark.parametrize("parts", [[], [b""], [b"\x08", b""], [b"x" * 65536]])
def test_what_crashes_old_peers_is_never_sent(parts: list[bytes]) -> None:
    with pytest.raises(GossipError):
        PLAIN.encode(parts)


def test_encrypting_without_a_nonce_source_is_our_error() -> None:
    with pytest.raises(GossipError, match="nonce"):
        PacketCodec(RING).encode([b"\x08"])


def test_a_nonce_source_may_come_with_each_packet() -> None:
    packet = PacketCodec(RING).encode([b"\x08"], nonces=lambda size: b"n" * size)
    assert packet[1:13] == b"n" * 12


@pytest.mark.parametrize(("keyring", "version"), [(None, 1), (RING, 0), (RING, 1)])
@pytest.mark.parametrize("label", [b"", b"meshA"])
def test_parts_that_fill_the_budget_make_a_packet_of_at_most_1400_bytes(
    keyring: Keyring | None, version: int, label: bytes
) -> None:
    codec = PacketCodec(keyring, label, encryption_version=version, nonces=nonces)
    assert codec.budget() == UDP_PACKET_BYTES - codec.overhead
    parts = [b"\x08" + bytes(codec.budget() // 2 - COMPOUND_PART_BYTES - 1)] * 2
    length = len(codec.encode(parts))
    assert UDP_PACKET_BYTES - 1 - 16 * (version == 0) <= length <= UDP_PACKET_BYTES


def test_a_serf_message_of_1366_bytes_is_the_largest_that_fits() -> None:
    assert PacketCodec(RING).budget() - COMPOUND_PART_BYTES - 1 == 1366


def test_compound_and_compress_may_hold_each_other() -> None:
    inner = compound(b"\x00a", compress_layer(compound(b"\x01b", b"\x02c")))
    assert PLAIN.decode(compress_layer(compound(inner, b"\x03d"))) == [b"\x00a", b"\x01b", b"\x02c", b"\x03d"]


def test_a_broken_layer_inside_a_compound_is_handed_on_and_its_neighbours_are_read() -> None:
    parts = PLAIN.decode(compound(b"\x08a", b"\x09junk", b"\x07\x05", b"\x08b"))
    assert parts == [b"\x08a", b"\x09junk", b"\x07\x05", b"\x08b"]
    for part in parts[1:3]:
        with pytest.raises(PeerError):
            messages.decode(part)


def test_a_part_that_runs_past_the_end_drops_itself_and_the_rest() -> None:
    assert PLAIN.decode(b"\x07\x03\x00\x02\x00\x09\x00\x02\x08a\x08b\x08c") == [b"\x08a"]


def test_empty_parts_are_passed_over() -> None:
    assert PLAIN.decode(compound(b"", b"\x08a", b"")) == [b"\x08a"]


@pytest.mark.parametrize(
    "data", [b"", b"\x07", b"\x07\x00", b"\x07\x02\x00", b"\x07\x01\x00\x05ab", compound(b"")]
)
def test_a_packet_without_one_whole_part_is_the_peers_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        PLAIN.decode(data)


@pytest.mark.parametrize("data", [b"\x0c", b"\x0c\0\0\0\0\x08a"])
def test_a_wrong_or_short_checksum_is_the_peers_error(data: bytes) -> None:
    with pytest.raises(DecodeError, match="checksum"):
        PLAIN.decode(data)


def test_a_checksum_is_recognised_once_and_not_inside_a_compound() -> None:
    once = PLAIN.encode([b"\x08a"], crc=True)
    twice = b"\x0c" + zlib.crc32(once).to_bytes(4) + once
    assert PLAIN.decode(twice) == [once]
    assert PLAIN.decode(compound(once, b"\x08b")) == [once, b"\x08b"]
    with pytest.raises(DecodeError):
        messages.decode(once)


def test_a_checksum_outside_the_encryption_is_refused() -> None:
    codec = PacketCodec(RING, nonces=nonces)
    sealed = codec.encode([b"\x08a"])
    with pytest.raises(DecryptError, match="version 12"):
        codec.decode(b"\x0c" + zlib.crc32(sealed).to_bytes(4) + sealed)


def test_plaintext_is_refused_when_there_is_a_key() -> None:
    with pytest.raises(DecryptError):
        PacketCodec(RING).decode(PLAIN.encode([b"\x00" + b"a" * 60]))


def test_a_packet_is_refused_without_the_label_and_with_another() -> None:
    ours = PacketCodec(RING, b"meshA", nonces=nonces)
    for other in (b"", b"meshB"):
        with pytest.raises(LabelError):
            ours.decode(PacketCodec(RING, other, nonces=nonces).encode([b"\x08a"]))


def test_a_label_is_bound_to_the_ciphertext() -> None:
    packet = PacketCodec(RING, b"meshA", nonces=nonces).encode([b"\x08a"])
    with pytest.raises(DecryptError):
        PacketCodec(RING, b"meshB").decode(packet.replace(b"meshA", b"meshB"))


@pytest.mark.parametrize("layer", [compound, compress_layer])
def test_eight_layers_are_taken_off_and_nine_refused(layer: Callable[[bytes], bytes]) -> None:
    data = b"\x08a"
    for _ in range(MAX_DEPTH):
        data = layer(data)
    assert PLAIN.decode(data) == [b"\x08a"]
    with pytest.raises(LimitError, match="deep"):
        PLAIN.decode(layer(data))


def test_too_large_a_datagram_is_refused() -> None:
    with pytest.raises(LimitError, match="65537"):
        PLAIN.decode(bytes(MAX_DATAGRAM_BYTES + 1))


def test_a_bomb_is_refused() -> None:
    with pytest.raises(LimitError, match=str(MAX_EXPANDED_BYTES)):
        PLAIN.decode(compress_layer(b"\x08" + bytes(MAX_EXPANDED_BYTES)))


@pytest.mark.heavy
def test_many_bombs_in_one_datagram_share_one_allowance() -> None:
    bomb = compress_layer(b"\x08" + bytes(100_000))
    started = time.perf_counter()
    assert PLAIN.decode(compound(bomb)) == [b"\x08" + bytes(100_000)]
    with pytest.raises(LimitError, match="decompressed"):
        PLAIN.decode(compound(*[bomb] * 100))
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize("part", [b"\x08", b"\x09"])
def test_a_datagram_of_ever_more_parts_is_refused(part: bytes) -> None:
    data = compound(*[compound(*[part] * 255)] * 80)
    assert len(data) < MAX_DATAGRAM_BYTES
    with pytest.raises(LimitError, match=str(MAX_DECODED_PARTS)):
        PLAIN.decode(data)
