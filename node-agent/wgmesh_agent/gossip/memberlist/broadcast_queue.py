"""The retransmit queue: each message is sent a bounded number of times, rarest-sent first.

Order of gossip-wire §7.3: fewest transmissions, then longest, then newest. Messages are in one sorted list per
transmission count, so a take is a few bisections and never a walk of the queue.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable

OVERHEAD_BYTES = 256
"""Approximate memory of a queued message in Python, besides its bytes."""


class Broadcast:
    """One queued message; `name` is the member it is about, if a newer message about it replaces this one."""

    __slots__ = ("message", "name", "on_finished", "order", "transmits")

    def __init__(
        self, message: bytes, name: str | None, on_finished: Callable[[], None] | None, age: int
    ) -> None:
        self.message = message
        self.name = name
        self.on_finished = on_finished
        self.order = (-len(message), -age)
        self.transmits = 0


_Entry = tuple[tuple[int, int], Broadcast]
"""All orders differ, so that messages themselves are never compared."""


class BroadcastQueue:
    """Messages waiting to be piggybacked or gossiped.

    Above `max_depth` messages, evaluated at each addition, or `max_bytes`, those sent most often are dropped. A
    message counts as its own bytes and `OVERHEAD_BYTES`.
    """

    def __init__(self, max_depth: Callable[[], int], max_bytes: float = math.inf) -> None:
        self._max_depth = max_depth
        self._max_bytes = max_bytes
        self._tiers: dict[int, list[_Entry]] = {}
        self._by_name: dict[str, Broadcast] = {}
        self._count = 0
        self._bytes = 0
        self._age = 0
        self.dropped = 0

    def __len__(self) -> int:
        return self._count

    def add(
        self, message: bytes, name: str | None = None, on_finished: Callable[[], None] | None = None
    ) -> None:
        """Queues `message`, replacing any other about `name`.

        `on_finished` is called after its last transmission, or when it was replaced or dropped.
        """
        if name is not None and (old := self._by_name.get(name)) is not None:
            self._remove(old)
            self._finish(old)
        self._age += 1
        broadcast = Broadcast(message, name, on_finished, self._age)
        if name is not None:
            self._by_name[name] = broadcast
        self._insert(broadcast)
        most = self._max_depth()
        while self._count > most or self._bytes > self._max_bytes:
            tier = self._tiers[max(self._tiers)]
            victim = tier[-1][1]
            self._remove(victim)
            self.dropped += 1
            self._finish(victim)

    def take(self, room: int, overhead: int, limit: int, most: int) -> list[bytes]:
        """Returns up to `most` messages that fit in `room` bytes with `overhead` each; counts one transmission.

        `limit` is the number of transmissions after which a message is dropped.
        """
        taken: list[Broadcast] = []
        for transmits in sorted(self._tiers):
            tier = self._tiers[transmits]
            while len(taken) < most and room > overhead:
                at = bisect_left(tier, ((overhead - room, -math.inf),))
                if at == len(tier):
                    break
                broadcast = tier[at][1]
                self._remove(broadcast)
                taken.append(broadcast)
                room -= overhead + len(broadcast.message)
                if transmits not in self._tiers:
                    break
        finished: list[Broadcast] = []
        for broadcast in taken:
            broadcast.transmits += 1
            if broadcast.transmits >= limit:
                finished.append(broadcast)
            else:
                if broadcast.name is not None:
                    self._by_name[broadcast.name] = broadcast
                self._insert(broadcast)
        for broadcast in finished:
            self._finish(broadcast)
        return [broadcast.message for broadcast in taken]

    def give_up(self, is_over: Callable[[str], bool]) -> None:
        """Drops waiting messages about members that others no longer need to learn of."""
        for name, broadcast in list(self._by_name.items()):
            if is_over(name):
                self._remove(broadcast)
                self._finish(broadcast)

    def _insert(self, broadcast: Broadcast) -> None:
        insort(self._tiers.setdefault(broadcast.transmits, []), (broadcast.order, broadcast))
        self._count += 1
        self._bytes += len(broadcast.message) + OVERHEAD_BYTES

    def _remove(self, broadcast: Broadcast) -> None:
        tier = self._tiers[broadcast.transmits]
        del tier[bisect_left(tier, (broadcast.order,))]
        if not tier:
            del self._tiers[broadcast.transmits]
        if broadcast.name is not None:
            del self._by_name[broadcast.name]
        self._count -= 1
        self._bytes -= len(broadcast.message) + OVERHEAD_BYTES

    @staticmethod
    def _finish(broadcast: Broadcast) -> None:
        if broadcast.on_finished is not None:
            broadcast.on_finished()
