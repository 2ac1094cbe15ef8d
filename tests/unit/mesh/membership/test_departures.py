"""Which members are kept before they are removed, and how many are checked at once."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from tests.unit.tunnels import PlayedTunnels

from wgmesh_agent.gossip.serf.events import Member
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.mesh.membership.departures import (
    AGAIN_SECONDS,
    ASKED_AT_ONCE,
    NO_TUNNELS,
    SILENT_SECONDS,
    Departures,
)


def member(number: int) -> Member:
    address = ip_address(f"10.232.{number >> 8}.{number & 255}")
    return Member(f"n{number}", address, 7946, {}, MemberStatus.LEFT, 1, b"", 0.0)


def ground(count: int) -> tuple[PlayedTunnels, Departures]:
    """The number of members whose links are up and that are reported as left."""
    tunnels = PlayedTunnels()
    departures = Departures()
    for number in range(1, count + 1):
        tunnels.live(member(number).address)
        assert departures.awaits(member(number), "left", tunnels)
    return tunnels, departures


def test_who_is_silent_already_is_not_waited_for() -> None:
    assert not Departures().awaits(member(1), "left", PlayedTunnels())


def test_without_a_device_nobody_is_waited_for() -> None:
    assert not Departures().awaits(member(1), "left", NO_TUNNELS)


def test_one_who_answers_lives() -> None:
    tunnels, departures = ground(1)
    assert departures.look(0.0, tunnels) == []
    (decided,) = departures.look(1.0, tunnels)
    assert (decided.member, decided.lives) == (member(1), True)
    assert [departures.look(2.0 + second, tunnels) for second in range(20)] == [[]] * 20
    departures.back("n1")
    assert len(departures) == 0


def test_one_who_answered_in_the_middle_of_its_goodbye_is_gone_once_it_is_silent() -> None:
    tunnels, departures = ground(1)
    departures.look(0.0, tunnels)
    assert departures.look(1.0, tunnels)[0].lives
    tunnels.die(member(1).address)
    decided = [
        (second, one.lives) for second in range(2, 30) for one in departures.look(float(second), tunnels)
    ]
    assert decided == [(1 + AGAIN_SECONDS + SILENT_SECONDS, False)]
    assert len(departures) == 0


def test_one_who_says_itself_through_its_tunnel_that_it_leaves_is_not_waited_for() -> None:
    tunnels = PlayedTunnels()
    tunnels.live(member(1).address)
    tunnels.leaving.add(member(1).address)
    assert not Departures().awaits(member(1), "left", tunnels)


@pytest.mark.parametrize("looks", [0, 1, 2], ids=["before it is asked", "asked", "after it answered"])
def test_one_who_says_so_while_it_is_waited_for_is_gone_with_the_next_look(looks: int) -> None:
    tunnels, departures = ground(1)
    for second in range(looks):
        departures.look(float(second), tunnels)
    tunnels.leaving.add(member(1).address)
    (decided,) = departures.look(3.0, tunnels)
    assert not decided.lives
    assert len(departures) == 0


def test_one_who_does_not_answer_is_gone_after_a_few_tries() -> None:
    tunnels, departures = ground(1)
    tunnels.die(member(1).address)
    for second in range(int(SILENT_SECONDS)):
        assert departures.look(float(second), tunnels) == []
    (decided,) = departures.look(SILENT_SECONDS, tunnels)
    assert not decided.lives
    assert len(tunnels.doubted) == SILENT_SECONDS


def test_of_many_few_are_asked_at_once_and_none_is_gone_without_having_been_asked() -> None:
    tunnels, departures = ground(3 * ASKED_AT_ONCE)
    departures.look(0.0, tunnels)
    assert len(tunnels.doubted) == ASKED_AT_ONCE
    decided = [one for second in range(1, 10) for one in departures.look(float(second), tunnels)]
    assert len(decided) == 3 * ASKED_AT_ONCE
    assert all(one.lives for one in decided)


def test_while_as_many_as_may_be_asked_are_silent_no_other_is_asked() -> None:
    tunnels, departures = ground(2 * ASKED_AT_ONCE)
    for number in range(1, 2 * ASKED_AT_ONCE + 1):
        tunnels.die(member(number).address)
    for second in range(int(SILENT_SECONDS)):
        assert departures.look(float(second), tunnels) == []
        assert len(set(tunnels.doubted)) == ASKED_AT_ONCE
