"""Each golden packet decodes to what its file says, and re-encodes to the same bytes where that says so."""

from __future__ import annotations

import random

import pytest
from tests.vectors.golden_fields import assert_message, coordinate_of
from tests.vectors.golden_files import (
    FOLDER,
    MESSAGES,
    PACKETS,
    STREAMS,
    VECTORS,
    Vector,
    given_nonce,
    keyring_of,
    label_of,
    load,
    parts_of,
    version_of,
    wire_of,
)

from wgmesh_agent.gossip.wire import messages, packet, stream
from wgmesh_agent.gossip.wire.coordinate import CoordinateClient
from wgmesh_agent.gossip.wire.encryption import decrypt, encrypt
from wgmesh_agent.gossip.wire.messages import PushPull, UserMessage
from wgmesh_agent.gossip.wire.serf_messages import Relay, decode_serf, decode_tags, encode_serf, encode_tags

EXPECTED_FILES = 39


def test_all_golden_files_are_there() -> None:
    assert len(VECTORS) == EXPECTED_FILES
    assert {"udp", "tcp"} == {vector["transport"] for vector in VECTORS.values()}


@pytest.mark.parametrize("name", PACKETS)
def test_a_golden_packet_decodes_from_the_wire_to_what_its_file_says(name: str) -> None:
    vector = VECTORS[name]
    parts = packet.PacketCodec(keyring_of(vector), label_of(vector)).decode(wire_of(vector))
    assert parts == parts_of(vector)
    for part, entry in zip(parts, vector["messages"], strict=True):
        assert part[0] == entry["type"]
        assert_message(messages.decode(part), entry)


@pytest.mark.parametrize("name", PACKETS)
def test_the_parts_of_a_golden_packet_encode_to_the_same_datagram(name: str) -> None:
    vector = VECTORS[name]
    codec = packet.PacketCodec(
        keyring_of(vector),
        label_of(vector),
        compress="compress" in vector["layers"],
        encryption_version=version_of(vector),
        nonces=given_nonce(vector),
    )
    assert codec.encode(parts_of(vector), crc="crc" in vector["layers"]) == wire_of(vector)


@pytest.mark.parametrize("piece_bytes", [1, 7, 100_000])
@pytest.mark.parametrize("name", STREAMS)
def test_a_golden_stream_decodes_from_any_pieces_to_what_its_file_says(name: str, piece_bytes: int) -> None:
    vector = VECTORS[name]
    wire = wire_of(vector)
    decoder = stream.StreamCodec(keyring_of(vector)).decoder(reply=False)
    answers = [decoder.feed(wire[at : at + piece_bytes]) for at in range(0, len(wire), piece_bytes)]
    assert answers[:-1] == [None] * (len(answers) - 1)
    message = answers[-1]
    assert message is not None
    assert decoder.finish() == message
    assert_message(message, vector["messages"][0])


@pytest.mark.parametrize("name", STREAMS)
def test_the_message_of_a_golden_stream_encodes_to_the_same_stream(name: str) -> None:
    vector = VECTORS[name]
    codec = stream.StreamCodec(
        keyring_of(vector),
        compress="compress" in vector["layers"],
        encryption_version=version_of(vector),
        nonces=given_nonce(vector),
    )
    assert codec.encode(parts_of(vector)[0], reply=True) == wire_of(vector)


@pytest.mark.parametrize("name", [name for name, vector in VECTORS.items() if vector["key_hex"]])
def test_the_encryption_of_a_golden_file_opens_and_closes_to_the_same_bytes(name: str) -> None:
    vector = VECTORS[name]
    keyring, aad = keyring_of(vector), bytes.fromhex(vector["aad_hex"])
    assert keyring is not None
    plaintext = bytes.fromhex(vector["plaintext_hex"])
    sealed = encrypt(keyring, plaintext, aad, given_nonce(vector), version_of(vector))
    assert wire_of(vector).endswith(sealed)
    assert decrypt(keyring, sealed, aad) == plaintext


@pytest.mark.parametrize("entry", MESSAGES)
def test_a_golden_message_encodes_again_to_the_same_bytes_where_its_file_says_so(entry: Vector) -> None:
    wire = bytes.fromhex(entry["hex"])
    message = messages.decode(wire)
    if isinstance(message, PushPull):
        again = messages.encode(message)
        assert encode_serf(decode_serf(message.user_state)) == message.user_state
        # Only the header's lengths may differ: go-msgpack >= 1.1 writes them as signed integers.
        signed = b"UserStateLen\xd1" + len(message.user_state).to_bytes(2)
        assert again == wire.replace(signed, signed.replace(b"\xd1", b"\xcd"))
    elif isinstance(message, UserMessage):
        serf_message = decode_serf(message.payload)
        user = entry["user"]
        if isinstance(serf_message, Relay):
            user = user["inner"]
        same = encode_serf(serf_message) == message.payload
        assert same is user["reencodes"]
        assert decode_serf(encode_serf(serf_message)) == serf_message
    else:
        assert entry["reencodes"] is True
        assert messages.encode(message) == wire


@pytest.mark.parametrize("entry", [case for case in MESSAGES if "tags" in case.values[0]])  # type: ignore[operator]
def test_golden_tags_encode_to_a_meta_that_means_the_same(entry: Vector) -> None:
    meta = bytes.fromhex(entry["decoded"]["Meta"]["hex"])
    again = encode_tags(entry["tags"])
    assert len(again) == len(meta)
    assert decode_tags(again) == entry["tags"]


def test_forty_coordinate_updates_match_go_bit_for_bit() -> None:
    vector = load(FOLDER / "coordinate_updates.json")
    client = CoordinateClient(random.Random(0), coordinate_of(vector["start"]))
    assert len(vector["steps"]) == 40
    for step in vector["steps"]:
        other = coordinate_of(step["Other"])
        result = client.update(step["Node"], other, step["RttNs"] / 1e9)
        assert result == coordinate_of(step["Result"])
        assert round(client.distance_to(other) * 1e9) == step["DistanceNs"]
    assert client.resets == 0
