"""Round-trip times between members, estimated from the coordinates in their ACKs (gossip-wire §8.6)."""

from __future__ import annotations

import random

from wgmesh_agent.gossip.errors import GossipError, PeerError
from wgmesh_agent.gossip.memberlist.counters import Counters
from wgmesh_agent.gossip.wire.coordinate import (
    Coordinate,
    CoordinateClient,
    decode_coordinate,
    encode_coordinate,
)


class RTTEstimates:
    """This node's coordinate and the last received one of each other member."""

    def __init__(self, own_name: str, counters: Counters, rng: random.Random) -> None:
        self._own_name = own_name
        self._counters = counters
        self._client = CoordinateClient(rng)
        self._others: dict[str, Coordinate] = {}
        self._payload: bytes | None = None

    def payload(self) -> bytes:
        """Returns the payload of this node's ACKs."""
        if self._payload is None:
            self._payload = encode_coordinate(self._client.coordinate)
        return self._payload

    def completed(self, node: str, rtt_seconds: float, payload: bytes) -> None:
        """A direct ping of `node` took `rtt_seconds`, and its ACK contained its coordinate."""
        if not payload:
            return
        try:
            other = decode_coordinate(payload)
            self._client.update(node, other, rtt_seconds)
        except (PeerError, GossipError):
            self._counters.refuse("coordinate: rejected")
            return
        self._payload = None
        self._others[node] = other

    def forget(self, node: str) -> None:
        """A member was removed permanently."""
        self._others.pop(node, None)
        self._client.forget(node)

    def rtt(self, a: str, b: str | None = None) -> float | None:
        """Returns the estimated round-trip time from `a` to `b` (default: this node) in seconds; None if either is
        unknown."""
        first = self._coordinate(a)
        second = self._coordinate(self._own_name if b is None else b)
        return None if first is None or second is None else first.distance_to(second)

    def _coordinate(self, node: str) -> Coordinate | None:
        return self._client.coordinate if node == self._own_name else self._others.get(node)
