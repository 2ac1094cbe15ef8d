"""Pure: loss, delay, duplicates and reordering as netem makes them, and how much silence they alone explain."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from itertools import pairwise

from tests.chaos.schedule import Fault, Kind

WEATHER = frozenset({Kind.LOSS, Kind.DELAY, Kind.DUPLICATE, Kind.REORDER})
LATE_SECONDS = 0.1
"""By how much a packet out of order is later."""
CHANCE = 1e-9
"""Maximum probability of a run of lost pings that is considered an interruption and is none."""


def netem(faults: Iterable[Fault]) -> list[str]:
    """The arguments of `tc qdisc replace … netem` for what a host sends under these faults, at most one of a kind."""
    amounts = {fault.kind: fault.amount for fault in faults if fault.kind in WEATHER}
    words: list[str] = []
    delay, late = amounts.get(Kind.DELAY), amounts.get(Kind.REORDER)
    if delay is not None:
        words += ["delay", _milliseconds(delay), _milliseconds(delay / 3)]
    elif late is not None:
        words += ["delay", _milliseconds(LATE_SECONDS)]
    if late is not None:
        # The share that netem calls reordered is sent at once; where all else is late, those are ahead of it.
        words += ["reorder", _percent(late if delay is not None else 1 - late)]
    if Kind.LOSS in amounts:
        words += ["loss", _percent(amounts[Kind.LOSS])]
    if Kind.DUPLICATE in amounts:
        words += ["duplicate", _percent(amounts[Kind.DUPLICATE])]
    return words


def longest_silence(loss: float) -> int:
    """How many pings in a row the weather may swallow: `loss` is the share lost on either way."""
    lost = 1 - (1 - loss) ** 2
    return math.ceil(math.log(CHANCE) / math.log(lost)) if lost else 0


def silence(answered: Collection[int]) -> int:
    """The most pings in a row without an answer between the first and the last that had one."""
    return max((later - number - 1 for number, later in pairwise(sorted(answered))), default=0)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms"


def _percent(share: float) -> str:
    return f"{share * 100:.1f}%"
