"""What a golden file says of a message, compared with what this program read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.vectors.golden_files import Vector

from wgmesh_agent.gossip.wire import messages
from wgmesh_agent.gossip.wire.coordinate import Coordinate, decode_coordinate, encode_coordinate
from wgmesh_agent.gossip.wire.messages import Message, NodeState, PushPull, UserMessage
from wgmesh_agent.gossip.wire.serf_messages import (
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
)


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
