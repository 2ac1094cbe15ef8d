"""Five thousand members: what one costs to hold, to merge and to look after."""

from __future__ import annotations

import random
import time
import tracemalloc
from ipaddress import IPv4Address

from tests.unit.gossip.core_ground import PORT, Loner

from wgmesh_agent.gossip.messages import Ack, NodeState, NodeStateKind, Ping, PushPull, encode
from wgmesh_agent.gossip.serf_messages import SerfPushPull, encode_serf, encode_tags
from wgmesh_agent.gossip.stream import StreamCodec, stream_message
from wgmesh_agent.gossip.versions import OWN_VERSIONS

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
    return core


def test_a_member_takes_no_more_than_four_kibibytes() -> None:
    data = full_state()
    core = Loner()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        fed(core, data)
        members = core.core.members()
        core.clear()
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(members) == MEMBERS + 1
    assert taken / MEMBERS <= 4096


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
