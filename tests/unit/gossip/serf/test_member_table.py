"""serf's member statuses of gossip-wire section 8.3, row by row, seen through a whole core."""

from __future__ import annotations

import pytest
from tests.unit.gossip.memberlist_harness import Loner, alive

from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.gossip.serf.events import (
    LeaveFinished,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberUpdated,
)
from wgmesh_agent.gossip.serf.member_table import LEAVING_SECONDS
from wgmesh_agent.gossip.wire.messages import Dead, Message, UserMessage
from wgmesh_agent.gossip.wire.serf_messages import (
    JoinIntent,
    LeaveIntent,
    MemberStatus,
    SerfMessage,
    decode_serf,
    encode_serf,
    encode_tags,
)

ALIVE, LEAVING, LEFT, FAILED = (
    MemberStatus.ALIVE,
    MemberStatus.LEAVING,
    MemberStatus.LEFT,
    MemberStatus.FAILED,
)


def intent(message: SerfMessage) -> Message:
    return UserMessage(encode_serf(message))


def status(core: Loner, name: str) -> MemberStatus | None:
    member = core.core.member(name)
    return None if member is None else member.status


def passed_on(core: Loner) -> list[SerfMessage]:
    """The distinct intents gossiped in the next second."""
    core.clear()
    core.pass_time(1)
    seen = {said.payload: decode_serf(said.payload) for _, said, _ in core.of(UserMessage)}
    return list(seen.values())


def in_status(wanted: MemberStatus) -> Loner:
    """n2 in a status, its last intent at time 10."""
    core = Loner().know(4)
    core.hear(intent(JoinIntent(10, "n2")))
    if wanted in (LEAVING, LEFT):
        core.hear(intent(LeaveIntent(11, "n2")))
    if wanted in (LEFT, FAILED):
        core.hear(Dead(1, "n2", "n2" if wanted is LEFT else "n3"))
    assert status(core, "n2") is wanted
    core.pass_time(2)
    core.clear()
    return core


@pytest.mark.parametrize(
    ("before", "after", "events"),
    [(ALIVE, LEAVING, []), (LEAVING, LEAVING, []), (LEFT, LEFT, []), (FAILED, LEFT, [MemberLeft])],
)
def test_a_newer_leave_intent_changes_the_status_and_is_passed_on(
    before: MemberStatus, after: MemberStatus, events: list[type]
) -> None:
    core = in_status(before)
    core.hear(intent(LeaveIntent(20, "n2")))
    assert status(core, "n2") is after
    assert [type(event) for event in core.events] == events
    assert LeaveIntent(20, "n2") in passed_on(core)


@pytest.mark.parametrize("before", [ALIVE, LEAVING, LEFT, FAILED])
def test_intents_not_newer_than_the_last_are_ignored(before: MemberStatus) -> None:
    core = in_status(before)
    core.hear(intent(LeaveIntent(10, "n2")), intent(JoinIntent(10, "n2")))
    assert status(core, "n2") is before
    assert passed_on(core) == []


@pytest.mark.parametrize(
    ("before", "after"), [(ALIVE, ALIVE), (LEAVING, ALIVE), (LEFT, LEFT), (FAILED, FAILED)]
)
def test_a_newer_join_intent_takes_back_a_leave_and_nothing_else(
    before: MemberStatus, after: MemberStatus
) -> None:
    core = in_status(before)
    core.hear(intent(JoinIntent(20, "n2")))
    assert status(core, "n2") is after
    assert passed_on(core) == [JoinIntent(20, "n2")]


@pytest.mark.parametrize(
    ("before", "accuser", "after"),
    [(ALIVE, "n2", LEFT), (ALIVE, "n3", FAILED), (LEAVING, "n2", LEFT), (LEAVING, "n3", LEFT)],
)
def test_death_means_left_only_for_who_said_goodbye_to_serf_or_to_memberlist(
    before: MemberStatus, accuser: str, after: MemberStatus
) -> None:
    core = in_status(before)
    core.hear(Dead(1, "n2", accuser))
    assert status(core, "n2") is after
    assert [type(event) for event in core.events] == [MemberLeft if after is LEFT else MemberFailed]


