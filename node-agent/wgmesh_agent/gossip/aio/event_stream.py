"""Bounded event stream from the gossip node to its consumer, in order."""

from __future__ import annotations

import asyncio
from collections import deque

from wgmesh_agent.gossip.memberlist.counters import Counters
from wgmesh_agent.gossip.serf.events import SerfEvent, UserEventReceived


class EventStream:
    """Notifications for one consumer: `async for`, `get`, or `get_nowait`.

    Bounded. Above `user_events` unread user events, new ones are lost; above `others`, the oldest of the rest are
    lost, which is harmless for a consumer that re-reads the members. Both losses are counted.
    """

    def __init__(self, counters: Counters, user_events: int, others: int) -> None:
        self._counters = counters
        self._limits = {True: user_events, False: others}
        self._pending: deque[SerfEvent] = deque()
        self._unread = {True: 0, False: 0}
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._pending)

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> SerfEvent:
        return await self.get()

    async def get(self) -> SerfEvent:
        """Returns the next notification; waits if there is none."""
        while not self._pending:
            self._arrived.clear()
            await self._arrived.wait()
        return self.get_nowait()

    def get_nowait(self) -> SerfEvent:
        """Returns the next notification. Raises IndexError if there is none."""
        notification = self._pending.popleft()
        self._unread[isinstance(notification, UserEventReceived)] -= 1
        return notification

    def put(self, notification: SerfEvent) -> None:
        """Adds one, within the bounds."""
        is_user_event = isinstance(notification, UserEventReceived)
        if self._unread[is_user_event] >= self._limits[is_user_event]:
            self._counters.refuse("notification: not read in time")
            if is_user_event:
                return
            oldest = next(old for old in self._pending if not isinstance(old, UserEventReceived))
            self._pending.remove(oldest)
            self._unread[False] -= 1
        self._pending.append(notification)
        self._unread[is_user_event] += 1
        self._arrived.set()
