"""What a node rejected of the input from outside, by border and reason: the fences' counts and gossip's own."""

from __future__ import annotations

from collections.abc import Mapping

from wgmesh_agent.gossip.memberlist.counters import Counters
from wgmesh_agent.runtime import borders

GOSSIP = "gossip"


def rejected_input(gossip: Counters) -> Mapping[tuple[str, str], int]:
    """Units rejected since the process started, by border and reason; those of gossip since the session started."""
    return {**borders.rejected(), **{(GOSSIP, reason): count for reason, count in gossip.refused.items()}}
