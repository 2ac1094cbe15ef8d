"""Any damage to a golden packet, under its encryption too, parses or is the peer's error."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from tests.vectors.golden_files import VECTORS, Vector, keyring_of, label_of, parts_of, version_of, wire_of

from wgmesh_agent.gossip.errors import PeerError
from wgmesh_agent.gossip.wire import messages, packet, stream
from wgmesh_agent.gossip.wire.coordinate import decode_coordinate
from wgmesh_agent.gossip.wire.encryption import encrypt
from wgmesh_agent.gossip.wire.messages import Message, PushPull, UserMessage
from wgmesh_agent.gossip.wire.serf_messages import Query, Relay, decode_filter, decode_serf, decode_tags


@pytest.mark.parametrize("name", list(VECTORS))
def test_a_damaged_golden_packet_parses_or_is_the_peers_error(name: str) -> None:
    vector = VECTORS[name]
    keyring, rng = keyring_of(vector), random.Random(name)
    wires = [damaged(wire_of(vector), rng) for _ in range(40)]
    if keyring is None:
        wires += [damaged(wire_of(vector), rng) for _ in range(120)]
    else:
        prefix = wire_of(vector)[: len(wire_of(vector)) - sealed_length(vector)]
        for _ in range(120):
            plaintext = damaged(bytes.fromhex(vector["plaintext_hex"]), rng) or b"\0"
            aad = bytes.fromhex(vector["aad_hex"])
            if vector["transport"] == "tcp":
                length = 29 + len(plaintext)
                aad = prefix = b"\x0a" + length.to_bytes(4)
            wires.append(prefix + encrypt(keyring, plaintext, aad, rng.randbytes))
    for part in [damaged(part, rng) for part in parts_of(vector) for _ in range(200)]:
        read_message(lambda part=part: messages.decode(part))  # type: ignore[misc]
    for wire in wires:
        if vector["transport"] == "udp":
            read_packet(packet.PacketCodec(keyring, label_of(vector)), wire)
        else:
            decoder = stream.StreamCodec(keyring).decoder(reply=False)
            read_message(lambda wire=wire, decoder=decoder: decoder.feed(wire))  # type: ignore[misc]


def sealed_length(vector: Vector) -> int:
    plaintext_bytes = len(vector["plaintext_hex"]) // 2
    padding = 16 - plaintext_bytes % 16 if version_of(vector) == 0 else 0
    return 29 + plaintext_bytes + padding


def damaged(data: bytes, rng: random.Random) -> bytes:
    """`data` with a few bytes changed, cut out, doubled, or its end lost."""
    mutable = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(mutable) + 1)
        match rng.randrange(5):
            case 0:
                mutable[at : at + 1] = rng.randbytes(1)
            case 1:
                mutable[at : at + 1] = bytes(
                    (rng.choice(b"\x80\x90\xc0\xc1\xdb\xdd\xdf\xd9\xc4\xcb\xff\x07\x09"),)
                )
            case 2:
                del mutable[at : at + rng.randint(1, 8)]
            case 3:
                mutable[at:at] = mutable[at : at + rng.randint(1, 8)]
            case _:
                del mutable[at:]
    return bytes(mutable)


def read_packet(codec: packet.PacketCodec, wire: bytes) -> None:
    try:
        parts = codec.decode(wire)
    except PeerError:
        return
    assert parts
    assert all(parts)
    for part in parts:
        read_message(lambda part=part: messages.decode(part))  # type: ignore[misc]


def read_message(read: Callable[[], Message | None]) -> None:
    """Reads down to the innermost message; anything but a message or PeerError fails the test by itself."""
    try:
        message = read()
        match message:
            case UserMessage(payload) | PushPull(user_state=payload):
                serf_message = decode_serf(payload)
                if isinstance(serf_message, Relay):
                    decode_serf(serf_message.inner)
                if isinstance(serf_message, Query):
                    for raw in serf_message.filters:
                        decode_filter(raw)
            case messages.Alive(meta=meta):
                decode_tags(meta)
            case messages.Ack(payload=payload) if payload:
                decode_coordinate(payload)
    except PeerError:
        return
