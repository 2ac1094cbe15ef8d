"""Builds datagrams: messages first, then waiting broadcasts that fit beside them (gossip-wire §7.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from wgmesh_agent.gossip.memberlist.broadcast_queue import BroadcastQueue
from wgmesh_agent.gossip.memberlist.counters import Counters
from wgmesh_agent.gossip.wire.endpoint import Endpoint
from wgmesh_agent.gossip.wire.packet import PacketCodec

PART_OVERHEAD_BYTES = 2
MOST_PARTS = 127
"""Old Go peers misparse a compound of 128 parts or more (gossip-wire §2.4)."""


class Datagram(NamedTuple):
    """Bytes ready for the wire."""

    data: bytes
    endpoint: Endpoint


class Transmitter:
    """Collects outgoing datagrams; the queues of `sources` are used in their order.

    A source is a queue and a function that returns the present retransmit limit of its messages.
    """

    def __init__(self, codec: PacketCodec, datagram_bytes: int, counters: Counters) -> None:
        self._codec = codec
        self._counters = counters
        self._outbox: list[Datagram] = []
        self.sources: list[tuple[BroadcastQueue, Callable[[], int]]] = []
        self.room_bytes = codec.budget(datagram_bytes)

    @property
    def pending(self) -> bool:
        """Whether any broadcast waits."""
        return any(len(queue) for queue, _ in self.sources)

    def fits_queue(self, message: bytes) -> bool:
        """Returns whether a message can ever be sent by gossip."""
        return 0 < len(message) <= self.room_bytes - PART_OVERHEAD_BYTES

    def send(self, parts: list[bytes], endpoint: Endpoint, *, crc: bool = False) -> None:
        """Sends only these messages in one datagram."""
        data = self._codec.encode(parts, crc=crc)
        self._counters.datagrams_out += 1
        self._counters.bytes_out += len(data)
        self._outbox.append(Datagram(data, endpoint))

    def send_with_broadcasts(self, message: bytes, endpoint: Endpoint) -> None:
        """Sends a message, and broadcasts in the remaining space."""
        parts = [message]
        if self.pending:
            parts += self._fill(self.room_bytes - PART_OVERHEAD_BYTES - len(message), MOST_PARTS - 1)
        self.send(parts, endpoint)

    def gossip(self, endpoint: Endpoint, *, crc: bool) -> bool:
        """Sends a datagram of broadcasts only; False if none waits."""
        parts = self._fill(self.room_bytes, MOST_PARTS)
        if parts:
            self.send(parts, endpoint, crc=crc)
        return bool(parts)

    def take(self) -> list[Datagram]:
        """Returns the datagrams built since the last call."""
        taken, self._outbox = self._outbox, []
        return taken

    def _fill(self, room: int, most: int) -> list[bytes]:
        parts: list[bytes] = []
        for queue, limit in self.sources:
            if not queue:
                continue
            for message in queue.take(room, PART_OVERHEAD_BYTES, limit(), most - len(parts)):
                parts.append(message)
                room -= PART_OVERHEAD_BYTES + len(message)
        return parts
