"""A name that some consumer could not write is refused where it comes in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gossip.memberlist_harness import PORT, Loner, address, alive
from tests.unit.gossip.push_pull_fixtures import push_pull, state
from tests.unit.gossip.serf_harness import query, user

from wgmesh_agent.gossip.memberlist.names import MAX_NAME_BYTES, is_member_name
from wgmesh_agent.gossip.serf.events import QueryReceived
from wgmesh_agent.gossip.wire.messages import Alive, NodeState, NodeStateKind
from wgmesh_agent.gossip.wire.serf_messages import JoinIntent, LeaveIntent, encode_tags
from wgmesh_agent.gossip.wire.stream import StreamCodec, stream_message
from wgmesh_agent.gossip.wire.versions import OWN_VERSIONS
from wgmesh_api.agent_pb2 import MemberInfo

NO_NAMES = ["", "\udcff", "a\udc80b", "x" * 129, "é" * 65, "two\nlines", "\x00", "\U0001f600" * 33]


@pytest.mark.parametrize("name", ["n1", "blueAE80101", "Ü.example-1", "x" * 128, "é" * 64])
def test_names_of_members_are_names(name: str) -> None:
    assert is_member_name(name)


@given(st.text(st.characters(codec=None), max_size=200))
def test_every_name_accepted_can_be_written_by_every_consumer(name: str) -> None:
    if is_member_name(name):
        assert len(name.encode()) <= MAX_NAME_BYTES
        assert MemberInfo.FromString(MemberInfo(nodeName=name).SerializeToString()).nodeName == name


@pytest.mark.parametrize("name", NO_NAMES)
def test_no_way_into_the_tables_takes_a_name_that_is_none(name: str) -> None:
    core = Loner().know(2)
    core.hear(Alive(1, name, address(7), PORT, b"", OWN_VERSIONS))
    core.hear(user(JoinIntent(5, name)), user(LeaveIntent(6, name)))
    node = NodeState(name, address(8), PORT, b"", 1, NodeStateKind.ALIVE, OWN_VERSIONS)
    stream = core.do(lambda serf: serf.stream_accepted())
    core.feed(stream, StreamCodec(None).encode(stream_message(push_pull(node, state("n3"))), False))
    assert set(core.core.members()) == {"n1", "n2", "n3"}
    assert len(core.core._members._intents) == 0


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_query_of_such_a_name_is_not_handed_on(name: str) -> None:
    core = Loner().know(2)
    core.hear(user(query(source_node=name)))
    assert [event for event in core.events if isinstance(event, QueryReceived)] == []


def test_tags_that_are_no_text_are_left_out() -> None:
    core = Loner()
    meta = encode_tags({"good": "tag", "bad": "\udcff", "\udc80": "worse"})
    core.hear(alive("n2", meta=meta))
    assert core.core.members()["n2"].tags == {"good": "tag"}
