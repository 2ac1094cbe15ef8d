"""Missing admission records: the members not bound for lack of one, and when to query for it next."""

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
    """Jitter for a pause, so that not all members send queries at once."""

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
    """Notified of new claims."""

    def notify(self) -> None:
        """A claim is new."""


class MissingRecords:
    """At most MAX_MISSING claims; `now` is monotonic seconds. `news` is notified when there is another to query for."""

    def __init__(self, news: Notified) -> None:
        self._news = news
        self._missing: dict[str, MissingRecord] = {}

    def __contains__(self, node: str) -> bool:
        return node in self._missing

    def add(self, claim: Claim) -> None:
        """A member is not bound for lack of a record; the newest claim of a name counts."""
        if claim.node in self._missing:
            self._missing[claim.node].claim = claim
        elif claim.node and len(self._missing) < MAX_MISSING:
            self._missing[claim.node] = MissingRecord(claim)
            self._news.notify()

    def settled(self, node: str) -> None:
        """The member is bound, or was removed: a pending query must not bind it again."""
        self._missing.pop(node, None)

    def retry_now(self) -> None:
        """A bootstrap node is back: it may have the records that earlier queries did not find."""
        for missing in self._missing.values():
            missing.due, missing.retry_now = 0.0, True
        if self._missing:
            self._news.notify()

    def asked_in_vain(self) -> list[Claim]:
        """The claims whose record was not found by at least one query."""
        return [missing.claim for missing in self._missing.values() if missing.asked]

    def is_crowded(self) -> bool:
        """Whether more members lack a record than are queried for at once."""
        return len(self._missing) > MAX_CONCURRENT_QUERIES

    def due(self, now: float) -> list[MissingRecord]:
        """Those to query for now, the least queried first."""
        return sorted((m for m in self._missing.values() if m.due <= now), key=lambda m: m.asked)

    def next_due(self, now: float) -> float:
        """Seconds until a query is due, unless `news` comes first."""
        return min((m.due - now for m in self._missing.values()), default=BACKOFF.longest_seconds)

    def answered(self, missing: MissingRecord, now: float, jitter: Jitter, *, is_found: bool) -> bool:
        """A query was sent; returns whether to report now that it was unsuccessful."""
        missing.asked += 1
        missing.due = 0.0 if missing.retry_now else now + jitter(BACKOFF.seconds(missing.asked))
        if is_found or missing.asked > MAX_ATTEMPTS:
            # A live member is seen again, and queried for again.
            self._missing.pop(missing.claim.node, None)
        return not is_found and missing.asked == REPORT_MISSING_AFTER
