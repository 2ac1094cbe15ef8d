"""A compromised member and an outsider attack: no honest agent terminates, loses a ping or changes a peer.

Ten minutes of it at twice the rate, and whether memory is released after ten more, are for `make chaos CHAOS=hostile`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.hostile import siege
from tests.hostile.ground import Ground, under_attack

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]
SECONDS, RATE = 10.0, 500
ALONE_SECONDS, ALONE_RATE = 0.5, 300
COUNTED = {
    "zones": "malformed_announcement",
    "certificates": "admission_malformed",
    "names": "name",
    "coordinates": "ack",
    "incarnations": "incarnation",
    "answers": "query response",
    "lamport": "time",
    "versions": "versions",
    "reflection": "ping: for another node",
    "garbage": "DecodeError",
}
"""Part of what is counted of an attack: border or reason. The others are counted by more than one."""


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with under_attack() as ground:
        ground.start_hostile()
        yield ground


def test_each_attack_alone_costs_nothing_and_is_counted_by_name(ground: Ground) -> None:
    figures, counted = siege.alone(ground, ALONE_SECONDS, ALONE_RATE)
    print(figures)
    assert not [name for name, counts in counted.items() if not counts]
    unnamed = {
        name: counted[name] for name, what in COUNTED.items() if not any(what in one for one in counted[name])
    }
    assert not unnamed
    assert not siege.faults(figures), str(figures)


def test_all_attacks_together_cost_no_agent_no_ping_no_peer_and_little_memory_and_newcomers_join(
    ground: Ground,
) -> None:
    figures = siege.together(ground, SECONDS, RATE, seed=1)
    print(figures)
    assert not siege.faults(figures), str(figures)
