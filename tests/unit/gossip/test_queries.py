"""Queries of gossip-wire section 8.5: asking, answering, filters, relays and the internal ones."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.gossip.core_ground import PORT, Loner, address, alive, endpoint

from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.gossip.key_queries import KeyOperation, answer_key_query, collect
from wgmesh_agent.gossip.keyring import Keyring, encode_key
from wgmesh_agent.gossip.messages import Message, UserMessage
from wgmesh_agent.gossip.notifications import NameConflict, QueryFinished, QueryReceived, UserEventReceived
from wgmesh_agent.gossip.query_asking import Question
from wgmesh_agent.gossip.query_filters import addressed
from wgmesh_agent.gossip.serf_messages import (
    ConflictMember,
    ConflictResponse,
    JoinIntent,
    KeyRequest,
    KeyResponse,
    MemberStatus,
    NodeFilter,
    Query,
    QueryResponse,
    Relay,
    SerfMessage,
    TagFilter,
    UserEvent,
    decode_serf,
    encode_filter,
    encode_serf,
    encode_tags,
)

OLD, NEW = bytes(range(32)), bytes(range(32, 64))


def user(message: SerfMessage) -> Message:
    return UserMessage(encode_serf(message))


def query(**changes: Any) -> Query:
    values: dict[str, Any] = {
        "ltime": 5,
        "id": 99,
        "addr": address(2),
        "port": PORT,
        "source_node": "n2",
        "timeout_ns": 5 * 10**9,
        "name": "hello",
        "payload": b"there",
    }
    return Query(**{**values, **changes})


def said(core: Loner, kind: type[Any]) -> list[tuple[Any, Any]]:
    """serf messages sent: destination and message."""
    decoded = [(to, decode_serf(message.payload)) for to, message, _ in core.of(UserMessage)]
    return [(to, message) for to, message in decoded if isinstance(message, kind)]


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
            core.hear(user(query(id=query_id, flags=2)))
        assert core.core.counters.refused["query: given up for newer ones"] == 76
        with pytest.raises(GossipError):
            core.core.respond(5, 75, b"", core.now)
        core.core.respond(5, 76, b"", core.now)

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
    def answer(self, core: Loner, asked: Query, name: str, payload: bytes | None) -> None:
        flags = 1 if payload is None else 0
        core.hear(user(QueryResponse(asked.ltime, asked.id, name, flags, payload or b"")))

    def ask(self, core: Loner, **changes: Any) -> tuple[Any, Query]:
        outstanding = core.do(lambda serf: serf.query(Question("q", b"p", **changes), core.now))
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
        question = Question("q", b"p", nodes=["n2", "n5", "unknown"], direct=True, timeout=5)
        outstanding = core.do(lambda serf: serf.query(question, core.now))
        sent = said(core, Query)
        assert sorted(to for to, _ in sent) == [endpoint(2), endpoint(5)]
        assert {message.flags for _, message in sent} == {2}
        core.clear()
        core.pass_time(1.0)
        assert not said(core, Query)
        for name in ("n2", "n5"):
            self.answer(core, sent[0][1], name, b"yes")
        assert outstanding.finished

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
        assert core.core.query(Question("q", tags={"role": "^db"}), 0.0).expected == {"n2"}
        assert core.core.query(Question("q", nodes=["n3", "n9"]), 0.0).expected == {"n3"}

    def test_we_answer_ourselves_too(self) -> None:
        core = Loner().know(2)
        outstanding = core.do(lambda serf: serf.query(Question("q", nodes=["n1"]), core.now))
        [received] = [event for event in core.events if isinstance(event, QueryReceived)]
        core.do(lambda serf: serf.respond(received.ltime, received.id, b"me", core.now))
        assert outstanding.responses == {"n1": b"me"}
        assert outstanding.finished

    @pytest.mark.parametrize("question", [Question("q", bytes(1024)), Question("q", tags={"a": "("})])
    def test_what_cannot_be_asked_is_our_error(self, question: Question) -> None:
        with pytest.raises(GossipError):
            Loner().core.query(question, 0.0)


class TestKeys:
    def test_the_ring_is_changed_step_by_step_and_says_so(self) -> None:
        ring, changes = Keyring(OLD), 0

        def do(operation: KeyOperation, key: bytes) -> KeyResponse:
            nonlocal changes

            def changed() -> None:
                nonlocal changes
                changes += 1

            payload = encode_serf(KeyRequest(key))
            response = decode_serf(answer_key_query(operation, payload, ring, lambda _: True, changed))
            assert isinstance(response, KeyResponse)
            return response

        assert not do(KeyOperation.USE, NEW).result
        assert do(KeyOperation.INSTALL, NEW).result
        assert do(KeyOperation.INSTALL, NEW).result
        assert not do(KeyOperation.REMOVE, OLD).result
        assert do(KeyOperation.USE, NEW).result
        assert do(KeyOperation.REMOVE, OLD).result
        assert not do(KeyOperation.INSTALL, b"short").result
        assert ring.keys == (NEW,)
        assert changes == 3
        assert do(KeyOperation.LIST, b"").keys == (encode_key(NEW),)

    def test_without_encryption_there_is_no_ring_to_change(self) -> None:
        answer = answer_key_query(KeyOperation.LIST, b"", None, lambda _: True, lambda: None)
        response = decode_serf(answer)
        assert isinstance(response, KeyResponse)
        assert not response.result

    def test_a_request_that_is_none_is_refused(self) -> None:
        for payload in (b"", b"\x07\xc1", encode_serf(JoinIntent(1, "x"))):
            answer = answer_key_query(
                KeyOperation.INSTALL, payload, Keyring(OLD), lambda _: True, lambda: None
            )
            response = decode_serf(answer)
            assert isinstance(response, KeyResponse)
            assert not response.result

    def test_a_long_list_is_shortened_to_fit_an_answer(self) -> None:
        ring = Keyring(OLD, [bytes([index]) * 32 for index in range(60)])
        answer = answer_key_query(
            KeyOperation.LIST, b"", ring, lambda payload: len(payload) <= 900, lambda: None
        )
        response = decode_serf(answer)
        assert isinstance(response, KeyResponse)
        assert response.result
        assert len(answer) <= 900 < len(answer) + 46
        assert response.primary_key == encode_key(OLD) == response.keys[0]
        assert "of 61" in response.message

    def test_answers_are_summed_up_with_refusals_by_name(self) -> None:
        result = collect(
            frozenset("abcde"),
            {
                "a": encode_serf(KeyResponse(True, "", ("k1", "k2"), "k1")),
                "b": encode_serf(KeyResponse(True, "", ("k1",), "k1")),
                "c": encode_serf(KeyResponse(False, "no such key")),
                "d": b"garbage",
            },
        )
        assert (result.asked, result.answered, result.silent, result.ok) == (5, 4, frozenset("e"), False)
        assert result.rings == {"a": ("k1", "k2"), "b": ("k1",)}
        assert (result.keys, result.primary_keys) == ({"k1": 2, "k2": 1}, {"k1": 2})
        assert result.errors["c"] == "no such key"
        assert set(result.errors) == {"c", "d"}


class TestConflicts:
    def conflict(self, core: Loner, *known_as: int) -> list[NameConflict]:
        """Somebody else is n1; members n2, n3 … say at which address they know n1."""
        core.hear(alive("n1", 9, 77))
        core.pass_time(0.3)
        asked = said(core, Query)[0][1]
        assert (asked.name, asked.payload) == ("_serf_conflict", b"n1")
        for index, place in enumerate(known_as, start=2):
            member = ConflictMember("n1", address(place), PORT, {}, MemberStatus.ALIVE)
            payload = encode_serf(ConflictResponse(member))
            core.hear(user(QueryResponse(asked.ltime, asked.id, f"n{index}", 0, payload)))
        core.pass_time(20)
        return [event for event in core.events if isinstance(event, NameConflict)]

    @pytest.mark.parametrize(
        ("known_as", "lost"), [((1, 1, 1), False), ((1, 1, 77), False), ((1, 77, 77), True)]
    )
    def test_the_majority_decides_who_lost_our_name(self, known_as: tuple[int, ...], lost: bool) -> None:
        first, second = self.conflict(Loner().know(4), *known_as)
        assert (first.lost, first.theirs) == (None, endpoint(77))
        assert (second.lost, second.ours) == (lost, endpoint(1))

    def test_without_any_answer_the_name_is_lost(self) -> None:
        assert self.conflict(Loner().know(2))[-1].lost is True

    def test_a_conflict_of_others_is_reported_but_not_asked_about_and_not_over_and_over(self) -> None:
        core = Loner().know(3)
        for incarnation in range(2, 50):
            core.hear(alive("n2", incarnation, 77))
        core.pass_time(1)
        assert len([event for event in core.events if isinstance(event, NameConflict)]) == 1
        assert said(core, Query) == []

    @pytest.mark.parametrize(("name", "answer"), [("n2", address(2)), ("n9", None)])
    def test_we_say_whom_we_know_by_a_name(self, name: str, answer: bytes | None) -> None:
        core = Loner().know(3)
        core.hear(user(query(name="_serf_conflict", payload=name.encode())))
        [(_, response)] = said(core, QueryResponse)
        known = decode_serf(response.payload)
        assert isinstance(known, ConflictResponse)
        assert (known.member.addr if known.member else None) == answer

    def test_about_our_own_name_we_say_nothing(self) -> None:
        core = Loner().know(3)
        core.hear(user(query(name="_serf_conflict", payload=b"n1")))
        assert said(core, QueryResponse) == []


class TestUserEvents:
    def test_a_new_event_is_delivered_once_and_passed_on_byte_for_byte(self) -> None:
        core = Loner().know(3)
        # A field unknown here, and the keys in another order: not what we would write.
        payload = bytes([3]) + b"\x85\xa4Name\xa1e\xa5LTime\x07\xa7Payload\xa1x\xa2CC\xc3\xa3New\x01"
        core.hear(UserMessage(payload), UserMessage(payload))
        assert [event for event in core.events if isinstance(event, UserEventReceived)] == [
            UserEventReceived(7, "e", b"x", True)
        ]
        core.clear()
        core.pass_time(1)
        assert {message.payload for _, message, _ in core.of(UserMessage)} == {payload}

    def test_our_own_event_is_delivered_here_too_and_steps_the_clock(self) -> None:
        core = Loner()
        core.do(lambda serf: serf.user_event("a", b"", core.now))
        core.do(lambda serf: serf.user_event("b", b"", core.now, coalesce=True))
        assert core.events[-2:] == [
            UserEventReceived(1, "a", b"", False),
            UserEventReceived(2, "b", b"", True),
        ]

    def test_an_event_past_512_bytes_is_our_error(self) -> None:
        core = Loner()
        overhead = len(encode_serf(UserEvent(1, "n", bytes(400)))) - 400
        core.core.user_event("n", bytes(512 - overhead), 0.0)
        with pytest.raises(GossipError, match="512"):
            core.core.user_event("n", bytes(513 - overhead), 0.0)

    def test_a_peers_event_past_the_hard_limit_is_refused(self) -> None:
        core = Loner()
        core.hear(user(UserEvent(1, "e", bytes(9300))))
        assert core.core.counters.refused["user event: too large"] == 1

    def test_one_too_large_to_gossip_is_delivered_but_not_queued(self) -> None:
        core = Loner().know(2)
        core.hear(user(UserEvent(1, "e", bytes(2000))))
        assert any(isinstance(event, UserEventReceived) for event in core.events)
        assert core.core.counters.refused["broadcast: too large for a datagram"] == 1
