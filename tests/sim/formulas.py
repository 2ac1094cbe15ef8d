"""Times of a cluster of n nodes by the formulas, for comparison with the simulation.

One change has reached all: a gossip interval each time that the nodes that know it can be (fan-out + 1)-fold more. A
storm of joins is over: after the joins, and then the longer of one change reaching all and all changes arriving, at the
rate that gossip's datagrams allow. A failed node is known to all: e/(e-1) probe intervals until a member probes it
(SWIM, section 3.1), the failing probe cycle, the shortest suspicion of n nodes, and one change reaching all.
"""

from __future__ import annotations

import math

from wgmesh_agent.gossip.memberlist.config import Profile
from wgmesh_agent.gossip.wire.packet import UDP_PACKET_BYTES

NEWS_BYTES = 80
"""Of an alive message without tags, with its place in a datagram."""


def round_seconds(profile: Profile, size: int) -> float:
    """One item of news goes round."""
    return profile.gossip_interval_seconds * math.ceil(math.log(size, profile.gossip_nodes + 1))


def storm_seconds(profile: Profile, size: int, joins_seconds: float = 1.0) -> float:
    """From the first of `size` joins within `joins_seconds` until all know all."""
    heard_a_second = profile.gossip_nodes / profile.gossip_interval_seconds * (UDP_PACKET_BYTES // NEWS_BYTES)
    return joins_seconds + max(round_seconds(profile, size), size / heard_a_second)


def detection_seconds(profile: Profile, size: int) -> float:
    """From a death until all know of it, expected."""
    probed = math.e / (math.e - 1) * profile.probe_interval_seconds
    return (
        probed
        + profile.probe_interval_seconds
        + profile.suspicion_min_seconds(size)
        + round_seconds(profile, size)
    )
