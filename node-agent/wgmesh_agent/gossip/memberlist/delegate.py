"""The interface between memberlist and the layer above it, which is serf."""

from __future__ import annotations

from typing import Protocol

from wgmesh_agent.gossip.memberlist.node_table import NodeRecord
from wgmesh_agent.gossip.wire.endpoint import Endpoint


class MembershipDelegate(Protocol):
    """Notified of each change in the table, after it was applied."""

    def node_joined(self, record: NodeRecord, now: float) -> None:
        """A node is alive that was unknown, dead or left."""

    def node_updated(self, record: NodeRecord, now: float) -> None:
        """A live node has other metadata."""

    def node_left(self, record: NodeRecord, now: float) -> None:
        """A node is dead or left."""

    def node_forgotten(self, record: NodeRecord, now: float) -> None:
        """A node was evicted from the table."""

    def name_conflict(self, record: NodeRecord, claimant: Endpoint, now: float) -> None:
        """A node at `claimant` claims the name of `record`, which has another address."""


class SerfDelegate(MembershipDelegate, Protocol):
    """Everything that serf provides to memberlist."""

    def user_message(self, payload: bytes, source: Endpoint | None, now: float) -> None:
        """A serf message was received from `source` (port 0: over a stream; None: unknown)."""

    def local_state(self) -> bytes:
        """Returns the user state for a push-pull."""

    def merge_remote_state(
        self, state: bytes, *, join: bool, now: float, source: Endpoint | None = None
    ) -> None:
        """Merges the user state of the push-pull of a peer at `source`; `join` if either side is joining by it."""

    def ack_payload(self) -> bytes:
        """Returns the payload of this node's ACKs."""

    def ping_completed(self, record: NodeRecord, rtt_seconds: float, payload: bytes) -> None:
        """A direct ping was acknowledged in time."""