@pytest.mark.parametrize("before", [LEFT, FAILED])
def test_who_is_alive_again_has_joined_again(before: MemberStatus) -> None:
    core = in_status(before)
    core.hear(alive("n2", 2, meta=encode_tags({"life": "second"})))
    assert status(core, "n2") is ALIVE
    [event] = core.events
    assert isinstance(event, MemberJoined)
    assert event.member.tags == {"life": "second"}


def test_other_tags_are_an_update_and_malformed_ones_are_none() -> None:
    core = Loner().know(2)
    core.clear()
    core.hear(alive("n2", 2, meta=encode_tags({"a": "1"})))
    core.hear(alive("n2", 3, meta=b"\xff\xc1"))
    core.hear(alive("n2", 4, meta=b"web"))
    assert [event.member.tags for event in core.events if isinstance(event, MemberUpdated)] == [
        {"a": "1"},
        {},
        {"role": "web"},
    ]
    assert core.core.counters.refused["tags: malformed"] == 1


@pytest.mark.parametrize(
    ("message", "after"), [(LeaveIntent(7, "n2"), LEAVING), (JoinIntent(7, "n2"), ALIVE)]
)
def test_an_intent_that_came_before_its_member_is_remembered(
    message: SerfMessage, after: MemberStatus
) -> None:
    core = Loner()
    core.hear(intent(message))
    core.hear(alive("n2"))
    assert status(core, "n2") is after
    core.hear(intent(LeaveIntent(7, "n2")))
    assert status(core, "n2") is after


class TestOurselves:
    def test_a_leave_intent_about_us_is_answered_with_a_newer_join(self) -> None:
        core = Loner().know(3)
        core.hear(intent(LeaveIntent(30, "n1")))
        assert status(core, "n1") is ALIVE
        [answer] = passed_on(core)
        assert answer == JoinIntent(31, "n1")

    def test_an_impossible_time_is_refused_and_later_ones_still_count(self) -> None:
        core = Loner().know(3)
        core.hear(intent(LeaveIntent(2**64 - 1, "n2")), intent(LeaveIntent(2**63, "n1")))
        assert status(core, "n2") is ALIVE
        core.hear(intent(LeaveIntent(5, "n2")))
        assert status(core, "n2") is LEAVING

    def test_we_leave_by_intent_then_dead_then_a_moment_of_staying(self) -> None:
        core = Loner().know(3)
        core.pass_time(2)
        core.clear()
        start = core.now
        core.do(lambda serf: serf.leave(core.now))
        core.pass_time(5)
        intents = [when for _, said, when in core.of(UserMessage)]
        deaths = [(said, when) for _, said, when in core.of(Dead) if said.node == "n1"]
        assert {said for said, _ in deaths} == {Dead(1, "n1", "n1")}
        assert len(intents) >= 4
        assert len(deaths) >= 4
        assert max(intents) <= min(when for _, when in deaths)
        assert status(core, "n1") is LEFT
        assert sum(isinstance(event, LeaveFinished) for event in core.events) == 1
        assert deaths[-1][1] - start < 1.5
        with pytest.raises(GossipError):
            core.do(lambda serf: serf.leave(core.now))

    def test_alone_we_leave_at_once(self) -> None:
        core = Loner()
        core.do(lambda serf: serf.leave(core.now))
        core.pass_time(0.01)
        assert any(isinstance(event, LeaveFinished) for event in core.events)

    def test_with_peers_that_cannot_be_reached_we_leave_in_the_end(self) -> None:
        core = Loner().know(2)
        core.core._memberlist._dissemination.stop()
        core.do(lambda serf: serf.leave(core.now))
        core.pass_time(11.1)
        assert any(isinstance(event, LeaveFinished) for event in core.events)

    def test_a_leave_intent_while_leaving_is_not_refuted(self) -> None:
        core = Loner().know(3)
        core.do(lambda serf: serf.leave(core.now))
        core.hear(intent(LeaveIntent(99, "n1")))
        assert not [message for message in passed_on(core) if isinstance(message, JoinIntent)]


