"""Debounces status writes: at once if a condition changed or members need it, else at most once in
MIN_WRITE_INTERVAL.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from wgmesh_api.fields import read_list, read_text

MIN_WRITE_INTERVAL = timedelta(seconds=3)
_URGENT_FIELDS = ("observedGeneration", "bootstraps", "trustBundle", "creationTime")


def next_write_at(
    old: Mapping[str, Any], new: Mapping[str, Any], last_written: datetime | None, now: datetime
) -> datetime | None:
    """When to write `new` over `old`: `now`, or later, or None if they are equal."""
    if old == new:
        return None
    if last_written is None or is_urgent(old, new):
        return now
    return max(now, last_written + MIN_WRITE_INTERVAL)


def is_urgent(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return _condition_states(old) != _condition_states(new) or any(
        old.get(field) != new.get(field) for field in _URGENT_FIELDS
    )


def _condition_states(status: Mapping[str, Any]) -> set[tuple[str, str, str]]:
    conditions = [one for one in read_list(status, "conditions") if isinstance(one, Mapping)]
    return {(read_text(c, "type"), read_text(c, "status"), read_text(c, "reason")) for c in conditions}
