from __future__ import annotations

from collections.abc import Sequence

import pytest

from wgmesh_api.text import shortened


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a, b"),
        (["b", "a", "c"], "b, a and 1 more"),
        (["a", "b", "c"], "a, b and 1 more"),
        (("c", "a", "b"), "c, a and 1 more"),
        (["a", "b", "c", "d", "e"], "a, b and 3 more"),
    ],
)
def test_names_beyond_the_limit_are_counted(names: Sequence[str], expected: str) -> None:
    assert shortened(names, 2) == expected


def test_names_that_were_not_kept_are_counted_too() -> None:
    assert shortened(["a", "b"], 2, total=2) == "a, b"
    assert shortened(["a", "b"], 2, total=9) == "a, b and 7 more"
    assert shortened(["a", "b", "c"], 2, total=9) == "a, b and 7 more"


@pytest.mark.parametrize(("rest", "text"), [(-1, "a, b"), (0, "a, b"), (7, "a, b and 7 more")])
def test_names_of_which_only_the_number_is_known_are_counted(rest: int, text: str) -> None:
    assert shortened(["a", "b"], 2, total=2 + rest) == text


def test_five_names_fit_unless_another_limit_is_given() -> None:
    assert shortened(list("abcde")) == "a, b, c, d, e"
    assert shortened(list("abcdef")) == "a, b, c, d, e and 1 more"


def test_separator_is_between_names() -> None:
    assert shortened(["a b", "c d", "e"], 2, separator="; ") == "a b; c d and 1 more"