class TestForceLeave:
    def test_a_failed_member_is_left_at_once_and_everywhere(self) -> None:
        core = in_status(FAILED)
        core.do(lambda serf: serf.force_leave("n2", core.now))
        assert status(core, "n2") is LEFT
        [said] = passed_on(core)
        assert isinstance(said, LeaveIntent)
        assert (said.node, said.prune) == ("n2", False)

    def test_a_living_member_leaves_until_it_objects(self) -> None:
        core = in_status(ALIVE)
        core.do(lambda serf: serf.force_leave("n2", core.now))
        assert status(core, "n2") is LEAVING
        core.hear(intent(JoinIntent(50, "n2")))
        assert status(core, "n2") is ALIVE

    @pytest.mark.parametrize("before", [FAILED, LEFT])
    def test_pruning_forgets_the_gone_at_once(self, before: MemberStatus) -> None:
        core = in_status(before)
        core.do(lambda serf: serf.force_leave("n2", core.now, prune=True))
        assert status(core, "n2") is None
        assert isinstance(core.events[-1], MemberReaped)

    @pytest.mark.parametrize("objects", [False, True])
    def test_a_living_one_is_pruned_by_nobody(self, objects: bool) -> None:
        core = in_status(ALIVE)
        core.hear(intent(LeaveIntent(20, "n2", True)))
        assert status(core, "n2") is LEAVING
        if objects:
            core.hear(intent(JoinIntent(21, "n2")))
        core.pass_time(6.1)
        assert status(core, "n2") is (ALIVE if objects else LEAVING)

    def test_a_living_one_that_was_forgotten_enters_again(self) -> None:
        core = in_status(ALIVE)
        core.core._members.erase("n2")
        core.hear(alive("n2", core.core.members()["n1"].incarnation + 9, meta=b"\xff\x80"))
        assert status(core, "n2") is ALIVE

    def test_a_leave_of_the_time_of_our_own_join_is_refuted(self) -> None:
        """The sender has not learned of the join, and would not handle it as a change."""
        core = Loner().know(2)
        core.do(lambda serf: serf._broadcast_join(core.now))
        joined = core.core._members.get("n1")
        assert joined is not None
        told = joined.status_ltime
        core.hear(intent(LeaveIntent(told, "n1")))
        assert status(core, "n1") is ALIVE
        assert joined.status_ltime > told

    def test_we_cannot_force_ourselves(self) -> None:
        with pytest.raises(GossipError):
            Loner().core.force_leave("n1", 0.0)


class TestOblivion:
    @pytest.mark.parametrize("before", [FAILED, LEFT])
    def test_the_gone_are_forgotten_after_their_time(self, before: MemberStatus) -> None:
        core = Loner(reconnect_timeout_seconds=100, tombstone_timeout_seconds=100).know(2)
        core.hear(Dead(1, "n2", "n2" if before is LEFT else "n1"))
        assert status(core, "n2") is before
        core.pass_time(99)
        assert status(core, "n2") is before
        core.pass_time(20)
        assert status(core, "n2") is None
        assert isinstance(core.events[-1], MemberReaped)

    def test_failed_member_is_retried_for_as_long_as_it_is_remembered(self) -> None:
        core = Loner(reconnect_timeout_seconds=2000).know(3)
        core.hear(Dead(1, "n2", "n3"))
        core.pass_time(1000)
        assert status(core, "n2") is FAILED
        core.clear()
        core.pass_time(100)
        assert len(core.actions) >= 3

    def test_a_member_that_comes_back_is_not_forgotten(self) -> None:
        core = Loner(reconnect_timeout_seconds=100).know(2)
        core.hear(Dead(1, "n2", "n3"))
        core.pass_time(50)
        core.hear(alive("n2", 2))
        core.hear(Dead(2, "n2", "n3"))
        core.pass_time(80)
        assert status(core, "n2") is FAILED


def test_a_leave_at_the_time_of_the_last_join_of_ourselves_is_refuted_too() -> None:
    core = Loner().know(4)
    core.hear(intent(JoinIntent(10, "n1")))
    core.hear(intent(LeaveIntent(10, "n1")))
    refutations = [said for said in passed_on(core) if isinstance(said, JoinIntent) and said.node == "n1"]
    assert refutations
    assert max(said.ltime for said in refutations) > 10
    assert status(core, "n1") is ALIVE


def test_a_member_said_to_leave_that_stays_alive_is_alive_again_after_a_while() -> None:
    core = in_status(LEAVING)
    begun, longest = core.now, 3 * LEAVING_SECONDS
    while status(core, "n2") is LEAVING and core.now < begun + longest:
        core.pass_time(1)
        # It answers to others, which say so.
        core.hear(alive("n2", 1))
    assert status(core, "n2") is ALIVE
    assert core.now >= LEAVING_SECONDS
