"""Input from outside that a node rejected, by border and reason: counts of the fences and of gossip."""

from __future__ import annotations

from collections.abc import Mapping

from wgmesh_agent.gossip.memberlist.counters import Counters
from wgmesh_agent.runtime import borders

GOSSIP = "gossip"


def rejected_input(gossip: Counters) -> Mapping[tuple[str, str], int]:
    """Units rejected since the process started, by border and reason; those of gossip since the session started."""
    return {**borders.rejected(), **{(GOSSIP, reason): count for reason, count in gossip.refused.items()}}
