from __future__ import annotations

import pytest

from wgmesh_operator.text import shortened, with_rest


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a, b"),
        (["a", "b", "c"], "a, b and 1 more"),
        (["a", "b", "c", "d", "e"], "a, b and 3 more"),
    ],
)
def test_long_list_is_cut_and_the_rest_is_counted(items: list[str], text: str) -> None:
    assert shortened(items, 2) == text


def test_order_is_that_of_the_list() -> None:
    assert shortened(("c", "a", "b"), 2) == "c, a and 1 more"


@pytest.mark.parametrize(("rest", "text"), [(-1, "a, b"), (0, "a, b"), (7, "a, b and 7 more")])
def test_items_of_which_only_the_count_is_known_are_counted(rest: int, text: str) -> None:
    assert with_rest(["a", "b"], rest) == text
