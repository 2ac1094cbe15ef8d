"""How pauses grow with the mesh, so that all of it together asks about as often at any size."""

from __future__ import annotations

SCALE_ABOVE_MEMBERS = 50


def interval_scale(members: int, crowd: int = SCALE_ABOVE_MEMBERS) -> float:
    """By what a pause is to be multiplied among so many members: 1 up to `crowd`, in proportion from there."""
    return max(1.0, members / crowd)
