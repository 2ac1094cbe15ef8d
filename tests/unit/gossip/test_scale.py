"""Five thousand members: the cost of one to hold, to merge and to maintain."""

from __future__ import annotations

import itertools
import random
import time
import tracemalloc
from ipaddress import IPv4Address
from typing import Any

import pytest
from tests.unit.gossip.memberlist_harness import PORT, Loner, address

from wgmesh_agent.gossip.memberlist import push_pull_sync
from wgmesh_agent.gossip.memberlist.state import MembershipState
from wgmesh_agent.gossip.wire import push_pull
from wgmesh_agent.gossip.wire.messages import (
    Ack,
    Alive,
    Dead,
    NodeState,
    NodeStateKind,
    Ping,
    PushPull,
    Suspect,
    encode,
)
from wgmesh_agent.gossip.wire.push_pull import NODES_AT_ONCE, PushPullReader
from wgmesh_agent.gossip.wire.serf_messages import SerfPushPull, encode_serf, encode_tags
from wgmesh_agent.gossip.wire.stream import StreamCodec, stream_message
from wgmesh_agent.gossip.wire.versions import OWN_VERSIONS

MEMBERS = 5000


def full_state() -> bytes:
    rng = random.Random(1)
    nodes = tuple(
        NodeState(
            f"mesh-node-{index:05d}",
            (IPv4Address("10.232.1.1") + index).packed,
            PORT,
            encode_tags(
                {
                    "_pk": rng.randbytes(33).hex()[:44],
                    "_addr": str(IPv4Address("192.0.2.0") + index),
                    "_port": "54540",
                    "_i": str(IPv4Address("10.232.1.1") + index),
                    "_t": "n",
                }
            ),
            1,
            NodeStateKind.ALIVE,
            OWN_VERSIONS,
        )
        for index in range(MEMBERS)
    )
    serf = SerfPushPull(10, {node.name: index % 9 for index, node in enumerate(nodes)})
    return StreamCodec(None).encode(stream_message(PushPull(True, nodes, encode_serf(serf))), False)


def fed(core: Loner, data: bytes) -> Loner:
    stream_id = core.core.stream_accepted()
    assert stream_id is not None
    for start in range(0, len(data), 1 << 16):
        core.feed(stream_id, data[start : start + (1 << 16)])
    # It is read and merged in steps, so that nothing else waits for long.
    for _ in range(2 * MEMBERS // NODES_AT_ONCE + 2):
        core.pass_time(0.002)
    return core


@pytest.mark.heavy
def test_a_member_takes_no_more_than_four_kibibytes() -> None:
    data = full_state()
    core = Loner()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        fed(core, data)
        members = core.core.members()
        core.core._memberlist._exchange._state(False, 1.0)
        core.clear()
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(members) == MEMBERS + 1
    assert taken / MEMBERS <= 4096


@pytest.mark.heavy
def test_a_full_state_is_merged_within_two_seconds_and_a_minute_of_probing_takes_less_than_one() -> None:
    data = full_state()
    start = time.process_time()
    core = fed(Loner(), data)
    assert time.process_time() - start < 2
    # Let the news of the five thousand go first; afterwards it is quiet.
    core.core._memberlist._dissemination.stop()
    core.clear()
    start = time.process_time()
    pings = 0
    for _ in range(600):
        core.pass_time(0.1)
        for destination, ping, _ in core.of(Ping):
            pings += 1
            assert destination.port == PORT
            core.hear(encode(Ack(ping.seq_no, core.core.ack_payload())))
        core.clear()
    assert 55 <= pings <= 62
    assert time.process_time() - start < 1


@pytest.mark.heavy
def test_a_full_state_is_read_and_merged_in_steps_and_all_of_it_is_there_in_the_end() -> None:
    data, core = full_state(), Loner()
    stream_id = core.core.stream_accepted()
    assert stream_id is not None
    core.feed(stream_id, data)
    known = [1]
    while len(core.core.members()) <= MEMBERS:
        due = core.core.next_timer()
        assert due is not None
        assert due < 1.0
        core.now = due
        core.core.handle_timers(due)
        known.append(len(core.core.members()))
    steps = [b - a for a, b in itertools.pairwise(known)]
    assert max(steps) <= NODES_AT_ONCE
    assert sum(step > 0 for step in steps) >= MEMBERS / NODES_AT_ONCE


@pytest.mark.heavy
def test_no_more_than_some_nodes_are_read_at_once() -> None:
    reader = PushPullReader()
    assert reader.feed(full_state()[1:]) is None
    reads = 1
    while reader.behind:
        message = reader.feed(b"")
        reads += 1
    assert message is not None
    assert len(message.nodes) == MEMBERS
    assert reads >= MEMBERS / NODES_AT_ONCE


@pytest.mark.heavy
def test_what_came_whole_is_read_to_its_end_though_the_peer_has_hung_up() -> None:
    data, core = full_state(), Loner()
    stream_id = core.core.stream_accepted()
    assert stream_id is not None
    core.feed(stream_id, data)
    core.core.stream_closed(stream_id, "closed by the peer", core.now)
    core.pass_time(0.5)
    assert len(core.core.members()) == MEMBERS + 1


def test_of_a_cut_full_state_nothing_is_taken() -> None:
    data, core = full_state(), Loner()
    stream_id = core.core.stream_accepted()
    assert stream_id is not None
    core.feed(stream_id, data[: len(data) // 2])
    core.core.stream_closed(stream_id, "closed by the peer", core.now)
    core.pass_time(0.5)
    assert len(core.core.members()) == 1
    assert core.core.counters.refused["stream: ended early"] == 1
    assert not core.core._memberlist.streams._accepted


def test_what_is_said_of_a_member_is_packed_once_as_long_as_it_is_so(monkeypatch: pytest.MonkeyPatch) -> None:
    core = Loner().know(40)
    packed: list[str] = []

    def pack(node: NodeState) -> bytes:
        packed.append(node.name)
        return push_pull.pack_state(node)

    monkeypatch.setattr(push_pull_sync, "pack_state", pack)
    exchange = core.core._memberlist._exchange
    exchange._state(False, 1.0)
    assert len(packed) == 40
    packed.clear()
    exchange._state(True, 1.0)
    assert packed == []
    core.hear(Alive(2, "n5", address(5), PORT, b"\xff\x80", OWN_VERSIONS))
    core.hear(Suspect(1, "n6", "n7"))
    core.hear(Dead(1, "n8", "n8"), source=8)
    core.do(lambda serf: serf.set_tags({"a": "b"}, core.now))
    exchange._state(False, 1.0)
    assert sorted(packed) == ["n1", "n5", "n6", "n8"]


@pytest.mark.heavy
def test_many_states_at_once_are_merged_one_step_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    data, core = full_state(), Loner()
    for _ in range(3):
        stream_id = core.core.stream_accepted()
        assert stream_id is not None
        core.feed(stream_id, data)
    merged: list[int] = []
    merge = MembershipState.merge

    def counted(membership: MembershipState, nodes: tuple[NodeState, ...], now: float, **more: Any) -> None:
        merged.append(len(nodes))
        merge(membership, nodes, now, **more)

    monkeypatch.setattr(MembershipState, "merge", counted)
    most = 0
    for _ in range(400):
        merged.clear()
        due = core.core.next_timer()
        assert due is not None
        core.now = due
        core.core.handle_timers(due)
        most = max(most, sum(merged))
    assert len(core.core.members()) == MEMBERS + 1
    assert most <= NODES_AT_ONCE
