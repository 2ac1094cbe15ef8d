"""Which nodes admit others: as many as asked for, spread over zones, moved only when one is gone for good."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from wgmesh_operator.decisions.cluster_node import ClusterNode

REPLACE_AFTER = timedelta(seconds=60)
"""How long a node is not ready before its bootstrap duty is given to another; a reboot is quicker."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that could admit others.

    `alive`: ready, or not ready for less than REPLACE_AFTER. `serving`: False if its agent reports that its service for
    joiners does not run.
    """

    name: str
    zone: str
    alive: bool
    ready: bool
    joined: bool
    current: bool
    serving: bool = True


def replaceable_at(node: ClusterNode) -> datetime | None:
    """When a node that is not ready counts as gone; None for one that is ready."""
    return None if node.ready else node.changed + REPLACE_AFTER


def is_alive(node: ClusterNode, now: datetime) -> bool:
    gone = replaceable_at(node)
    return gone is None or now < gone


def choose(candidates: Iterable[Candidate], replicas: int) -> frozenset[str]:
    """The names of at most `replicas` bootstrap nodes.

    Those there are stay while alive and serving. New ones are taken where the zone has fewest, members before others.
    Those that do not serve, and dead ones after them, are chosen only if no other node is left: when they recover, the
    mesh is as it was.
    """
    pool = list(candidates)
    chosen = sorted(
        (c for c in pool if c.current and c.alive and c.serving),
        key=lambda c: (not c.joined, not c.ready, c.name),
    )[:replicas]
    zones = Counter(c.zone for c in chosen)
    rest = {c.name: c for c in pool if c.alive and c.serving and not c.current}
    while len(chosen) < replicas and rest:
        best = min(rest.values(), key=lambda c: (not c.ready, zones[c.zone], not c.joined, c.name))
        chosen.append(rest.pop(best.name))
        zones[best.zone] += 1
    failing = sorted((c for c in pool if c.alive and not c.serving), key=lambda c: (not c.current, c.name))
    dead = sorted((c for c in pool if c.current and not c.alive), key=lambda c: c.name)
    return frozenset(c.name for c in [*chosen, *failing, *dead][:replicas])
