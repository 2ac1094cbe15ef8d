"""Configuration of a node: the timing profiles of gossip-wire §6 and the settings of one member.

The formulas are here beside the numbers they use.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from wgmesh_agent.gossip.wire.endpoint import IPAddress


@dataclass(frozen=True, slots=True)
class Profile:
    """Timing of one kind of network; all members of a cluster use the same."""

    name: str
    probe_interval_seconds: float
    probe_timeout_seconds: float
    indirect_checks: int
    gossip_interval_seconds: float
    gossip_nodes: int
    gossip_to_dead_seconds: float
    push_pull_interval_seconds: float
    suspicion_mult: int
    retransmit_mult: int
    tcp_timeout_seconds: float
    suspicion_max_timeout_mult: int = 6
    awareness_max_multiplier: int = 8

    def suspicion_min_seconds(self, nodes: int) -> float:
        """Minimum duration of a suspicion in a table of `nodes`, including self."""
        scale = math.floor(1000 * max(1.0, math.log10(max(1, nodes)))) / 1000
        return self.suspicion_mult * scale * self.probe_interval_seconds

    def suspicion_max_seconds(self, nodes: int) -> float:
        """Duration of a suspicion that no other member confirms."""
        return self.suspicion_max_timeout_mult * self.suspicion_min_seconds(nodes)

    def expected_confirmations(self, nodes: int) -> int:
        """Number of further accusers that shorten a suspicion to its minimum."""
        wanted = max(0, self.suspicion_mult - 2)
        return 0 if nodes - 2 < wanted else wanted

    def retransmit_limit(self, nodes: int) -> int:
        """Number of transmissions of one broadcast before it is dropped.

        Deviates from Go: below ten nodes at least once per other node; Go's figure alone misses one in a hundred.
        """
        return max(self.retransmit_mult * math.ceil(math.log10(nodes + 1)), min(nodes, 9) - 1)

    def push_pull_seconds(self, nodes: int) -> float:
        """Interval of full exchanges started by one node; grows above 32 nodes."""
        if nodes <= 32:
            return self.push_pull_interval_seconds
        return self.push_pull_interval_seconds * (math.ceil(math.log2(nodes) - math.log2(32)) + 1)

    def query_timeout_seconds(self, alive: int) -> float:
        """Timeout of a query if its caller does not set one."""
        return self.gossip_interval_seconds * 16 * math.ceil(math.log10(alive + 1))


LAN = Profile("lan", 1.0, 0.5, 3, 0.2, 3, 30.0, 30.0, 4, 4, 10.0)
WAN = Profile("wan", 5.0, 3.0, 3, 0.5, 4, 60.0, 60.0, 6, 4, 30.0)
LOCAL = Profile("local", 1.0, 0.2, 1, 0.1, 3, 15.0, 15.0, 3, 2, 1.0)
PROFILES: Mapping[str, Profile] = {profile.name: profile for profile in (LAN, WAN, LOCAL)}


@dataclass(frozen=True, slots=True)
class SerfConfig:
    """Settings of one member.

    `address` is both bound and advertised. `label` is 0..255 bytes and the same in the whole cluster.
    `reconnect_interval_seconds` is the time between two attempts to reach a failed member (serf: 30 s). A failed
    member is removed after `reconnect_timeout_seconds`, one that left after `tombstone_timeout_seconds`. Sizes are
    in bytes. The `max_` fields bound the state that peers can create on this node; `max_strangers` counts members
    without a binding. The rebroadcast queue may hold twice as many messages as there are members, within
    `min_queue_depth` and `max_queue_depth` (serf: MinQueueDepth, MaxQueueDepth), and each of serf's three queues
    holds `max_queue_bytes`: about what it can send in two minutes.
    """

    node_name: str
    address: IPAddress
    port: int = 7946
    profile: Profile = LAN
    tags: Mapping[str, str] = field(default_factory=dict)
    label: bytes = b""
    reconnect_interval_seconds: float = 30.0
    reconnect_timeout_seconds: float = 24 * 3600.0
    tombstone_timeout_seconds: float = 24 * 3600.0
    reap_interval_seconds: float = 15.0
    recent_intent_seconds: float = 300.0
    broadcast_timeout_seconds: float = 5.0
    leave_propagate_seconds: float = 1.0
    user_event_bytes: int = 512
    query_bytes: int = 1024
    query_response_bytes: int = 1024
    datagram_bytes: int = 1400
    max_members: int = 16384
    max_strangers: int = 1024
    max_intents: int = 4096
    max_queries: int = 1024
    min_queue_depth: int = 256
    max_queue_depth: int = 2048
    max_queue_bytes: int = 1 << 18
    max_streams: int = 128
    max_stream_buffer_bytes: int = 9 << 20
    max_waiting_nodes: int = 36_864
    max_event_buffer_bytes: int = 1 << 18
    max_events_buffered: int = 4096
