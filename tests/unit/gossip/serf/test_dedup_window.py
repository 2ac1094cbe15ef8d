"""What counts as new among stamped messages, and that memory of them is bounded."""

from __future__ import annotations

import pytest

from wgmesh_agent.gossip.serf.dedup_window import KEPT_LONGER, KEPT_SECONDS, DedupWindow, Verdict
from wgmesh_agent.gossip.serf.lamport import LamportClock


def window(max_entries: int = 1000, max_bytes: int = 1000) -> tuple[DedupWindow[str], LamportClock]:
    clock = LamportClock()
    return DedupWindow(clock, max_entries, max_bytes), clock


def test_the_same_key_at_the_same_time_is_seen_and_at_another_new() -> None:
    recent, clock = window()
    assert recent.admit(3, "a", 1) is Verdict.NEW
    assert recent.admit(3, "a", 1) is Verdict.SEEN
    assert recent.admit(3, "b", 1) is Verdict.NEW
    assert recent.admit(4, "a", 1) is Verdict.NEW
    assert clock.time == 5


@pytest.mark.parametrize(("ltime", "verdict"), [(489, Verdict.NEW), (488, Verdict.OLD), (1000, Verdict.NEW)])
def test_what_lies_more_than_512_behind_the_clock_is_old(ltime: int, verdict: Verdict) -> None:
    recent, _ = window()
    recent.admit(1000, "now", 1)
    assert recent.admit(ltime, "x", 1) is verdict


def test_nothing_is_old_while_the_clock_is_young() -> None:
    recent, _ = window()
    recent.admit(511, "now", 1)
    assert recent.admit(1, "first", 1) is Verdict.NEW


def test_a_far_future_time_moves_the_clock_and_an_impossible_one_does_not() -> None:
    recent, clock = window()
    assert recent.admit(2000, "far", 1) is Verdict.NEW
    assert clock.time == 2001
    assert recent.admit(2**63, "impossible", 1) is Verdict.IMPLAUSIBLE
    assert clock.time == 2001


def test_a_joiner_ignores_what_is_from_before_its_time() -> None:
    recent, _ = window()
    recent.ignore_before(10)
    assert recent.admit(9, "before", 1) is Verdict.OLD
    assert recent.admit(10, "since", 1) is Verdict.NEW


def test_a_new_time_in_an_old_slot_replaces_what_was_there() -> None:
    recent, _ = window()
    recent.admit(5, "old", 1)
    recent.admit(5 + 512, "new", 1)
    assert list(recent.entries()) == [(517, ("new",))]


@pytest.mark.parametrize(("max_entries", "max_bytes"), [(4, 1000), (1000, 4)])
def test_past_its_bounds_the_oldest_are_forgotten_and_not_delivered_again(
    max_entries: int, max_bytes: int
) -> None:
    recent, _ = window(max_entries, max_bytes)
    for ltime in range(1, 7):
        assert recent.admit(ltime, "e", 1) is Verdict.NEW
    assert [ltime for ltime, _ in recent.entries()] == [3, 4, 5, 6]
    assert recent.admit(1, "e", 1) is Verdict.OLD


def test_a_flood_at_one_time_is_bounded_too() -> None:
    recent, _ = window(max_entries=100)
    for index in range(10_000):
        recent.admit(7, f"e{index}", 1)
    assert sum(len(keys) for _, keys in recent.entries()) <= 100


def test_what_is_old_goes_but_for_the_newest_few_and_is_refused_from_then_on() -> None:
    recent, _ = window()
    for ltime in range(1, 401):
        recent.admit(ltime, "x", 1)
    assert recent.expire(0.0)
    recent.admit(500, "later", 1)
    assert recent.expire(KEPT_SECONDS - 1)
    assert len(list(recent.entries())) == 401
    assert not recent.expire(KEPT_SECONDS)
    assert [ltime for ltime, _ in recent.entries()] == [*range(402 - KEPT_LONGER, 401), 500]
    assert recent.admit(401 - KEPT_LONGER, "x", 1) is Verdict.OLD
    assert recent.admit(402 - KEPT_LONGER, "x", 1) is Verdict.SEEN
    assert recent.admit(450, "late", 1) is Verdict.NEW


def test_few_events_are_remembered_however_old_they_are() -> None:
    recent, _ = window()
    for ltime in range(1, KEPT_LONGER + 1):
        recent.admit(ltime, "x", 1)
    for now in (0.0, KEPT_SECONDS, 10 * KEPT_SECONDS):
        assert not recent.expire(now)
    assert recent.admit(1, "x", 1) is Verdict.SEEN


def test_of_a_flood_at_one_time_nothing_is_left_either() -> None:
    recent, _ = window()
    for index in range(900):
        recent.admit(7, f"e{index}", 1)
    recent.admit(8, "later", 1)
    recent.expire(0.0)
    assert not recent.expire(KEPT_SECONDS)
    assert list(recent.entries()) == [(8, ("later",))]
    assert recent.admit(7, "e0", 1) is Verdict.OLD
