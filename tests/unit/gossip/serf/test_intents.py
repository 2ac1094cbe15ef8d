"""Intents about nodes not seen yet: the latest counts, old ones expire, strangers cannot fill the memory."""

from __future__ import annotations

from wgmesh_agent.gossip.serf.intents import IntentBuffer


def test_the_highest_time_wins_and_is_taken_once() -> None:
    intents = IntentBuffer(300, 10)
    assert intents.add("n", leaving=False, ltime=5, now=0)
    assert not intents.add("n", leaving=True, ltime=5, now=1)
    assert intents.add("n", leaving=True, ltime=6, now=2)
    taken = intents.take("n", 3)
    assert taken is not None
    assert (taken.leaving, taken.ltime) == (True, 6)
    assert intents.take("n", 3) is None


def test_an_intent_is_forgotten_after_five_minutes() -> None:
    intents = IntentBuffer(300, 10)
    intents.add("n", leaving=True, ltime=1, now=0)
    assert intents.take("n", 300.1) is None


def test_a_full_buffer_takes_no_more_until_the_old_expire() -> None:
    intents = IntentBuffer(300, 3)
    for index in range(5):
        added = intents.add(f"n{index}", leaving=True, ltime=1, now=0, speaker=f"s{index}")
        assert added == (index < 3)
    assert len(intents) == 3
    assert intents.add("late", leaving=True, ltime=1, now=301)
    assert len(intents) == 1


def test_one_speaker_fills_a_quarter() -> None:
    intents = IntentBuffer(300, 100)
    for index in range(100):
        intents.add(f"n{index}", leaving=True, ltime=1, now=0, speaker="evil")
    assert len(intents) == 25
    assert intents.add("n50", leaving=True, ltime=1, now=0, speaker="honest")
    assert not intents.add("n50", leaving=True, ltime=2, now=0, speaker="evil")
    taken = intents.take("n50", 1)
    assert taken is not None
    assert taken.ltime == 1
