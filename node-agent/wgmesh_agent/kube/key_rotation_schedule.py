"""Schedule of this node's WireGuard key rotation: by the mesh's spec, or by its annotation."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

JITTER_SHARE = 0.1
"""Share of an interval over which nodes that became members at once are spread; none rotates later than the
interval.
"""
SPREAD_SECONDS_PER_MEMBER = 5.0
"""After an annotation, one member rotates after the other: if both ends of a tunnel change their keys within a second,
neither knows the other's new key, and packets between them are lost for about that long.
"""
MAX_SPREAD_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """The mesh's requirements for its nodes' keys.

    Attributes:
        interval: maximum age of a key in seconds; None: unlimited.
        token: the id of the annotation's value; empty: there is none.
    """

    interval: float | None
    token: str


def next_rotation(
    wish: RotationPolicy, node: str, *, since: float, done: str, asked: float | None, members: Collection[str]
) -> float | None:
    """When to rotate the key, in unix seconds; None: nothing requires it.

    Args:
        since: when the present key came into use.
        done: the token up to which the key was rotated.
        asked: when `wish.token` was first seen here; None: it was not.
        members: the names of all that share the time after an annotation, five seconds each, half an hour in total at
            most.
    """
    times = []
    if wish.token and wish.token != done and asked is not None:
        own = _share(node, wish.token)
        place = sum(_share(other, wish.token) < own for other in members)
        each = min(SPREAD_SECONDS_PER_MEMBER, MAX_SPREAD_SECONDS / max(1, len(members)))
        times.append(asked + place * each)
    if wish.interval is not None:
        times.append(since + wish.interval * (1 - JITTER_SHARE * _share(node, "schedule")))
    return min(times, default=None)


def _share(node: str, salt: str) -> float:
    """From 0 to 1, different for each node."""
    digest = hashlib.sha256(f"{salt}\0{node}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32
