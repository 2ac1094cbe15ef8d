"""Graceful leave: the intent, then dead-from-self, then a delay for their propagation (gossip-wire §8.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wgmesh_agent.gossip.memberlist.config import SerfConfig
from wgmesh_agent.gossip.memberlist.timers import Timer, Timers

POLL_INTERVAL_SECONDS = 0.2

SendFarewell = Callable[[Callable[[], None], float], None]
"""Queues one leave message; calls back once it was sent often enough."""


class GracefulLeave:
    """Sends the leave messages one after the other; each ends after the broadcast timeout, or once no member is
    reachable.

    When all members leave at once, as at a mesh's end, the last ones have no recipients.
    """

    def __init__(
        self,
        config: SerfConfig,
        timers: Timers,
        steps: Sequence[SendFarewell],
        anybody_listens: Callable[[], bool],
        finished: Callable[[], None],
    ) -> None:
        self._timeout_seconds = config.broadcast_timeout_seconds
        self._linger_seconds = config.leave_propagate_seconds
        self._timers = timers
        self._steps = list(steps)
        self._anybody_listens = anybody_listens
        self._finished = finished
        self._timer: Timer | None = None

    def begin(self, now: float) -> None:
        """Sends the first leave message."""
        self._next(now)

    def _next(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._steps:
            linger = self._linger_seconds if self._anybody_listens() else 0.0
            self._timers.at(now + linger, lambda _now: self._finished())
            return
        step = self._steps.pop(0)
        remaining = len(self._steps)
        self._look_again(now, now + self._timeout_seconds)

        def said() -> None:
            if len(self._steps) != remaining:  # already ended
                return
            if self._timer is not None:
                self._timer.cancel()
            # Called while a datagram is being filled: continue from the timers, not during that.
            self._timer = self._timers.at(now, self._next)

        step(said, now)

    def _look_again(self, now: float, give_up_at: float) -> None:
        def look(now: float) -> None:
            if now >= give_up_at or not self._anybody_listens():
                self._next(now)
            else:
                self._look_again(now, give_up_at)

        self._timer = self._timers.at(min(give_up_at, now + POLL_INTERVAL_SECONDS), look)
