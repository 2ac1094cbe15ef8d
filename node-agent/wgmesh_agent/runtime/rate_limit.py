"""Rate limit with bursts, per key: one token bucket each."""

from __future__ import annotations


class RateLimit:
    """Keeps the buckets of the `most_keys` most recent keys; time is monotonic seconds."""

    def __init__(self, a_second: float, at_once: float, most_keys: int = 1024) -> None:
        self._a_second = a_second
        self._at_once = at_once
        self._most_keys = most_keys
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, key: str, now: float) -> bool:
        """Takes one token from the bucket of `key`; False if it is empty."""
        left, since = self._left.pop(key, (self._at_once, now))
        left = min(self._at_once, left + (now - since) * self._a_second)
        taken = left >= 1.0
        self._left[key] = (left - 1.0 if taken else left, now)
        if len(self._left) > self._most_keys:
            del self._left[next(iter(self._left))]
        return taken
