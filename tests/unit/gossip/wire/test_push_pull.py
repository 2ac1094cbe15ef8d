from __future__ import annotations

import time
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.gossip.errors import DecodeError, LimitError
from wgmesh_agent.gossip.wire import push_pull
from wgmesh_agent.gossip.wire.messages import NodeState, NodeStateKind, PushPull
from wgmesh_agent.gossip.wire.packing import pack
from wgmesh_agent.gossip.wire.push_pull import PushPullReader, decode_body, encode_body


def node(number: int) -> NodeState:
    return NodeState(
        f"n{number}", bytes((10, 0, 0, number)), 7946, b"\xff\x80", 1, NodeStateKind(number % 4), b""
    )


MESSAGE = PushPull(True, tuple(node(number) for number in range(6)), b"\x02\x80")


def header(**fields: int) -> bytes:
    return pack({key: fields[key] for key in sorted(fields)})


@given(st.lists(st.integers(0, 500), max_size=12))
def test_a_body_in_any_pieces_is_whole_with_its_last_byte(cuts: list[int]) -> None:
    body = encode_body(MESSAGE)
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    reader = PushPullReader()
    answers = [reader.feed(body[a:b]) for a, b in pairwise(edges)]
    assert answers == [None] * (len(answers) - 1) + [MESSAGE]


def test_a_body_that_is_cut_short_anywhere_is_the_peers_error() -> None:
    body = encode_body(MESSAGE)
    for length in range(len(body)):
        with pytest.raises(DecodeError):
            decode_body(body[:length])


@pytest.mark.parametrize(
    "claims",
    [{"Nodes": -1}, {"Nodes": push_pull.MAX_NODES + 1}, {"UserStateLen": -1}, {"UserStateLen": 20 * 2**20}],
)
def test_a_header_that_claims_too_much_is_refused_at_once(claims: dict[str, int]) -> None:
    with pytest.raises(DecodeError, match="a push-pull"):
        PushPullReader().feed(header(**claims))


def test_an_unknown_node_state_is_the_peers_error() -> None:
    with pytest.raises(DecodeError, match=r"NodeState\.State wants a node state in 0\.\.3, got 4"):
        decode_body(header(Nodes=1) + pack({"State": 4}))


def test_signed_lengths_of_newer_go_are_read() -> None:
    body = b"\x83\xa4Join\xc2\xa5Nodes\xd1\x00\x01\xacUserStateLen\xd3" + (2).to_bytes(8)
    assert decode_body(body + pack({"Name": "a"}) + b"xy").user_state == b"xy"


@pytest.mark.heavy
def test_a_push_pull_of_junk_containers_takes_little_memory_and_time() -> None:
    junk = header(Nodes=30_000) + b"\x81\xa4Junk\xdc\x04\x00" + b"\x80" * 4_000_000
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(LimitError, match="arrays and maps"):
        PushPullReader().feed(junk)
    took = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * 2**20
    assert took < 2


def test_more_bytes_than_a_push_pull_may_have_are_refused() -> None:
    reader = PushPullReader()
    half = b"\x81\xa4Junk\xdb" + (2**22 - 20).to_bytes(4) + b"\0" * (2**22 - 20)
    assert reader.feed(header(Nodes=30_000) + half) is None
    with pytest.raises(LimitError, match="stream of more than"):
        reader.feed(half + b"\xc0" * 60)
