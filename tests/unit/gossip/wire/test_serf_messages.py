from __future__ import annotations

import time
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgmesh_agent.gossip.errors import DecodeError, GossipError, LimitError, PeerError
from wgmesh_agent.gossip.wire.packing import pack
from wgmesh_agent.gossip.wire.serf_messages import (
    MAX_SERF_MESSAGE_BYTES,
    ConflictMember,
    ConflictResponse,
    EventSlot,
    JoinIntent,
    KeyRequest,
    KeyResponse,
    LeaveIntent,
    MemberStatus,
    Query,
    QueryResponse,
    Relay,
    SerfMessage,
    SerfMessageType,
    SerfPushPull,
    UserEvent,
    decode_serf,
    encode_serf,
)

NAMES = st.binary(max_size=30).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
RAW = st.binary(max_size=200)
U8 = st.integers(0, 2**8 - 1)
U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
I64 = st.integers(-(2**63), 2**63 - 1)
SLOTS = st.builds(EventSlot, U64, st.lists(st.tuples(NAMES, RAW), max_size=3).map(tuple))
MEMBERS = st.builds(
    ConflictMember,
    NAMES,
    RAW,
    U16,
    st.dictionaries(NAMES, NAMES, max_size=4),
    st.sampled_from(MemberStatus),
    *[U8] * 6,
)
MESSAGES: st.SearchStrategy[SerfMessage] = st.one_of(
    st.builds(LeaveIntent, U64, NAMES, st.booleans()),
    st.builds(JoinIntent, U64, NAMES),
    st.builds(
        SerfPushPull,
        U64,
        st.dictionaries(NAMES, U64, max_size=5),
        st.lists(NAMES, max_size=4).map(tuple),
        U64,
        st.lists(st.none() | SLOTS, max_size=5).map(tuple),
        U64,
    ),
    st.builds(UserEvent, U64, NAMES, RAW, st.booleans()),
    st.builds(
        Query, U64, U32, RAW, U16, NAMES, st.lists(RAW, max_size=3).map(tuple), U32, U8, I64, NAMES, RAW
    ),
    st.builds(QueryResponse, U64, U32, NAMES, U32, RAW),
    st.builds(ConflictResponse, st.none() | MEMBERS),
    st.builds(KeyRequest, RAW),
    st.builds(KeyResponse, st.booleans(), NAMES, st.lists(NAMES, max_size=3).map(tuple), NAMES),
    st.builds(Relay, RAW, U16, NAMES, NAMES, st.binary(min_size=1, max_size=100)),
)


@given(MESSAGES)
def test_every_message_comes_back(message: SerfMessage) -> None:
    assert decode_serf(encode_serf(message)) == message


@settings(max_examples=400)
@given(st.sampled_from([*SerfMessageType, 200]), st.binary(max_size=200))
def test_any_bytes_are_a_message_or_the_peers_error(kind: int, body: bytes) -> None:
    with suppress(PeerError):
        encode_serf(decode_serf(bytes((kind,)) + body))


@given(MESSAGES, st.data())
def test_a_damaged_message_is_a_message_or_the_peers_error(message: SerfMessage, draw: st.DataObject) -> None:
    data = bytearray(encode_serf(message))
    at = draw.draw(st.integers(0, len(data) - 1))
    data[at] = draw.draw(st.integers(0, 255))
    with suppress(PeerError):
        encode_serf(decode_serf(bytes(data)))


@pytest.mark.parametrize("data", [b"", b"\x0a\x80", b"\x09\xc0", b"\x09\x80", b"\x04", b"\x04\x90"])
def test_what_is_no_serf_message_is_the_peers_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_serf(data)


def test_a_relay_without_an_inner_message_is_our_error() -> None:
    with pytest.raises(GossipError, match="relay"):
        encode_serf(Relay(b"\x7f\0\0\1", 1, "", "a", b""))


def test_an_unknown_member_in_a_conflict_is_nil() -> None:
    assert encode_serf(ConflictResponse(None)) == b"\x06\xc0"
    assert decode_serf(b"\x06\xc0") == ConflictResponse(None)


def test_listing_keys_sends_an_empty_key_and_not_nil() -> None:
    assert encode_serf(KeyRequest()) == b"\x07\x81\xa3Key\xa0"


def test_keys_stay_out_of_the_repr() -> None:
    assert "secret" not in repr(KeyRequest(b"secret"))
    assert "secret" not in repr(KeyResponse(True, "", ("secret",), "secret"))


def test_nil_and_empty_event_slots_are_read_alike() -> None:
    empty: list[None] = []
    for events in (None, empty):
        message = decode_serf(b"\x02" + pack({"Events": events}))
        assert isinstance(message, SerfPushPull)
        assert message.events == ()


@pytest.mark.parametrize("status", [-1, 5])
def test_a_member_status_that_does_not_exist_is_the_peers_error(status: int) -> None:
    with pytest.raises(DecodeError, match="member status"):
        decode_serf(b"\x06" + pack({"Status": status}))


def test_a_timeout_may_be_negative_and_an_id_may_not() -> None:
    assert decode_serf(b"\x04" + pack({"Timeout": -5})) == Query(0, 0, b"", 0, "", timeout_ns=-5)
    with pytest.raises(DecodeError, match=r"Query\.ID"):
        decode_serf(b"\x04" + pack({"ID": -5}))


def test_only_a_push_pull_may_be_large() -> None:
    large = {"StatusLTimes": {f"node-{number}": number for number in range(20_000)}}
    message = decode_serf(b"\x02" + pack(large))
    assert isinstance(message, SerfPushPull)
    assert message.status_ltimes == large["StatusLTimes"]
    with pytest.raises(LimitError, match=str(MAX_SERF_MESSAGE_BYTES)):
        decode_serf(b"\x03" + pack({"Payload": b"x" * MAX_SERF_MESSAGE_BYTES}))
    with pytest.raises(LimitError, match="push-pull"):
        decode_serf(b"\x02" + pack({"Junk": b"x" * 5 * 2**20}))


@pytest.mark.heavy
@pytest.mark.parametrize(
    "junk",
    [
        b"\xdc\x80\x00" * 1_000_000,
        (b"\xdc\x80\x00" + b"\x80" * 32_000) * 100,
        b"\xdc\x80\x00" + b"\xdc\x00\x60" * 30_000,
    ],
    ids=["claims in claims", "empty maps", "many arrays"],
)
def test_a_push_pull_of_claims_takes_bounded_memory_and_time(junk: bytes) -> None:
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(PeerError):
        decode_serf(b"\x02\x81\xa6Events" + junk)
    took = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 160 * 2**20
    assert took < 3
