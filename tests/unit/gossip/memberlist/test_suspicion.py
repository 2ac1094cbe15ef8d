"""A suspicion's life shortens with independent accusers only."""

from __future__ import annotations

import pytest

from wgmesh_agent.gossip.memberlist.config import LAN
from wgmesh_agent.gossip.memberlist.suspicion import Suspicion, suspicion_timeout_seconds


def suspicion(nodes: int = 5) -> Suspicion:
    return Suspicion(
        "accuser",
        LAN.suspicion_min_seconds(nodes),
        LAN.suspicion_max_seconds(nodes),
        LAN.expected_confirmations(nodes),
        100.0,
    )


def test_five_nodes_and_one_confirmation_make_11_38_seconds() -> None:
    accused = suspicion()
    assert accused.deadline == 124.0
    assert accused.confirm("second")
    assert accused.deadline - 100.0 == pytest.approx(11.381, abs=0.0005)
    assert accused.confirm("third")
    assert accused.deadline == 104.0


def test_the_first_accuser_and_repetitions_do_not_confirm() -> None:
    accused = suspicion()
    assert not accused.confirm("accuser")
    assert accused.confirm("second")
    assert not accused.confirm("second")
    assert accused.confirmations == 1


def test_more_confirmations_than_wanted_are_not_counted_nor_passed_on() -> None:
    accused = suspicion()
    assert accused.confirm("second")
    assert accused.confirm("third")
    assert not accused.wants_confirmation
    assert not accused.confirm("fourth")


@pytest.mark.parametrize(
    ("confirmations", "wanted", "seconds"),
    # memberlist's own test table, minimum 2 s, maximum 30 s
    [(0, 3, 30.0), (1, 3, 16.0), (2, 3, 7.81), (3, 3, 2.0), (4, 3, 2.0), (5, 3, 2.0), (0, 0, 2.0)],
)
def test_the_timeout_falls_logarithmically(confirmations: int, wanted: int, seconds: float) -> None:
    assert suspicion_timeout_seconds(2, 30, confirmations, wanted) == pytest.approx(seconds, abs=0.01)
