"""The memberlist file, written after changes for other programs on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from wgmesh_agent.gossip.serf.events import Member
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.runtime.atomic_file import write_atomically
from wgmesh_agent.runtime.borders import border
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.chunks import in_chunks
from wgmesh_agent.runtime.clock import Clock
from wgmesh_agent.runtime.debounced_writer import DebouncedWriter
from wgmesh_agent.state.memberlist_export import MemberRecord, render
from wgmesh_api.values import bounded

LISTED = border("listed member", "data of members as the memberlist file contains it")
MAX_MILLISECONDS = 1e9


class RoundTrips(Protocol):
    """Round-trip times by gossip's coordinates; `GossipNode` implements it."""

    def rtt(self, node: str, seen_from: str | None = None) -> float | None:
        """Seconds; None: unknown."""


def memberlist_file(
    changes: Signal, members: MemberView, gossip: RoundTrips, path: Path, clock: Clock
) -> DebouncedWriter:
    """Writes `path` after each change."""

    async def collect() -> Callable[[], None]:
        records: list[MemberRecord] = []

        def add(member: Member) -> None:
            with LISTED.fence(member.name):
                records.append(
                    MemberRecord(
                        name=member.name,
                        addr=str(member.address),
                        status=member.status.name.lower(),
                        rtt_ms=_milliseconds(gossip.rtt(member.name)),
                        tags=dict(member.tags),
                    )
                )

        await in_chunks(members.present(), add)
        return lambda: write_atomically(path, render(records, int(clock.unix())), mode=0o644)

    return DebouncedWriter(changes, collect, "memberlist file")


def _milliseconds(seconds: float | None) -> float | None:
    """Raises UnusableValue for a value that the file cannot contain."""
    return None if seconds is None else round(bounded(seconds * 1000, 0.0, MAX_MILLISECONDS), 3)
