"""Members without a binding: how many are kept, for how long, and whether they are rebroadcast.

Any member can invent members, and each is probed, gossiped and exchanged like all others until it expires. Two rules
bound that: a member that this node knows only because another was evicted for it is not rebroadcast, and none is
rebroadcast for longer than a minute. Otherwise they would circulate indefinitely, from nodes that still have them to
those that have just removed them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wgmesh_agent.gossip.memberlist.node_table import NodeRecord, NodeTable
from wgmesh_agent.gossip.memberlist.senders import Speakers

STRANGER_SECONDS = 300.0
"""An admission record arrives within seconds, and within a minute while members are invented without limit."""
TOLD_SECONDS = 60.0
"""For one that never answered, from when it first appeared."""
FORGOTTEN_AT_ONCE = 512
"""In one step, which blocks the event loop for some milliseconds."""


@dataclass(frozen=True, slots=True)
class _Stranger:
    """`since` is when it first appeared, or was last found to have answered; `told`, whether there was space for it."""

    record: NodeRecord
    since: float
    told: bool


class Strangers:
    """Members without a binding when they first appeared, the longest known first."""

    def __init__(self, most: int, table: NodeTable, speakers: Speakers) -> None:
        self._most = most
        self._table = table
        self._speakers = speakers
        self._known: dict[str, _Stranger] = {}

    def __len__(self) -> int:
        return len(self._known)

    def add(self, record: NodeRecord, now: float) -> NodeRecord | None:
        """Adds one more. The longest known, which is evicted for it, must be removed."""
        is_room = len(self._known) < self._most
        oldest = None if is_room else self._known.pop(next(iter(self._known))).record
        self._known[record.name] = _Stranger(record, now, is_room)
        return oldest if oldest is not None and self._is_stranger_still(oldest) else None

    def expire(self, now: float) -> Iterator[NodeRecord]:
        """Returns those that have expired: still without a binding, and never answered."""
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
        """Returns whether this node rebroadcasts the member to others."""
        stranger = self._known.get(record.name)
        if stranger is None or record.answered > stranger.since:
            return True
        return (stranger.told and now < stranger.since + TOLD_SECONDS) or not self._is_stranger_still(record)

    def _is_stranger_still(self, record: NodeRecord) -> bool:
        """Members that are bound by now, or have another's name, no longer count."""
        return self._table.get(record.name) is record and self._speakers.is_stranger(record.name)
