"""The local health score stays in its bounds and stretches cycles."""

from __future__ import annotations

import pytest

from wgmesh_agent.gossip.memberlist.awareness import Awareness


@pytest.mark.parametrize(
    ("deltas", "score"),
    [((0,), 0), ((-1,), 0), ((1,), 1), ((1, -1, -1), 0), ((10,), 7), ((10, -1), 6), ((3, 3, 3), 7)],
)
def test_the_score_is_clamped_to_seven(deltas: tuple[int, ...], score: int) -> None:
    awareness = Awareness(8)
    for delta in deltas:
        awareness.apply(delta)
    assert awareness.score == score
    assert awareness.scale(2.0) == 2.0 * (score + 1)
