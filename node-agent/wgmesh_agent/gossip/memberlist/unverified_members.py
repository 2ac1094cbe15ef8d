"""Members that nobody vouches for: how many, for how long, and whether others are told of them.

Any member can invent members, and each is probed, told and exchanged like all others until it goes. Two rules end
that: whom this node knows only because another went for it is not passed on, and nobody is for longer than a minute.
Otherwise they would come back, for ever, from those that still have them to those that have just forgotten them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wgmesh_agent.gossip.memberlist.node_table import NodeRecord, NodeTable
from wgmesh_agent.gossip.memberlist.senders import Speakers

STRANGER_SECONDS = 300.0
"""An admission record comes within seconds, and within a minute where members are invented without end."""
TOLD_SECONDS = 60.0
"""Of one that never answered, from when it was first heard of."""
FORGOTTEN_AT_ONCE = 512
"""In one step, which holds the event loop for some milliseconds."""


@dataclass(frozen=True, slots=True)
class _Stranger:
    """`since` is when it was first heard of, or last found to have answered; `told`, whether there was room for it."""

    record: NodeRecord
    since: float
    told: bool


class Strangers:
    """Those whom nobody vouched for when they were first heard of, the longest known first."""

    def __init__(self, most: int, table: NodeTable, speakers: Speakers) -> None:
        self._most = most
        self._table = table
        self._speakers = speakers
        self._known: dict[str, _Stranger] = {}

    def __len__(self) -> int:
        return len(self._known)

    def add(self, record: NodeRecord, now: float) -> NodeRecord | None:
        """Keeps one more. Whoever goes for it, the longest known, is to be forgotten."""
        is_room = len(self._known) < self._most
        oldest = None if is_room else self._known.pop(next(iter(self._known))).record
        self._known[record.name] = _Stranger(record, now, is_room)
        return oldest if oldest is not None and self._is_stranger_still(oldest) else None

    def expire(self, now: float) -> Iterator[NodeRecord]:
        """Those that go with time are to be forgotten: whom still nobody vouches for, and that never answered."""
        for _ in range(min(len(self._known), FORGOTTEN_AT_ONCE)):
            stranger = next(iter(self._known.values()))
            record = stranger.record
            if now < stranger.since + STRANGER_SECONDS:
                break
            del self._known[record.name]
            if not self._is_stranger_still(record):
                continue
            if record.answered > stranger.since:
                self._known[record.name] = _Stranger(record, now, stranger.told)
            else:
                yield record

    def is_told(self, record: NodeRecord, now: float) -> bool:
        """Whether other members are to hear of it from this one."""
        stranger = self._known.get(record.name)
        if stranger is None or record.answered > stranger.since:
            return True
        return (stranger.told and now < stranger.since + TOLD_SECONDS) or not self._is_stranger_still(record)

    def _is_stranger_still(self, record: NodeRecord) -> bool:
        """Whoever is vouched for by now, or is another's namesake, is none."""
        return self._table.get(record.name) is record and self._speakers.is_stranger(record.name)
