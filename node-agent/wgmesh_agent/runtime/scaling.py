"""Scales pauses with the mesh size, so that the total query rate is about the same at any size."""

from __future__ import annotations

SCALE_ABOVE_MEMBERS = 50


def interval_scale(members: int, crowd: int = SCALE_ABOVE_MEMBERS) -> float:
    """Returns the factor of a pause for this number of members: 1 up to `crowd`, proportional above."""
    return max(1.0, members / crowd)
