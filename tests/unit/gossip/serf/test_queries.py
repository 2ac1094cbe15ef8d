"""Queries of gossip-wire section 8.5: asking, answering, filters and relays."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.gossip.memberlist_harness import PORT, Loner, address, alive, endpoint
from tests.unit.gossip.serf_harness import query, said, user

from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.gossip.serf.events import QueryFinished, QueryReceived
from wgmesh_agent.gossip.serf.query_client import QueryRequest
from wgmesh_agent.gossip.serf.query_filters import addressed
from wgmesh_agent.gossip.wire.serf_messages import (
    NodeFilter,
    Query,
    QueryResponse,
    Relay,
    TagFilter,
    decode_serf,
    encode_filter,
    encode_serf,
    encode_tags,
)


class TestAnswering:
    def test_a_query_is_handed_up_and_its_answer_goes_straight_to_the_asker(self) -> None:
        core = Loner().know(2)
        core.clear()
        core.hear(user(query()))
        [received] = [event for event in core.events if isinstance(event, QueryReceived)]
        assert (received.source_node, received.name, received.payload) == ("n2", "hello", b"there")
        assert received.deadline == core.now + 5
        core.do(lambda serf: serf.respond(received.ltime, received.id, b"yes", core.now))
        assert said(core, QueryResponse) == [(endpoint(2), QueryResponse(5, 99, "n1", 0, b"yes"))]

    def test_an_ack_is_sent_at_once_if_wanted(self) -> None:
        core = Loner().know(2)
        core.hear(user(query(flags=1)))
        assert said(core, QueryResponse) == [(endpoint(2), QueryResponse(5, 99, "n1", 1, b""))]

    def test_a_query_is_answered_once_in_time_and_in_size(self) -> None:
        core = Loner().know(2)
        core.hear(user(query()), user(query(id=100)), user(query(id=101)))
        with pytest.raises(GossipError, match="1024"):
            core.core.respond(5, 99, bytes(1024), core.now)
        core.core.respond(5, 99, b"yes", core.now)
        for query_id, when in ((99, core.now), (100, core.now + 5.1), (7, core.now)):
            with pytest.raises(GossipError):
                core.core.respond(5, query_id, b"again", when)

    def test_a_query_seen_before_is_neither_handed_up_nor_passed_on(self) -> None:
        core = Loner().know(2)
        core.hear(user(query()))
        core.hear(user(query()))
        assert sum(isinstance(event, QueryReceived) for event in core.events) == 1

    @pytest.mark.parametrize(("flags", "passed_on"), [(0, True), (2, False)])
    def test_a_new_query_is_passed_on_unless_it_forbids_that(self, flags: int, passed_on: bool) -> None:
        core = Loner().know(3)
        core.hear(user(query(flags=flags, filters=(encode_filter(NodeFilter(("n9",))),))))
        core.clear()
        core.pass_time(1)
        assert bool(said(core, Query)) is passed_on

    def test_an_answer_takes_other_ways_too_if_asked_to(self) -> None:
        core = Loner().know(6)
        core.hear(user(query(flags=1, relay_factor=3)))
        relays = said(core, Relay)
        assert len({to for to, _ in relays}) == 3
        assert endpoint(2) not in {to for to, _ in relays}
        for _, relay in relays:
            assert (relay.dest_addr, relay.dest_port, relay.dest_name) == (address(2), PORT, "n2")
            assert decode_serf(relay.inner) == QueryResponse(5, 99, "n1", 1, b"")

    def test_with_too_few_members_nothing_is_relayed(self) -> None:
        core = Loner().know(3)
        core.hear(user(query(flags=1, relay_factor=3)))
        assert said(core, Relay) == []
        assert len(said(core, QueryResponse)) == 1

    def test_we_relay_for_others(self) -> None:
        core = Loner().know(3)
        response = QueryResponse(5, 99, "n3", 0, b"x")
        core.hear(user(Relay(address(2), PORT, "", "n2", encode_serf(response))))
        assert said(core, QueryResponse) == [(endpoint(2), response)]

    def test_a_query_without_an_address_is_only_passed_on(self) -> None:
        core = Loner().know(3)
        core.hear(user(query(addr=b"", flags=1)))
        assert not any(isinstance(event, QueryReceived) for event in core.events)
        assert core.core.counters.refused["query: nowhere to answer"] == 1

    def test_open_queries_are_bounded(self) -> None:
        core = Loner().know(2)
        for query_id in range(1100):
            core.hear(user(query(id=query_id, flags=2)), source=2 + query_id % 5)
        assert core.core.counters.refused["query: too many wait for an answer"] == 76
        with pytest.raises(GossipError):
            core.core.respond(5, 1024, b"", core.now)
        core.core.respond(5, 1023, b"", core.now)

    def test_no_query_is_kept_open_for_ever(self) -> None:
        core = Loner().know(2)
        core.hear(user(query(timeout_ns=2**63 - 1)))
        with pytest.raises(GossipError):
            core.core.respond(5, 99, b"", core.now + 301)


TAGS = {"role": "db-7", "zone": "north"}


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ((), True),
        ((NodeFilter(("n0", "n1")),), True),
        ((NodeFilter(("n0",)),), False),
        ((NodeFilter(()),), False),
        ((TagFilter("role", "db"),), True),
        ((TagFilter("role", "^db-[0-9]+$"),), True),
        ((TagFilter("role", "^web"),), False),
        ((TagFilter("absent", "^$"),), True),
        ((TagFilter("absent", "."),), False),
        ((TagFilter("role", "(?i)DB"), NodeFilter(("n1",))), True),
        ((TagFilter("role", "db"), TagFilter("zone", "south")), False),
        ((TagFilter("role", "("),), False),
        ((TagFilter("role", "(a)\\1"),), False),
        ((TagFilter("role", "d" * 2000),), False),
    ],
)
def test_all_filters_must_match_as_go_expressions(filters: tuple[Any, ...], passes: bool) -> None:
    assert addressed([encode_filter(filter_) for filter_ in filters], "n1", TAGS) is passes


@pytest.mark.parametrize("data", [b"", b"\x02\xa0", b"\x00\xc1", b"\x01\xa1a"])
def test_a_filter_that_cannot_be_read_matches_nobody(data: bytes) -> None:
    assert not addressed([data], "n1", TAGS)


def test_an_expression_that_backtracks_for_ever_elsewhere_is_done_at_once() -> None:
    evil = encode_filter(TagFilter("t", "(a+)+$"))
    assert not addressed([evil], "n1", {"t": "a" * 400 + "b"})


class TestAsking:
    def answer(self, core: Loner, asked: Query, name: str, payload: bytes | None, source: int = 0) -> None:
        flags = 1 if payload is None else 0
        response = QueryResponse(asked.ltime, asked.id, name, flags, payload or b"")
        core.hear(user(response), source=source or int(name[1:]))

    def ask(self, core: Loner, **changes: Any) -> tuple[Any, Query]:
        outstanding = core.do(lambda serf: serf.query(QueryRequest("q", b"p", **changes), core.now))
        core.clear()
        core.pass_time(0.3)
        return outstanding, said(core, Query)[0][1]

    def test_it_is_spread_and_finishes_when_all_asked_have_answered(self) -> None:
        core = Loner().know(3)
        outstanding, asked = self.ask(core, expect_self=False, timeout=5)
        assert (asked.source_node, asked.addr, asked.port) == ("n1", address(1), PORT)
        assert outstanding.expected == {"n2", "n3"}
        for name in ("n2", "n2", "n3"):
            assert not outstanding.finished
            self.answer(core, asked, name, b"from " + name.encode())
        assert outstanding.finished
        assert outstanding.responses == {"n2": b"from n2", "n3": b"from n3"}
        assert QueryFinished(outstanding.id) in core.events

    def test_asked_straight_it_goes_to_those_asked_alone_and_nobody_passes_it_on(self) -> None:
        core = Loner().know(9)
        question = QueryRequest("q", b"p", nodes=["n5", "n2", "unknown"], direct=True, timeout=5)
        outstanding = core.do(lambda serf: serf.query(question, core.now))
        sent = said(core, Query)
        assert [to for to, _ in sent] == [endpoint(2), endpoint(5)], "in the same order in each run of a seed"
        assert {message.flags for _, message in sent} == {2}
        core.clear()
        core.pass_time(1.0)
        assert not said(core, Query)
        for name in ("n2", "n5"):
            self.answer(core, sent[0][1], name, b"yes")
        assert outstanding.finished

    def test_an_answer_in_another_s_name_does_not_count(self) -> None:
        core = Loner().know(4)
        outstanding, asked = self.ask(core, nodes=["n2", "n3"], timeout=5)
        self.answer(core, asked, "n2", b"forged", source=3)
        self.answer(core, asked, "n2", None, source=3)
        self.answer(core, asked, "n4", b"not asked")
        assert (outstanding.responses, outstanding.acks) == ({}, set())
        self.answer(core, asked, "n2", b"true")
        assert outstanding.responses == {"n2": b"true"}

    def test_what_a_relay_brings_counts_where_relays_were_asked_for_until_the_member_s_own_comes(
        self,
    ) -> None:
        core = Loner().know(4)
        outstanding, asked = self.ask(core, nodes=["n2", "n3"], relay_factor=1, timeout=5)
        self.answer(core, asked, "n2", b"relayed", source=4)
        assert outstanding.responses == {"n2": b"relayed"}
        self.answer(core, asked, "n2", b"own")
        self.answer(core, asked, "n2", b"relayed", source=4)
        assert outstanding.responses == {"n2": b"own"}

    def test_with_acks_wanted_it_waits_for_them_too(self) -> None:
        core = Loner().know(2)
        outstanding, asked = self.ask(core, expect_self=False, ack=True, timeout=5)
        self.answer(core, asked, "n2", b"x")
        assert not outstanding.finished
        self.answer(core, asked, "n2", None)
        assert outstanding.finished
        assert outstanding.acks == {"n1", "n2"}

    def test_it_finishes_with_the_first_answer_that_is_enough(self) -> None:
        core = Loner().know(4)
        outstanding, asked = self.ask(core, timeout=5, enough=lambda answer: answer == b"good")
        self.answer(core, asked, "n2", b"bad")
        assert not outstanding.finished
        self.answer(core, asked, "n3", b"good")
        assert outstanding.finished
        assert QueryFinished(outstanding.id) in core.events

    def test_it_finishes_when_the_time_is_up_and_later_answers_are_refused(self) -> None:
        core = Loner().know(3)
        outstanding, asked = self.ask(core, timeout=2)
        core.pass_time(1.6)
        assert not outstanding.finished
        core.pass_time(0.2)
        assert outstanding.finished
        self.answer(core, asked, "n2", b"late")
        assert outstanding.responses == {}

    def test_answers_of_strangers_are_refused(self) -> None:
        core = Loner().know(2)
        outstanding, asked = self.ask(core)
        self.answer(core, asked, "n77", b"x")
        assert outstanding.responses == {}
        assert core.core.counters.refused["query response: from no member"] == 1

    def test_only_those_addressed_are_waited_for(self) -> None:
        core = Loner()
        core.hear(alive("n2", meta=encode_tags({"role": "db"})))
        core.hear(alive("n3", meta=encode_tags({"role": "web"})))
        assert core.core.query(QueryRequest("q", tags={"role": "^db"}), 0.0).expected == {"n2"}
        assert core.core.query(QueryRequest("q", nodes=["n3", "n9"]), 0.0).expected == {"n3"}

    def test_we_answer_ourselves_too(self) -> None:
        core = Loner().know(2)
        outstanding = core.do(lambda serf: serf.query(QueryRequest("q", nodes=["n1"]), core.now))
        [received] = [event for event in core.events if isinstance(event, QueryReceived)]
        core.do(lambda serf: serf.respond(received.ltime, received.id, b"me", core.now))
        assert outstanding.responses == {"n1": b"me"}
        assert outstanding.finished

    @pytest.mark.parametrize("question", [QueryRequest("q", bytes(1024)), QueryRequest("q", tags={"a": "("})])
    def test_what_cannot_be_asked_is_our_error(self, question: QueryRequest) -> None:
        with pytest.raises(GossipError):
            Loner().core.query(question, 0.0)


class TestTargets:
    """On a claim, nothing is sent except to members, and to the querying node."""

    def test_a_query_that_names_a_stranger_s_address_is_not_answered(self) -> None:
        core = Loner().know(2)
        core.hear(user(query(name="_serf_conflict", id=4, addr=address(77))))
        core.hear(user(query(name="_serf_conflict", id=9, port=53)))
        assert said(core, QueryResponse) == []
        assert core.core.counters.refused["query: nowhere to answer"] == 2

    def test_who_asks_from_where_it_wants_the_answer_gets_it(self) -> None:
        core = Loner().know(2)
        core.hear(user(query(name="_serf_conflict", addr=address(77))), source=77)
        assert [to for to, _ in said(core, QueryResponse)] == [endpoint(77)]

    def test_a_relay_hands_on_to_members_only(self) -> None:
        core = Loner().know(3)
        inner = encode_serf(QueryResponse(1, 1, "n2"))
        core.clear()
        core.hear(
            user(Relay(address(77), PORT, "", "n77", inner)), user(Relay(address(3), PORT, "", "n3", inner))
        )
        assert [to for to, _ in said(core, QueryResponse)] == [endpoint(3)]

    def test_an_answer_is_relayed_by_five_at_most(self) -> None:
        core = Loner().know(40)
        core.clear()
        core.hear(user(query(name="_serf_conflict", relay_factor=30)))
        assert len(said(core, Relay)) == 5
