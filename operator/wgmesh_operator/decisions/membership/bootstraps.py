"""Selects the bootstrap nodes: as many as desired, spread over zones, replaced only after permanent loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from wgmesh_operator.decisions.cluster_node import ClusterNode

REPLACE_AFTER = timedelta(seconds=60)
"""How long a node is not ready before its bootstrap role moves to another; a reboot is faster."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate for a bootstrap node.

    `alive`: ready, or not ready for less than REPLACE_AFTER. `serving`: False if its agent reports that its join
    service is not running.
    """

    name: str
    zone: str
    alive: bool
    ready: bool
    joined: bool
    current: bool
    serving: bool = True


def replaceable_at(node: ClusterNode) -> datetime | None:
    """When a node that is not ready counts as lost; None for one that is ready."""
    return None if node.ready else node.changed + REPLACE_AFTER


def is_alive(node: ClusterNode, now: datetime) -> bool:
    gone = replaceable_at(node)
    return gone is None or now < gone


def choose(candidates: Iterable[Candidate], replicas: int) -> frozenset[str]:
    """The names of at most `replicas` bootstrap nodes.

    Current ones stay while they are alive and serving. New ones are selected in the zone with the fewest, members
    before others. Nodes that do not serve, and failed ones after them, are selected only if no other is left: when they
    recover, the mesh is as before.
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
