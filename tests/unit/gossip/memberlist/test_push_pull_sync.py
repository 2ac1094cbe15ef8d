"""Streams and push-pull of gossip-wire section 4: joining, answering, refusing, and the bounds on both."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.gossip.memberlist_harness import Loner, alive, endpoint
from tests.unit.gossip.push_pull_fixtures import PLAIN, push_pull, state

from wgmesh_agent.gossip.memberlist.streams import CloseStream, OpenStream, Purpose, WriteStream
from wgmesh_agent.gossip.serf.events import JoinFinished, MemberJoined, UserEventReceived
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.gossip.wire.messages import (
    Ack,
    Alive,
    Message,
    NodeStateKind,
    Ping,
    PushPull,
    StreamError,
    Suspect,
    UserMessage,
)
from wgmesh_agent.gossip.wire.serf_messages import (
    EventSlot,
    JoinIntent,
    LeaveIntent,
    MemberStatus,
    SerfPushPull,
    UserEvent,
    decode_serf,
    encode_serf,
)
from wgmesh_agent.gossip.wire.stream import StreamCodec, stream_message
from wgmesh_agent.gossip.wire.versions import OWN_VERSIONS


def ask(core: Loner, message: Message, codec: StreamCodec = PLAIN) -> Message | None:
    """Open a stream to the core; its reply."""
    stream_id = core.do(lambda serf: serf.stream_accepted())
    data = codec.encode(stream_message(message), False)
    core.do(lambda serf: serf.stream_received(stream_id, data, core.now))
    action = core.actions.pop()
    assert action.stream_id == stream_id
    if isinstance(action, CloseStream):
        return None
    assert isinstance(action, WriteStream)
    return codec.decoder(True).feed(action.payload)


def join(core: Loner, reply: Message | bytes | None, **options: Any) -> JoinFinished:
    """Join through n2, which answers with `reply`; the outcome."""
    core.do(lambda serf: serf.join(endpoint(2), core.now, **options))
    opened = core.actions.pop()
    assert isinstance(opened, OpenStream)
    assert (opened.endpoint, opened.purpose) == (endpoint(2), Purpose.JOIN)
    core.pass_time(0.01)
    if reply is None:
        core.do(lambda serf: serf.stream_closed(opened.stream_id, "connection refused", core.now))
    else:
        data = reply if isinstance(reply, bytes) else PLAIN.encode(stream_message(reply), True)
        core.do(lambda serf: serf.stream_received(opened.stream_id, data, core.now))
    finished = [event for event in core.events if isinstance(event, JoinFinished)]
    assert len(finished) == 1
    return finished[0]


def test_joins_through_several_members_are_one_arrival_and_told_once() -> None:
    core = Loner()

    def intents() -> set[int]:
        core.pass_time(1.0)
        heard = (decode_serf(message.payload) for _, message, _ in core.of(UserMessage))
        return {message.ltime for message in heard if isinstance(message, JoinIntent)}

    for _ in range(3):
        core.events.clear()
        assert join(core, push_pull(state("n2"), state("n3"))).error is None
    assert len(intents()) == 1
    core.pass_time(5.0)
    core.clear()
    join(core, push_pull(state("n2"), state("n3")))
    assert len(intents()) == 1


class TestAnswering:
    def test_the_reply_has_our_state_as_it_was_and_echoes_join(self) -> None:
        core = Loner().know(3)
        reply = ask(core, push_pull(state("n4"), join=True))
        assert isinstance(reply, PushPull)
        assert reply.join
        assert {(node.name, node.state) for node in reply.nodes} == {
            (name, NodeStateKind.ALIVE) for name in ("n1", "n2", "n3")
        }
        assert {node.vsn for node in reply.nodes} == {OWN_VERSIONS}
        assert set(core.core.members()) == {"n1", "n2", "n3", "n4"}

    def test_the_dead_and_suspect_are_in_it_too(self) -> None:
        core = Loner().know(3)
        core.hear(Suspect(1, "n2", "n3"))
        reply = ask(core, push_pull())
        assert isinstance(reply, PushPull)
        assert {node.name: node.state for node in reply.nodes}["n2"] is NodeStateKind.SUSPECT

    def test_who_is_leaving_is_told_so_that_the_leave_itself_is_still_news(self) -> None:
        core, listener = Loner().know(3), Loner().know(3)
        leave = UserMessage(encode_serf(LeaveIntent(7, "n2")))
        core.hear(leave)
        reply = ask(core, push_pull())
        assert isinstance(reply, PushPull)
        told = decode_serf(reply.user_state)
        assert isinstance(told, SerfPushPull)
        join(listener, push_pull(state("n3"), serf=told))
        listener.hear(leave)
        member = listener.core.member("n2")
        assert member is not None
        assert member.status is MemberStatus.LEAVING

    def test_an_incompatible_joiner_gets_its_reply_and_is_not_merged(self) -> None:
        core = Loner()
        reply = ask(core, push_pull(state("n4", vsn=bytes([1, 1, 1, 2, 5, 4])), join=True))
        assert isinstance(reply, PushPull)
        assert set(core.core.members()) == {"n1"}
        assert core.core.counters.refused["push-pull: not merged"] == 1

    def test_a_ping_over_a_stream_is_answered_without_a_coordinate(self) -> None:
        assert ask(Loner(), Ping(9, "n1")) == Ack(9, b"")

    def test_a_ping_for_another_name_is_closed_unanswered(self) -> None:
        assert ask(Loner(), Ping(9, "n2")) is None

    def test_a_user_message_over_a_stream_is_taken(self) -> None:
        core = Loner()
        assert ask(core, UserMessage(encode_serf(UserEvent(1, "e", b"x")))) is None
        assert [event.name for event in core.events if isinstance(event, UserEventReceived)] == ["e"]

    def test_an_ack_out_of_the_blue_is_answered_with_an_error(self) -> None:
        assert isinstance(ask(Loner(), Ack(1)), StreamError)

    def test_encryption_without_need_is_answered_with_an_error(self) -> None:
        core = Loner()
        stream_id = core.do(lambda serf: serf.stream_accepted())
        codec = StreamCodec(Keyring(bytes(32)), nonces=bytes)
        data = codec.encode(stream_message(push_pull()), False)
        core.do(lambda serf: serf.stream_received(stream_id, data, core.now))
        reply = PLAIN.decoder(True).feed(core.actions.pop().payload)
        assert isinstance(reply, StreamError)
        assert "encrypt" in reply.error

    def test_pieces_are_put_together(self) -> None:
        core = Loner()
        stream_id = core.do(lambda serf: serf.stream_accepted())
        data = PLAIN.encode(stream_message(push_pull(state("n4"))), False)
        for index in range(len(data)):
            assert core.actions == []
            core.feed(stream_id, data[index : index + 1])
        assert isinstance(core.actions.pop(), WriteStream)

    def test_the_129th_stream_at_once_is_not_accepted_until_one_ends(self) -> None:
        core = Loner()
        streams = [core.core.stream_accepted() for _ in range(129)]
        assert streams[-1] is None
        assert streams[0] is not None
        core.core.stream_closed(streams[0], "timed out", 0.0)
        assert core.core.stream_accepted() is not None

    def test_all_streams_together_may_buffer_only_so_much_and_those_of_one_address_half(self) -> None:
        core = Loner(max_stream_buffer_bytes=2000)
        first, second = core.core.stream_accepted(endpoint(2)), core.core.stream_accepted(endpoint(2))
        other = core.core.stream_accepted(endpoint(3))
        assert first is not None
        assert second is not None
        assert other is not None
        data = PLAIN.encode(stream_message(push_pull(*(state(f"n{index}") for index in range(2, 20)))), False)
        core.do(lambda serf: serf.stream_received(first, data[:900], 0.0))
        core.do(lambda serf: serf.stream_received(second, data[:900], 0.0))
        core.do(lambda serf: serf.stream_received(other, data[:900], 0.0))
        [refusal] = core.actions
        assert refusal.stream_id == second
        core.core.stream_closed(first, "timed out", 0.0)
        third = core.core.stream_accepted(endpoint(2))
        assert third is not None
        core.actions.clear()
        core.do(lambda serf: serf.stream_received(third, data[:900], 0.0))
        assert core.actions == []


class TestJoining:
    def test_the_peers_state_is_merged_and_our_coming_announced(self) -> None:
        core = Loner()
        assert join(core, push_pull(state("n2"), state("n3"), join=True)).error is None
        assert set(core.core.members()) == {"n1", "n2", "n3"}
        core.pass_time(0.5)
        intents = [decode_serf(said.payload) for _, said, _ in core.of(UserMessage)]
        assert JoinIntent(1, "n1") in intents

    def test_a_join_that_ends_after_the_goodbye_does_not_take_it_back(self) -> None:
        core = Loner().know(3)
        core.do(lambda serf: serf.join(endpoint(2), core.now))
        opened = next(action for action in core.actions if isinstance(action, OpenStream))
        core.do(lambda serf: serf.leave(core.now))
        data = PLAIN.encode(stream_message(push_pull(state("n2"))), True)
        core.do(lambda serf: serf.stream_received(opened.stream_id, data, core.now))
        core.pass_time(1)
        sent = [decode_serf(said.payload) for _, said, _ in core.of(UserMessage)]
        assert [message for message in sent if isinstance(message, JoinIntent)] == []

    def test_our_own_earlier_life_in_the_reply_is_refuted(self) -> None:
        core = Loner()
        join(core, push_pull(state("n2"), state("n1", NodeStateKind.DEAD, incarnation=7)))
        core.pass_time(0.5)
        assert {said.incarnation for _, said, _ in core.of(Alive) if said.node == "n1"} == {8}

    @pytest.mark.parametrize(
        ("reply", "reason"),
        [
            (None, "connection refused"),
            (StreamError("wrong key"), "wrong key"),
            (Ack(1), "Ack"),
            (push_pull(state("n2", vsn=b"")), "versions do not fit"),
            (b"\xffgarbage", "no place on a stream"),
        ],
    )
    def test_failures_say_why(self, reply: Message | bytes | None, reason: str) -> None:
        core = Loner()
        error = join(core, reply).error
        assert error is not None
        assert reason in error
        assert set(core.core.members()) == {"n1"}

    def test_clocks_are_raised_to_the_peers(self) -> None:
        core = Loner()
        join(core, push_pull(state("n2"), serf=SerfPushPull(40, event_ltime=50, query_ltime=60)))
        core.do(lambda serf: serf.user_event("mine", b"", core.now))
        core.do(lambda serf: serf.force_leave("n2", core.now))
        core.pass_time(0.5)
        sent = [decode_serf(said.payload) for _, said, _ in core.of(UserMessage)]
        assert {message.ltime for message in sent if isinstance(message, UserEvent)} == {50}
        assert JoinIntent(40, "n1") in sent
        assert {message.ltime for message in sent if isinstance(message, LeaveIntent)} == {41}

    @pytest.mark.parametrize(("ignore", "heard"), [(True, []), (False, ["old"])])
    def test_old_events_are_replayed_only_to_who_wants_them(self, ignore: bool, heard: list[str]) -> None:
        core = Loner()
        peer = SerfPushPull(1, event_ltime=5, events=(None, EventSlot(4, (("old", b"x"),)), None))
        join(core, push_pull(state("n2"), serf=peer), ignore_old_events=ignore)
        assert [event.name for event in core.events if isinstance(event, UserEventReceived)] == heard

    def test_who_left_according_to_the_peer_is_leaving_or_left_here(self) -> None:
        core = Loner().know(3)
        join(core, push_pull(state("n2"), serf=SerfPushPull(9, {"n3": 4, "n2": 3}, ("n3",))))
        statuses = {name: member.status for name, member in core.core.members().items()}
        assert statuses["n3"] is MemberStatus.LEAVING
        assert statuses["n2"] is MemberStatus.ALIVE

    def test_impossible_clocks_of_a_peer_do_not_stop_ours(self) -> None:
        core = Loner()
        last = 2**64 - 1
        peer = SerfPushPull(
            last, {"n1": last, "n2": last}, ("n1",), last, (EventSlot(last, (("e", b""),)),), last
        )
        assert join(core, push_pull(state("n2"), serf=peer)).error is None
        core.do(lambda serf: serf.user_event("mine", b"", core.now))
        assert [event.ltime for event in core.events if isinstance(event, UserEventReceived)] == [1]
        assert core.core.members()["n1"].status is MemberStatus.ALIVE

    def test_a_reply_in_one_piece_or_many_joins_once(self) -> None:
        core = Loner()
        core.do(lambda serf: serf.join(endpoint(2), core.now))
        opened = core.actions.pop()
        data = PLAIN.encode(stream_message(push_pull(state("n2"))), True) + b"trailing"
        for index in range(0, len(data), 7):
            core.feed(opened.stream_id, data[index : index + 7])
        core.do(lambda serf: serf.stream_closed(opened.stream_id, "closed by the peer", core.now))
        assert [event.error for event in core.events if isinstance(event, JoinFinished)] == [None]
        assert sum(isinstance(event, MemberJoined) for event in core.events) == 2


def test_a_state_is_exchanged_with_a_living_node_every_thirty_seconds() -> None:
    core = Loner().know(4)
    opened: list[OpenStream] = []
    for _ in range(60):
        core.clear()
        core.pass_time(1.5)
        for index in range(2, 5):
            core.hear(alive(f"n{index}", core.core.members()[f"n{index}"].incarnation + 1))
        opened += [a for a in core.actions if isinstance(a, OpenStream) and a.purpose is Purpose.PUSH_PULL]
    assert len(opened) == 3
    assert all(action.endpoint in {endpoint(index) for index in range(2, 5)} for action in opened)


def test_a_node_alone_neither_sends_nor_connects() -> None:
    core = Loner()
    core.pass_time(300)
    assert (core.datagrams, core.actions) == ([], [])


def test_an_idle_node_wakes_for_its_probes_and_exchanges_only() -> None:
    core = Loner()
    core.pass_time(1)
    wakes = core.wakes
    core.pass_time(300)
    assert core.wakes - wakes <= 300 + 10
