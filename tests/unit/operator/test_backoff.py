from __future__ import annotations

import pytest

from wgmesh_operator.backoff import Backoff


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0.5), (1, 1.0), (2, 2.0), (6, 32.0), (7, 60.0), (8, 60.0), (10**6, 60.0)]
)
def test_pause_doubles_with_each_failure_up_to_the_longest(failures: int, seconds: float) -> None:
    assert Backoff(first=0.5, longest=60.0).after(failures) == seconds


def test_longest_pause_below_the_first_one_counts() -> None:
    assert Backoff(first=5.0, longest=1.0).after(0) == 1.0
