"""Join and leave intents that arrive before their member does (gossip-wire §8.3)."""

from __future__ import annotations

from dataclasses import dataclass

from wgmesh_agent.gossip.memberlist.quota import Quota

_PART_OF_ONE = 4


@dataclass(frozen=True, slots=True)
class Intent:
    """The latest intent for an unknown node."""

    leaving: bool
    ltime: int
    heard: float
    speaker: str


class IntentBuffer:
    """One intent per node, the highest Lamport time wins.

    They expire; at most `max_entries` are kept, and a quarter of those from one sender. Names are bounded on
    receipt.
    """

    def __init__(self, keep_seconds: float, max_entries: int) -> None:
        self._keep_seconds = keep_seconds
        self._quota = Quota(max_entries, max(1, max_entries // _PART_OF_ONE))
        self._intents: dict[str, Intent] = {}

    def __len__(self) -> int:
        return len(self._intents)

    def add(self, node: str, *, leaving: bool, ltime: int, now: float, speaker: str = "") -> bool:
        """Stores an intent sent by `speaker`; False if a later one is known or there is no space."""
        self.expire(now)
        known = self._intents.get(node)
        if known is not None:
            if ltime <= known.ltime:
                return False
            self._forget(node)
        if not self._quota.take(speaker, 1):
            if known is not None and self._quota.take(known.speaker, 1):
                self._intents[node] = known
            return False
        self._intents[node] = Intent(leaving, ltime, now, speaker)
        return True

    def take(self, node: str, now: float) -> Intent | None:
        """Returns the intent for a node that has just appeared, once."""
        intent = self._forget(node)
        return intent if intent is not None and now - intent.heard <= self._keep_seconds else None

    def expire(self, now: float) -> None:
        """Removes expired entries, which are in order of arrival."""
        for node, intent in list(self._intents.items()) if self._is_stale(now) else ():
            if now - intent.heard <= self._keep_seconds:
                return
            self._forget(node)

    def _is_stale(self, now: float) -> bool:
        oldest = next(iter(self._intents.values()), None)
        return oldest is not None and now - oldest.heard > self._keep_seconds

    def _forget(self, node: str) -> Intent | None:
        intent = self._intents.pop(node, None)
        if intent is not None:
            self._quota.give_back(intent.speaker, 1)
        return intent
