"""A packet's source address identifies the sending member, never its content."""

from __future__ import annotations

import random
from ipaddress import IPv4Address

from tests.unit.gossip.memberlist_harness import PORT, Bound, Loner, address, alive, endpoint
from tests.unit.gossip.serf_harness import query, user

from wgmesh_agent.gossip.memberlist.node_table import NodeRecord, NodeTable
from wgmesh_agent.gossip.memberlist.senders import NoVouching, Speakers
from wgmesh_agent.gossip.serf.events import QueryReceived
from wgmesh_agent.gossip.wire.endpoint import Endpoint
from wgmesh_agent.gossip.wire.messages import NodeStateKind
from wgmesh_agent.gossip.wire.stream import StreamCodec, stream_message


def table_of(*records: tuple[str, int, int, NodeStateKind]) -> NodeTable:
    table = NodeTable(random.Random(1), 64, 3600.0)
    for name, index, port, state in records:
        record = NodeRecord(name, address(index), port)
        table.add(record)
        table.set_state(record, state, 0.0)
    return table


ALIVE, DEAD = NodeStateKind.ALIVE, NodeStateKind.DEAD


class TestSpeakers:
    def test_the_member_with_the_source_address_speaks(self) -> None:
        speakers = Speakers(table_of(("a", 1, PORT, ALIVE), ("b", 2, PORT, ALIVE)), NoVouching())
        assert speakers.at(endpoint(2)) == "b"
        assert speakers.at(Endpoint(IPv4Address("10.0.0.2"), 0)) == "b"
        assert speakers.at(endpoint(3)) is None
        assert speakers.at(None) is None

    def test_members_that_share_an_address_are_told_apart_by_port(self) -> None:
        speakers = Speakers(table_of(("a", 1, 7001, ALIVE), ("b", 1, 7002, ALIVE)), NoVouching())
        assert speakers.at(Endpoint(IPv4Address("10.0.0.1"), 7002)) == "b"
        assert speakers.at(Endpoint(IPv4Address("10.0.0.1"), 0)) is None

    def test_the_living_come_before_those_that_had_the_address_earlier(self) -> None:
        speakers = Speakers(table_of(("old", 1, PORT, DEAD), ("new", 1, PORT, ALIVE)), NoVouching())
        assert speakers.at(endpoint(1)) == "new"

    def test_a_binding_outweighs_whoever_claims_the_address_in_gossip(self) -> None:
        speakers = Speakers(table_of(("claimant", 1, PORT, ALIVE)), Bound("holder", IPv4Address("10.0.0.1")))
        assert speakers.at(endpoint(1)) == "holder"

    def test_a_member_that_moves_speaks_from_its_new_address_only(self) -> None:
        table = table_of(("a", 1, PORT, ALIVE))
        record = table.get("a")
        assert record is not None
        table.move(record, address(9), PORT)
        speakers = Speakers(table, NoVouching())
        assert (speakers.at(endpoint(9)), speakers.at(endpoint(1))) == ("a", None)

    def test_a_forgotten_member_speaks_no_more(self) -> None:
        table = table_of(("a", 1, PORT, ALIVE), ("b", 2, PORT, DEAD))
        own = table.get("a")
        assert own is not None
        for now in (100.0, 5000.0):
            while table.next_to_probe(own, now, 30.0):
                pass
        assert table.get("b") is None
        assert Speakers(table, NoVouching()).at(endpoint(2)) is None


def received(core: Loner) -> QueryReceived:
    (event,) = [event for event in core.events if isinstance(event, QueryReceived)]
    return event


class TestQueries:
    def test_a_query_says_which_member_it_came_from(self) -> None:
        core = Loner().know(3)
        core.hear(user(query(source_node="n2")), source=2)
        assert (received(core).source_node, received(core).source_member) == ("n2", "n2")

    def test_a_query_in_another_s_name_says_whose_address_it_came_from(self) -> None:
        core = Loner().know(3)
        core.hear(user(query(source_node="n2")), source=3)
        assert (received(core).source_node, received(core).source_member) == ("n2", "n3")

    def test_a_query_of_no_member_comes_from_nobody(self) -> None:
        core = Loner().know(3)
        core.hear(user(query(source_node="n2")), source=77)
        assert received(core).source_member is None

    def test_a_query_on_a_stream_comes_from_the_member_at_the_other_end(self) -> None:
        core = Loner()
        core.hear(alive("n2"))
        message = StreamCodec(None).encode(stream_message(user(query())), False)
        source = Endpoint(IPv4Address("10.0.0.2"), 0)
        core.feed(core.do(lambda serf: serf.stream_accepted(source)), message)
        assert received(core).source_member == "n2"
