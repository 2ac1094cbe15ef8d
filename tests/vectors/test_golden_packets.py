"""Each golden packet decodes to what its file says, and re-encodes to the same bytes where that says so."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from wgmesh_agent.gossip import messages, packet, stream
from wgmesh_agent.gossip.coordinate import (
    Coordinate,
    CoordinateClient,
    decode_coordinate,
    encode_coordinate,
)
from wgmesh_agent.gossip.encryption import decrypt, encrypt
from wgmesh_agent.gossip.errors import PeerError
from wgmesh_agent.gossip.keyring import Keyring
from wgmesh_agent.gossip.messages import Message, NodeState, PushPull, UserMessage
from wgmesh_agent.gossip.serf_messages import (
    ConflictResponse,
    EventSlot,
    KeyRequest,
    KeyResponse,
    NodeFilter,
    Query,
    QueryResponse,
    Relay,
    SerfMessage,
    SerfPushPull,
    TagFilter,
    decode_filter,
    decode_serf,
    decode_tags,
    encode_filter,
    encode_serf,
    encode_tags,
)

FOLDER = Path(__file__).parent / "serf"
EXPECTED_FILES = 39
Vector = dict[str, Any]


def load(path: Path) -> Vector:
    vector: Vector = json.loads(path.read_text())
    return vector


VECTORS = {
    path.stem: load(path) for path in sorted(FOLDER.glob("*.json")) if path.stem != "coordinate_updates"
}
PACKETS = [name for name, vector in VECTORS.items() if vector["transport"] == "udp"]
STREAMS = [name for name, vector in VECTORS.items() if vector["transport"] == "tcp"]
MESSAGES = [
    pytest.param(entry, id=f"{name}-{index}")
    for name, vector in VECTORS.items()
    for index, entry in enumerate(vector["messages"])
]


def keyring_of(vector: Vector) -> Keyring | None:
    return Keyring(bytes.fromhex(vector["key_hex"])) if vector["key_hex"] else None


def label_of(vector: Vector) -> bytes:
    return str(vector.get("label", "")).encode()


def version_of(vector: Vector) -> int:
    return 0 if "encryption v0" in vector["layers"] else 1


def given_nonce(vector: Vector) -> Callable[[int], bytes]:
    return lambda size: bytes.fromhex(vector["nonce_hex"])[:size]


def wire_of(vector: Vector) -> bytes:
    return bytes.fromhex(vector["wire_hex"])


def parts_of(vector: Vector) -> list[bytes]:
    return [bytes.fromhex(entry["hex"]) for entry in vector["messages"]]


def unhex(value: Any) -> Any:
    """Values of a golden file as this program holds them: bytes, and nil bytes as empty ones."""
    if isinstance(value, dict) and value.keys() == {"hex"}:
        return bytes.fromhex(value["hex"])
    return value


def assert_fields(message: object, decoded: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Each Go field of `decoded` is the attribute that `names` maps it to, and no field is left out."""
    assert decoded.keys() == names.keys()
    for key, attribute in names.items():
        ours, theirs = getattr(message, attribute), unhex(decoded[key])
        if theirs is None:
            assert not ours, key
        elif isinstance(theirs, list):
            assert list(ours) == [unhex(item) for item in theirs], key
        else:
            assert ours == theirs, key


SOURCE = {"SourceAddr": "source_addr", "SourceNode": "source_node", "SourcePort": "source_port"}
ACCUSATION = {"From": "from_node", "Incarnation": "incarnation", "Node": "node"}
NODE = {"Addr": "addr", "Incarnation": "incarnation", "Meta": "meta", "Port": "port", "Vsn": "vsn"}
FIELDS: dict[str, dict[str, str]] = {
    "ping": {"Node": "node", "SeqNo": "seq_no", **SOURCE},
    "indirectPing": {
        "Nack": "nack",
        "Node": "node",
        "Port": "port",
        "SeqNo": "seq_no",
        "Target": "target",
        **SOURCE,
    },
    "ackResp": {"Payload": "payload", "SeqNo": "seq_no"},
    "nackResp": {"SeqNo": "seq_no"},
    "suspect": ACCUSATION,
    "dead": ACCUSATION,
    "alive": {**NODE, "Node": "node"},
    "err": {"Error": "error"},
    "pushNodeState": {**NODE, "Name": "name", "State": "state"},
}
SERF_FIELDS: dict[str, dict[str, str]] = {
    "leave": {"LTime": "ltime", "Node": "node", "Prune": "prune"},
    "join": {"LTime": "ltime", "Node": "node"},
    "userEvent": {"CC": "coalesce", "LTime": "ltime", "Name": "name", "Payload": "payload"},
    "query": {
        "Addr": "addr",
        "Filters": "filters",
        "Flags": "flags",
        "ID": "id",
        "LTime": "ltime",
        "Name": "name",
        "Payload": "payload",
        "Port": "port",
        "RelayFactor": "relay_factor",
        "SourceNode": "source_node",
        "Timeout": "timeout_ns",
    },
    "queryResponse": {
        "Flags": "flags",
        "From": "from_node",
        "ID": "id",
        "LTime": "ltime",
        "Payload": "payload",
    },
    "conflictMember": {
        "Addr": "addr",
        "DelegateCur": "delegate_cur",
        "DelegateMax": "delegate_max",
        "DelegateMin": "delegate_min",
        "Name": "name",
        "Port": "port",
        "ProtocolCur": "protocol_cur",
        "ProtocolMax": "protocol_max",
        "ProtocolMin": "protocol_min",
        "Status": "status",
        "Tags": "tags",
    },
    "keyRequest": {"Key": "key"},
    "keyResponse": {
        "Keys": "keys",
        "Message": "message",
        "PrimaryKey": "primary_key",
        "Result": "result",
    },
}


