"""Reconciles the ledger with gossip's members every minute: binds those that were missed, removes those absent for too
long.
"""

from __future__ import annotations

import asyncio

from wgmesh_agent.mesh.membership.tracker import MembershipTracker
from wgmesh_agent.runtime.change_signal import Signal

REFRESH_SECONDS = 60.0


class MemberRefresh:
    """The periodic reconciliation."""

    def __init__(self, tracker: MembershipTracker, changes: Signal) -> None:
        self._tracker = tracker
        self._changes = changes

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await self._tracker.refresh()
            self._changes.notify()
