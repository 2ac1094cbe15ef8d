from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgmesh_agent.gossip.errors import DecodeError, GossipError, PeerError
from wgmesh_agent.gossip.wire.messages import (
    Ack,
    Alive,
    Dead,
    IndirectPing,
    Message,
    MessageType,
    Nack,
    NodeState,
    NodeStateKind,
    Ping,
    PushPull,
    StreamError,
    Suspect,
    UserMessage,
    decode,
    encode,
)

NAMES = st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)
RAW = st.binary(max_size=300)
NODE_STATES = st.builds(NodeState, NAMES, RAW, U16, RAW, U32, st.sampled_from(NodeStateKind), RAW)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Ping, U32, NAMES, RAW, U16, NAMES),
    st.builds(IndirectPing, U32, RAW, U16, NAMES, st.booleans(), RAW, U16, NAMES),
    st.builds(Ack, U32, RAW),
    st.builds(Nack, U32),
    st.builds(Suspect, U32, NAMES, NAMES),
    st.builds(Alive, U32, NAMES, RAW, U16, RAW, RAW),
    st.builds(Dead, U32, NAMES, NAMES),
    st.builds(PushPull, st.booleans(), st.lists(NODE_STATES, max_size=4).map(tuple), RAW),
    st.builds(UserMessage, RAW),
    st.builds(StreamError, NAMES),
)
ALIVE = Alive(3, "node", bytes((10, 0, 0, 1)), 7946, b"\xff\x80", bytes((1, 5, 2, 2, 5, 4)))


@given(MESSAGES)
def test_every_message_comes_back(message: Message) -> None:
    assert decode(encode(message)) == message


@given(MESSAGES, st.binary(max_size=20))
def test_bytes_after_a_message_are_ignored(message: Message, tail: bytes) -> None:
    if not isinstance(message, UserMessage):
        assert decode(encode(message) + tail) == message


@settings(max_examples=400)
@given(st.sampled_from([*MessageType, 200]), st.binary(max_size=200))
def test_any_bytes_are_a_message_or_the_peers_error(kind: int, body: bytes) -> None:
    with suppress(PeerError):
        encode(decode(bytes((kind,)) + body))


@given(MESSAGES, st.data())
def test_a_damaged_message_is_a_message_or_the_peers_error(message: Message, draw: st.DataObject) -> None:
    data = bytearray(encode(message))
    at = draw.draw(st.integers(0, len(data) - 1))
    data[at] = draw.draw(st.integers(0, 255))
    with suppress(PeerError):
        encode(decode(bytes(data)))


@pytest.mark.parametrize("data", [b"", b"\x07\x01", b"\x09\x80", b"\x0a", b"\x0c1234", b"\xf4", b"\x0e\x80"])
def test_nothing_a_layer_or_an_unknown_type_is_no_message(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(data)


def test_a_ping_without_a_source_leaves_those_fields_out() -> None:
    assert encode(Ping(5, "py1")) == b"\x00\x82\xa4Node\xa3py1\xa5SeqNo\x05"


def test_an_empty_ack_payload_is_nil() -> None:
    assert encode(Ack(4, b"")) == b"\x02\x82\xa7Payload\xc0\xa5SeqNo\x04"


def test_a_name_of_any_bytes_survives() -> None:
    wire = b"\x0b\x81\xa5SeqNo\x05"
    assert decode(wire) == Nack(5)
    odd = b"\x05\x83\xa4From\xa2\xff\xfe\xabIncarnation\x01\xa4Node\xa3\x00\xc3("
    message = decode(odd)
    assert isinstance(message, Dead)
    assert encode(message) == odd


def test_a_missing_vsn_is_empty_and_an_array_of_six_is_read() -> None:
    assert decode(b"\x04\x81\xa4Node\xa1a") == Alive(0, "a", b"", 0, b"", b"")
    with_array = decode(b"\x04\x81\xa3Vsn\x96\x01\x05\x02\x02\x05\x04")
    assert isinstance(with_array, Alive)
    assert with_array.vsn == ALIVE.vsn


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_out_of_bounds_is_our_error(port: int) -> None:
    with pytest.raises(GossipError, match=r"Alive\.port"):
        encode(replace(ALIVE, port=port))


def test_a_sequence_number_of_33_bits_is_the_peers_error() -> None:
    with pytest.raises(DecodeError, match=r"Nack\.SeqNo"):
        decode(b"\x0b\x81\xa5SeqNo\xcf\x00\x00\x00\x01\x00\x00\x00\x00")


def test_what_is_no_message_is_our_error() -> None:
    with pytest.raises(GossipError, match="str"):
        encode("ping")  # type: ignore[arg-type]
