"""Whose admission records are missing: who is not bound for want of one, and when to ask for it next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.runtime.backoff import Backoff

BACKOFF = Backoff(first_seconds=1.0, longest_seconds=60.0)
MAX_MISSING = 1024
MAX_ATTEMPTS = 8
REPORT_MISSING_AFTER = 2
MAX_CONCURRENT_QUERIES = 16


class Jitter(Protocol):
    """Spreads a pause, so that not all members ask at once."""

    def __call__(self, seconds: float) -> float:
        """Seconds."""


@dataclass(slots=True)
class MissingRecord:
    """A claim that waits for its record; `due` is monotonic seconds."""

    claim: Claim
    asked: int = 0
    due: float = 0.0
    retry_now: bool = False


class Notified(Protocol):
    """Told that something is new."""

    def notify(self) -> None:
        """Something is."""


class MissingRecords:
    """At most MAX_MISSING; `now` is monotonic seconds. `news` is told when there is more to ask."""

    def __init__(self, news: Notified) -> None:
        self._news = news
        self._missing: dict[str, MissingRecord] = {}

    def __contains__(self, node: str) -> bool:
        return node in self._missing

    def add(self, claim: Claim) -> None:
        """A member is not bound for want of a record; the newest claim of a name counts."""
        if claim.node in self._missing:
            self._missing[claim.node].claim = claim
        elif claim.node and len(self._missing) < MAX_MISSING:
            self._missing[claim.node] = MissingRecord(claim)
            self._news.notify()

    def settled(self, node: str) -> None:
        """The member is bound, or has gone: what is still asked of it must not bind it again."""
        self._missing.pop(node, None)

    def retry_now(self) -> None:
        """A bootstrap node is back: it may know who was asked for in vain."""
        for missing in self._missing.values():
            missing.due, missing.retry_now = 0.0, True
        if self._missing:
            self._news.notify()

    def asked_in_vain(self) -> list[Claim]:
        """Whoever is not bound because nobody asked has shown a record."""
        return [missing.claim for missing in self._missing.values() if missing.asked]

    def is_crowded(self) -> bool:
        """Whether more members lack a record than are asked about at once."""
        return len(self._missing) > MAX_CONCURRENT_QUERIES

    def due(self, now: float) -> list[MissingRecord]:
        """Those to ask for now, the least asked for first."""
        return sorted((m for m in self._missing.values() if m.due <= now), key=lambda m: m.asked)

    def next_due(self, now: float) -> float:
        """Seconds until there is one to ask for, unless `news` comes before."""
        return min((m.due - now for m in self._missing.values()), default=BACKOFF.longest_seconds)

    def answered(self, missing: MissingRecord, now: float, jitter: Jitter, *, is_found: bool) -> bool:
        """It was asked for; whether that it was in vain is to be reported now."""
        missing.asked += 1
        missing.due = 0.0 if missing.retry_now else now + jitter(BACKOFF.seconds(missing.asked))
        if is_found or missing.asked > MAX_ATTEMPTS:
            # Whoever lives is heard of again, and asked for again.
            self._missing.pop(missing.claim.node, None)
        return not is_found and missing.asked == REPORT_MISSING_AFTER
