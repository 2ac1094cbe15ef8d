"""Settings passed to netem, and how much silence they explain."""

from __future__ import annotations

import pytest
from tests.chaos.netem_model import longest_silence, netem, silence
from tests.chaos.schedule import Fault, Kind


def fault(kind: Kind, amount: float) -> Fault:
    return Fault(kind, 0.0, 10.0, amount=amount)


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ([], ""),
        ([fault(Kind.LOSS, 0.3)], "loss 30.0%"),
        ([fault(Kind.DELAY, 0.3)], "delay 300ms 100ms"),
        ([fault(Kind.DUPLICATE, 0.125)], "duplicate 12.5%"),
        # Most packets are sent at once, and the rest is late.
        ([fault(Kind.REORDER, 0.1)], "delay 100ms reorder 90.0%"),
        # Most packets are late, and the rest is sent at once.
        ([fault(Kind.REORDER, 0.1), fault(Kind.DELAY, 0.3)], "delay 300ms 100ms reorder 10.0%"),
        ([fault(Kind.KILL, 0.0)], ""),
    ],
)
def test_netem_is_told_of_each_kind(faults: list[Fault], words: str) -> None:
    assert netem(faults) == words.split()


def test_without_loss_no_ping_may_be_lost() -> None:
    assert longest_silence(0.0) == 0


def test_a_silence_that_loss_explains_is_no_interruption_and_a_longer_one_is() -> None:
    assert 0.51 ** longest_silence(0.3) <= 1e-9 < 0.51 ** (longest_silence(0.3) - 1)


@pytest.mark.parametrize(("answered", "expected"), [((), 0), ((3,), 0), ((1, 2, 3), 0), ((9, 1, 2, 4), 4)])
def test_a_silence_is_counted_between_answers(answered: tuple[int, ...], expected: int) -> None:
    assert silence(answered) == expected
