"""Text formatting shared by agent and operator."""

from __future__ import annotations

from collections.abc import Sequence

MAX_NAMED = 5
"""Maximum number of names in a sentence."""


def shortened(
    names: Sequence[str], limit: int = MAX_NAMED, *, total: int | None = None, separator: str = ", "
) -> str:
    """Returns "a, b and 3 more": the first `limit` names in their order.

    Args:
        total: how many there are, if `names` are only the first of them.
    """
    first = names[:limit]
    more = (len(names) if total is None else total) - len(first)
    return separator.join(first) + (f" and {more} more" if more > 0 else "")
