from __future__ import annotations

from wgmesh_agent.gossip.serf.foreign_key_detector import ForeignKeyDetector

OURS, OTHER = b"1", b"2"


def seen(*counts: int, primary: bytes = OURS) -> list[bool]:
    """One look a second."""
    keys = ForeignKeyDetector()
    return [keys.persists(count, primary, 100.0 + second) for second, count in enumerate(counts)]


def test_nothing_heard_is_nothing() -> None:
    assert not any(seen(*[0] * 20))


def test_what_comes_for_five_seconds_goes_on() -> None:
    assert seen(0, 1, 1, 2, 2, 3, 3, 4) == [False] * 7 + [True]


def test_a_change_of_keys_that_is_over_sooner_is_none() -> None:
    assert not any(seen(0, 1, 5, 9, 9, 9, 9, 9, 9))


def test_what_comes_to_one_of_many_that_are_tried_in_turn_goes_on() -> None:
    assert seen(*[second // 15 for second in range(31)]) == [False] * 30 + [True]


def test_what_comes_now_and_then_is_none() -> None:
    assert not any(seen(*[second // 40 for second in range(400)]))


def test_what_has_come_long_ago_does_not_go_on() -> None:
    keys = ForeignKeyDetector()
    assert [keys.persists(step, OURS, 10.0 * step) for step in range(3)] == [False, False, True]
    assert not keys.persists(2, OURS, 60.0)


def test_what_was_heard_before_the_own_key_changed_does_not_count() -> None:
    keys = ForeignKeyDetector()
    found = [keys.persists(second, OURS if second < 4 else OTHER, float(second)) for second in range(1, 9)]
    assert not any(found)
    assert keys.persists(9, OTHER, 10.0)
