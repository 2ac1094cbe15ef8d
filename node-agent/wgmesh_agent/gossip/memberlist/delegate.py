"""What memberlist asks of the layer above it; serf is that layer."""

from __future__ import annotations

from typing import Protocol

from wgmesh_agent.gossip.memberlist.node_table import NodeRecord
from wgmesh_agent.gossip.wire.endpoint import Endpoint


class MembershipDelegate(Protocol):
    """Told of each change in the table, after it was made."""

    def node_joined(self, record: NodeRecord, now: float) -> None:
        """A node is alive that was unknown, dead or left."""

    def node_updated(self, record: NodeRecord, now: float) -> None:
        """A living node has other metadata."""

    def node_left(self, record: NodeRecord, now: float) -> None:
        """A node is dead or left."""

    def node_forgotten(self, record: NodeRecord, now: float) -> None:
        """A node left the table to make room."""

    def name_conflict(self, record: NodeRecord, claimant: Endpoint, now: float) -> None:
        """Somebody at `claimant` says to be the node `record`, which lives elsewhere."""


class SerfDelegate(MembershipDelegate, Protocol):
    """All that serf gives memberlist."""

    def user_message(self, payload: bytes, source: Endpoint | None, now: float) -> None:
        """A serf message came from `source` (port 0: over a stream; None: unknown)."""

    def local_state(self) -> bytes:
        """The user state for a push-pull."""

    def merge_remote_state(
        self, state: bytes, *, join: bool, now: float, source: Endpoint | None = None
    ) -> None:
        """The user state of the push-pull of a peer at `source`; `join` if either side is joining by it."""

    def ack_payload(self) -> bytes:
        """What this node's acks carry."""

    def ping_completed(self, record: NodeRecord, rtt_seconds: float, payload: bytes) -> None:
        """A direct ping was answered in time."""
