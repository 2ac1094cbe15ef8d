"""Join and leave intents that arrive before their member does (gossip-wire §8.3)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Intent:
    """The latest intent heard about an unknown node."""

    leaving: bool
    ltime: int
    heard: float


class IntentBuffer:
    """One intent a node, the highest Lamport time wins; they expire, and at most `max_entries` are kept."""

    def __init__(self, keep_seconds: float, max_entries: int) -> None:
        self._keep_seconds = keep_seconds
        self._max_entries = max_entries
        self._intents: dict[str, Intent] = {}

    def __len__(self) -> int:
        return len(self._intents)

    def add(self, node: str, *, leaving: bool, ltime: int, now: float) -> bool:
        """Keep an intent; False if a later one is known or there is no room."""
        known = self._intents.get(node)
        if known is not None and ltime <= known.ltime:
            return False
        if known is None and len(self._intents) >= self._max_entries:
            self.expire(now)
            if len(self._intents) >= self._max_entries:
                return False
        self._intents.pop(node, None)
        self._intents[node] = Intent(leaving, ltime, now)
        return True

    def take(self, node: str, now: float) -> Intent | None:
        """The intent for a node that has just appeared, once."""
        intent = self._intents.pop(node, None)
        return intent if intent is not None and now - intent.heard <= self._keep_seconds else None

    def expire(self, now: float) -> None:
        """Forget what is too old; entries lie in the order heard."""
        for node, intent in list(self._intents.items()):
            if now - intent.heard <= self._keep_seconds:
                return
            del self._intents[node]
