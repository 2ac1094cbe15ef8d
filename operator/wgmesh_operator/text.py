"""Shortened lists of names in sentences: a mesh may have thousands of members, and a condition has 1,024 characters."""

from __future__ import annotations

from collections.abc import Sequence


def shortened(items: Sequence[str], most: int) -> str:
    """The first `most` of `items`, and how many more there are: "a, b and 3 more"."""
    return with_rest(items[:most], len(items) - most)


def with_rest(items: Sequence[str], rest: int) -> str:
    """All `items`, and that there are `rest` more, of which only the count is known; 0 or less: none."""
    return ", ".join(items) + (f" and {rest} more" if rest > 0 else "")
