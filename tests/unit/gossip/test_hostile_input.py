"""Whatever a peer sends, the core lives: nothing is raised, nothing grows without bound, we stay ourselves."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.odd_values import fuzzed, fuzzed_by
from tests.unit.gossip.memberlist_harness import PORT, Loner, alive, endpoint

from wgmesh_agent.gossip.wire.messages import (
    Ack,
    Alive,
    Dead,
    IndirectPing,
    Message,
    Nack,
    NodeState,
    NodeStateKind,
    Ping,
    PushPull,
    Suspect,
    UserMessage,
    encode,
)
from wgmesh_agent.gossip.wire.serf_messages import (
    EventSlot,
    JoinIntent,
    LeaveIntent,
    MemberStatus,
    NodeFilter,
    Query,
    QueryResponse,
    Relay,
    SerfPushPull,
    TagFilter,
    UserEvent,
    encode_filter,
    encode_serf,
)
from wgmesh_agent.gossip.wire.stream import stream_message

names = st.sampled_from(["n1", "n2", "n3", "n4", "n99", "", "\udcff"])
u32 = st.one_of(st.integers(0, 5), st.sampled_from([2**31, 2**32 - 2, 2**32 - 1]))
u64 = st.one_of(st.integers(0, 2000), st.sampled_from([2**62, 2**63 - 1, 2**63, 2**64 - 1]))
ports = st.sampled_from([0, 1, PORT, 65535])
addresses = st.sampled_from([b"", b"abc", bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), bytes(16), bytes(17)])
blobs = st.binary(max_size=40)
versions = st.one_of(st.sampled_from([b"", bytes([1, 5, 2, 2, 5, 4])]), st.binary(max_size=7))
filters = st.one_of(
    blobs,
    st.builds(lambda name: encode_filter(NodeFilter((name,))), names),
    st.builds(lambda text: encode_filter(TagFilter("t", text)), st.text("a(+)*^$[\\", max_size=8)),
)
serf_messages = st.one_of(
    st.builds(JoinIntent, u64, names),
    st.builds(LeaveIntent, u64, names, st.booleans()),
    st.builds(UserEvent, u64, st.text(max_size=5), blobs, st.booleans()),
    st.builds(
        Query,
        u64,
        u32,
        addresses,
        ports,
        names,
        st.lists(filters, max_size=2).map(tuple),
        st.integers(0, 3),
        st.integers(0, 255),
        st.integers(-(2**63), 2**63 - 1),
        st.sampled_from(
            ["q", "_serf_ping", "_serf_conflict", "_serf_install-key", "_serf_list-keys", "_serf_x"]
        ),
        blobs,
    ),
    st.builds(QueryResponse, u64, u32, names, st.integers(0, 3), blobs),
    st.builds(Relay, addresses, ports, st.just(""), names, st.binary(min_size=1, max_size=20)),
    st.builds(
        SerfPushPull,
        u64,
        st.dictionaries(names, u64, max_size=3),
        st.lists(names, max_size=3).map(tuple),
        u64,
        st.lists(
            st.one_of(
                st.none(),
                st.builds(EventSlot, u64, st.lists(st.tuples(st.just("e"), blobs), max_size=2).map(tuple)),
            ),
            max_size=3,
        ).map(tuple),
        u64,
    ),
)
node_states = st.builds(
    NodeState, names, addresses, ports, blobs, u32, st.sampled_from(list(NodeStateKind)), versions
)
push_pulls = st.builds(
    PushPull,
    st.booleans(),
    st.lists(node_states, max_size=4).map(tuple),
    st.one_of(blobs, serf_messages.map(encode_serf)),
)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Ping, u32, names, addresses, ports, names),
    st.builds(IndirectPing, u32, addresses, ports, names, st.booleans(), addresses, ports, names),
    st.builds(Ack, u32, blobs),
    st.builds(Nack, u32),
    st.builds(Suspect, u32, names, names),
    st.builds(Dead, u32, names, names),
    st.builds(Alive, u32, names, addresses, ports, blobs, versions),
    st.builds(UserMessage, st.one_of(blobs, serf_messages.map(encode_serf))),
)


def check_we_are_ourselves(core: Loner) -> None:
    own = core.core.members()["n1"]
    assert own.status is MemberStatus.ALIVE
    assert own.address == endpoint(1).address
    # Still able to act, with clocks that a peer can decode.
    core.do(lambda serf: serf.user_event("still", b"here", core.now))
    core.do(lambda serf: serf.set_tags({"still": "here"}, core.now))
    assert core.core.members()["n1"].tags == {"still": "here"}
    core.pass_time(2)


@given(
    st.lists(st.one_of(st.binary(max_size=80), messages.map(encode)), min_size=8, max_size=30),
    st.integers(0, 3),
)
@fuzzed_by(8)
def test_any_datagrams_are_survived(datagrams: list[bytes], seed: int) -> None:
    core = Loner(seed).know(3)
    for datagram in datagrams:
        core.core.receive_datagram(datagram, endpoint(2), core.now)
        core.pass_time(0.3)
    check_we_are_ourselves(core)


@given(st.one_of(st.binary(max_size=200), push_pulls.map(stream_message)), st.data())
@fuzzed
def test_any_stream_in_any_pieces_is_survived(data: bytes, pieces: Any) -> None:
    core = Loner().know(3)
    cuts = sorted(pieces.draw(st.lists(st.integers(0, len(data)), max_size=5)))
    stream_id = core.core.stream_accepted()
    assert stream_id is not None
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        core.feed(stream_id, data[start:end])
    core.do(lambda serf: serf.stream_closed(stream_id, "closed by the peer", core.now))
    core.pass_time(5)
    check_we_are_ourselves(core)


@given(st.one_of(st.binary(max_size=200), push_pulls.map(stream_message)))
@fuzzed
def test_any_answer_to_our_join_is_survived(data: bytes) -> None:
    core = Loner()
    core.do(lambda serf: serf.join(endpoint(2), core.now))
    core.feed(core.actions.pop().stream_id, data)
    core.pass_time(5)
    check_we_are_ourselves(core)


@pytest.mark.heavy
def test_a_flood_of_made_up_members_events_queries_and_intents_stays_within_bounds() -> None:
    rng = random.Random(1)
    core = Loner(max_members=100, max_queue_depth=200)
    for index in range(1500):
        core.hear(
            alive(f"x{index}", index=index % 250 + 2),
            UserMessage(encode_serf(UserEvent(rng.randrange(600), f"e{index}", bytes(100)))),
            UserMessage(encode_serf(Query(index, index, bytes([10, 0, 0, 2]), PORT, "n2", name="q"))),
            UserMessage(encode_serf(LeaveIntent(1, f"y{index}"))),
        )
        core.clear()
    serf = core.core
    assert len(serf.members()) == 100
    assert len(serf._members._intents) <= 1024
    assert all(len(queue) <= 200 for queue in (serf._broadcasts.events, serf._broadcasts.queries))
    state = serf._state.local()
    assert sum(len(slot.events) for slot in state.events if slot is not None) <= 4096
    assert len(serf.local_state()) < 2 * 2**20
