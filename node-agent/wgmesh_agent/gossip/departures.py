"""Leaving gracefully: the intent, then dead-from-self, then a moment to let it spread (gossip-wire §8.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .config import SerfConfig
from .timers import Timer, Timers

Say = Callable[[Callable[[], None], float], None]
"""Queue one goodbye; call back once it was sent often enough."""


class Departure:
    """Runs the goodbyes one after the other; each is given up after the broadcast timeout."""

    def __init__(
        self, config: SerfConfig, timers: Timers, steps: Sequence[Say], finished: Callable[[], None]
    ) -> None:
        self._timeout_seconds = config.broadcast_timeout_seconds
        self._linger_seconds = config.leave_propagate_seconds
        self._timers = timers
        self._steps = list(steps)
        self._finished = finished
        self._timer: Timer | None = None

    def begin(self, now: float) -> None:
        """Say the first goodbye."""
        self._next(now)

    def _next(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._steps:
            self._timers.at(now + self._linger_seconds, lambda _now: self._finished())
            return
        step = self._steps.pop(0)
        self._timer = timer = self._timers.at(now + self._timeout_seconds, self._next)

        def said() -> None:
            # Called while a datagram is being filled: go on from the timers, not in the middle of that.
            timer.cancel()
            self._timer = self._timers.at(now, self._next)

        step(said, now)
