"""Ages of handshakes while the wall clock is stepped, and the peers that a step back has silenced."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from wgmesh_agent.wireguard.clock_steps import ClockSteps, Span
from wgmesh_agent.wireguard.handshake_ages import HandshakeAges
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Device, Peer

KEY = PublicKey(bytes([1]) * 32)
HOUR = 3600.0


def device(handshake: float) -> Device:
    return Device("wgtest", peers={KEY: Peer(KEY, last_handshake=handshake)})


def seen(ages: HandshakeAges, handshake: float, now_unix: float, now: float) -> float:
    """How old the handshake is taken to be."""
    return now_unix - ages.update(device(handshake), now_unix, now).peers[KEY].last_handshake


def test_on_a_steady_clock_an_age_is_the_clock_s() -> None:
    ages = HandshakeAges()
    assert seen(ages, 1000.0, 1100.0, 50.0) == 100.0
    assert seen(ages, 1000.0, 1115.0, 65.0) == 115.0
    assert ages.next_deadline(1115.0) is None
    assert not ages.blocked_by_clock_step(1300.0, 250.0)


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_step_of_the_clock_makes_no_handshake_older_or_younger(step: float) -> None:
    ages = HandshakeAges()
    seen(ages, 1000.0, 1010.0, 60.0)
    assert seen(ages, 1000.0, 1025.0 + step, 75.0) == 25.0


def test_a_session_is_as_old_as_the_suspend_that_it_slept_through() -> None:
    """Both the wall clock and the time since boot advance: that is no step of the clock."""
    ages = HandshakeAges()
    seen(ages, 1000.0, 1010.0, 60.0)
    assert seen(ages, 1000.0, 1011.0 + 8 * HOUR, 61.0 + 8 * HOUR) == 11.0 + 8 * HOUR


def test_a_new_handshake_is_never_older_than_the_last_look() -> None:
    ages = HandshakeAges()
    seen(ages, 1000.0, 1010.0, 60.0)
    assert seen(ages, 1012.0, 1025.0 + HOUR, 75.0) == 15.0


def test_a_peer_is_lost_when_its_session_is_over_and_the_clock_was_set_back() -> None:
    ages = HandshakeAges()
    seen(ages, 1000.0, 1010.0, 60.0)
    now_unix = 1025.0 - HOUR
    seen(ages, 1000.0, now_unix, 75.0)
    assert ages.next_deadline(now_unix) == 50.0 + 180.0
    assert not ages.blocked_by_clock_step(now_unix, 229.0)
    assert ages.blocked_by_clock_step(now_unix + 155.0, 230.0) == {KEY}


def test_a_peer_made_anew_is_lost_no_more() -> None:
    ages = HandshakeAges()
    seen(ages, 1000.0, 1010.0, 60.0)
    ages.update(device(0.0), 1200.0 - HOUR, 250.0)
    assert not ages.blocked_by_clock_step(1200.0 - HOUR, 250.0)
    assert ages.next_deadline(1200.0 - HOUR) is None


def test_a_peer_without_a_handshake_is_left_as_it_is() -> None:
    found = device(0.0)
    assert HandshakeAges().update(found, 1000.0, 1.0) == found


def test_an_agent_started_after_a_step_back_knows_how_old_a_handshake_is_that_lies_ahead() -> None:
    kept: list[Span] = []

    def keep(spans: Sequence[Span]) -> bool:
        kept[:] = spans
        return True

    before = HandshakeAges(ClockSteps((), keep))
    seen(before, 1000.0, 1010.0, 60.0)
    # The clock is set back by an hour while no agent runs; the next one starts 40 s later.
    after = HandshakeAges(ClockSteps(kept, keep))
    now_unix = 1050.0 - HOUR
    assert seen(after, 1000.0, now_unix, 100.0) == 50.0
    assert after.next_deadline(now_unix) == 50.0 + 180.0
    assert after.blocked_by_clock_step(now_unix + 130.0, 230.0) == {KEY}
