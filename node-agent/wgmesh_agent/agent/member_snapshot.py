"""Member snapshot on disk: a restarting agent reads it, and depends on no response."""

from __future__ import annotations

from collections.abc import Callable

from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.local_node import LocalNode
from wgmesh_agent.mesh.membership.tracker import MembershipTracker
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.debounced_writer import DebouncedWriter, snapshot_interval_seconds
from wgmesh_agent.state.store import StateStore


def member_snapshot(
    changes: Signal, tracker: MembershipTracker, local: LocalNode, ledger: Ledger, store: StateStore
) -> DebouncedWriter:
    """Writes members and record after changes; in a large mesh less often."""

    async def collect() -> Callable[[], None]:
        await tracker.mark_alive_members()
        bindings = list(ledger)

        def write() -> None:
            local.persist()
            store.save_members(bindings)

        return write

    return DebouncedWriter(
        changes, collect, "member snapshot", lambda: snapshot_interval_seconds(len(ledger))
    )
