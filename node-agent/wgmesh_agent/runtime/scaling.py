"""How pauses grow with the mesh, so that all of it together asks about as often at any size."""

from __future__ import annotations

CROWD = 50


def stretch(members: int, crowd: int = CROWD) -> float:
    """By what a pause is to be multiplied among so many members: 1 up to `crowd`, in proportion from there."""
    return max(1.0, members / crowd)
