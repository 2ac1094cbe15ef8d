"""All that others can make an agent keep, all of it at once, fits beside the agent in its memory limit."""

from __future__ import annotations

import tracemalloc
from ipaddress import IPv4Address
from pathlib import Path

import yaml

from wgmesh_agent.gossip.aio.node import MOST_UNREAD_EVENTS
from wgmesh_agent.gossip.aio.streams import MOST_WAITING_BYTES
from wgmesh_agent.gossip.memberlist.config import SerfConfig
from wgmesh_agent.gossip.serf.dispatch import MOST_EVENT_BYTES
from wgmesh_agent.gossip.serf.serf import MOST_QUERY_IDS
from wgmesh_agent.gossip.wire.messages import NodeState, NodeStateKind, PushPull
from wgmesh_agent.gossip.wire.push_pull import PushPullReader, encode_body
from wgmesh_agent.gossip.wire.stream import MAX_EXPANDED_BYTES, MAX_FRAME_BYTES
from wgmesh_agent.gossip.wire.versions import OWN_VERSIONS
from wgmesh_agent.kube import http_server
from wgmesh_agent.mesh.join.client import MAX_PEERS_BYTES
from wgmesh_agent.mesh.join.connection_limiter import CHUNK_BYTES, MAX_CONNECTIONS
from wgmesh_agent.mesh.join.tokens import MAX_TOKENS
from wgmesh_agent.mesh.membership.missing_records import MAX_MISSING

KIB, MIB = 1 << 10, 1 << 20
LIMIT_BYTES = 256 * MIB
AT_REST_BYTES = 80 * MIB
"""Resident memory of an agent among a hundred: docs/benchmarks.md, the bound it is held to."""
CONFIG = SerfConfig("n1", IPv4Address("10.0.0.1"))
KEPT_STATE_BYTES = 1100
"""Of a node state of such a size that as many as may wait are all that streams may hold."""
CHUNKS_OF_A_CONNECTION = 10
"""Each way: twice one in the reader, one in hand, twice one in the writer."""
BUDGETS = {
    # A frame as it came, and what it expands to.
    "bytes on gossip streams": CONFIG.max_stream_buffer_bytes * (1 + MAX_EXPANDED_BYTES // MAX_FRAME_BYTES),
    "states read or merged": CONFIG.max_waiting_nodes * KEPT_STATE_BYTES,
    "states that peers do not read": MOST_WAITING_BYTES,
    "members that nobody vouches for": CONFIG.max_strangers * 4 * KIB,
    "broadcasts about them": CONFIG.max_strangers * 1700,
    "intents, queries and events to be passed on": 3 * CONFIG.max_queue_bytes,
    "user events that wait": MOST_UNREAD_EVENTS * (MOST_EVENT_BYTES + 500),
    "news of members that wait": CONFIG.max_members * 750,
    "user events that were seen": CONFIG.max_event_buffer_bytes + CONFIG.max_events_buffered * 200,
    "queries that were seen": MOST_QUERY_IDS * 80,
    "intents of the unknown": CONFIG.max_intents * 500,
    "queries that wait for an answer": CONFIG.max_queries * 600,
    "members whose record is missing": MAX_MISSING * 2 * KIB,
    "an answer to Peers()": MAX_PEERS_BYTES,
    "connections to the join port": MAX_CONNECTIONS * CHUNKS_OF_A_CONNECTION * CHUNK_BYTES,
    "join tokens": MAX_TOKENS * 400,
    "requests for metrics": http_server.MOST_CONNECTIONS * 2 * http_server.MOST_REQUEST_BYTES,
}


def test_all_budgets_together_fit_in_what_the_limit_leaves() -> None:
    assert sum(BUDGETS.values()) <= LIMIT_BYTES - AT_REST_BYTES, {
        what: f"{size / MIB:.1f} MiB" for what, size in BUDGETS.items()
    }


def test_the_limit_is_what_agents_in_a_cluster_are_given() -> None:
    chart = Path(__file__).parents[2] / "charts" / "wgmesh" / "values.yaml"
    text = chart.read_text()
    assert yaml.safe_load(text)
    assert f"memory: {LIMIT_BYTES // MIB}Mi" in text


def test_a_whole_state_of_the_largest_mesh_fits_in_one_address_s_half() -> None:
    largest = CONFIG.max_members + CONFIG.max_strangers
    assert largest <= CONFIG.max_waiting_nodes // 2
    assert CONFIG.max_stream_buffer_bytes // 2 >= MAX_FRAME_BYTES + 1024


def test_a_state_that_was_read_takes_no_more_than_is_reckoned() -> None:
    count = 5000
    nodes = tuple(
        NodeState(
            f"name{number:06}" * 2,
            bytes(4),
            7946,
            bytes(165),
            100_000 + number,
            NodeStateKind.SUSPECT,
            OWN_VERSIONS,
        )
        for number in range(count)
    )
    body = encode_body(PushPull(False, nodes))
    assert CONFIG.max_waiting_nodes * len(body) / count >= 0.95 * CONFIG.max_stream_buffer_bytes
    del nodes
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        reader = PushPullReader()
        message = reader.feed(body)
        while reader.behind:
            message = reader.feed(b"")
        assert message is not None
        # What it came as is reckoned with the streams.
        del reader
        assert tracemalloc.get_traced_memory()[0] - before <= count * KEPT_STATE_BYTES
    finally:
        tracemalloc.stop()