def assert_message(message: Message, entry: Vector) -> None:
    match message:
        case UserMessage(payload):
            assert payload == bytes.fromhex(entry["hex"])[1:]
            assert_serf(decode_serf(payload), entry["user"])
        case PushPull():
            assert_push_pull(message, entry)
        case _:
            assert_fields(message, entry["decoded"], FIELDS[entry["type_name"]])
            if "tags" in entry:
                assert isinstance(message, messages.Alive)
                assert decode_tags(message.meta) == entry["tags"]
            if "coordinate" in entry:
                assert isinstance(message, messages.Ack)
                assert_coordinate(message.payload, entry["coordinate"])


def assert_coordinate(payload: bytes, said: Vector) -> None:
    coordinate = decode_coordinate(payload)
    assert payload[0] == said["version"]
    assert coordinate == coordinate_of(said)
    assert encode_coordinate(coordinate) == payload


def assert_push_pull(message: PushPull, entry: Vector) -> None:
    assert message.join == entry["header"]["Join"]
    assert len(message.nodes) == entry["header"]["Nodes"] == len(entry["nodes"])
    assert len(message.user_state) == entry["header"]["UserStateLen"]
    for node, said in zip(message.nodes, entry["nodes"], strict=True):
        fields = {key: value for key, value in said.items() if key != "_tags"}
        assert isinstance(node, NodeState)
        assert_fields(node, fields, FIELDS["pushNodeState"])
        assert decode_tags(node.meta) == said["_tags"]
    state = decode_serf(message.user_state)
    said = entry["user_state"]["decoded"]
    assert isinstance(state, SerfPushPull)
    assert state.ltime == said["LTime"]
    assert state.status_ltimes == said["StatusLTimes"]
    assert list(state.left_members) == said["LeftMembers"]
    assert (state.event_ltime, state.query_ltime) == (said["EventLTime"], said["QueryLTime"])
    assert len(state.events) == said["Events_len"]
    slots = {index: slot for index, slot in enumerate(state.events) if slot is not None}
    assert slots == {
        slot["index"]: EventSlot(
            slot["value"]["LTime"],
            tuple((event["Name"], unhex(event["Payload"])) for event in slot["value"]["Events"]),
        )
        for slot in said["Events_non_nil"]
    }


def assert_serf(message: SerfMessage, said: Vector) -> None:
    if isinstance(message, Relay):
        address = said["header"]["DestAddr"]
        assert (message.dest_addr, message.dest_port, message.dest_zone, message.dest_name) == (
            unhex(address["IP"]),
            address["Port"],
            address["Zone"],
            said["header"]["DestName"],
        )
        assert_serf(decode_serf(message.inner), said["inner"])
        return
    assert_fields(message, said["decoded"], SERF_FIELDS[said["serf_type_name"]])
    if "payload_decoded" in said:
        assert isinstance(message, Query | QueryResponse)
        assert_nested(decode_serf(message.payload), said["payload_decoded"])
        assert encode_serf(decode_serf(message.payload)) == message.payload
    for raw, filter_said in zip(
        message.filters if isinstance(message, Query) else (), said.get("filters_decoded", ()), strict=True
    ):
        fields = filter_said["decoded"]
        expected = TagFilter(fields["Tag"], fields["Expr"]) if raw[0] == 1 else NodeFilter(tuple(fields))
        assert raw[0] == filter_said["filter_type"]
        assert decode_filter(raw) == expected
        assert encode_filter(expected) == raw


def assert_nested(message: SerfMessage, said: Vector) -> None:
    name = said["serf_type_name"]
    if isinstance(message, ConflictResponse):
        assert name == "conflictResponse"
        assert_fields(message.member, said["decoded"], SERF_FIELDS["conflictMember"])
    else:
        assert isinstance(message, KeyRequest | KeyResponse)
        assert_fields(message, said["decoded"], SERF_FIELDS[name])


def coordinate_of(said: Vector) -> Coordinate:
    return Coordinate(
        tuple(float(axis) for axis in said["Vec"]),
        float(said["Error"]),
        float(said["Adjustment"]),
        float(said["Height"]),
    )


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


@pytest.mark.parametrize("name", list(VECTORS))
def test_a_damaged_golden_packet_parses_or_is_the_peers_error(name: str) -> None:
    """Damage under the encryption too: the plaintext is damaged and sealed again."""
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
