"""How a session is to end: requested by components, carried out by the session."""

from __future__ import annotations

import asyncio
import enum

from wgmesh_agent.agent.session_start import SessionStart


class SessionOutcome(enum.Enum):
    """How a session ends."""

    STOP = "stop"  # the agent stops, the member stays
    LEFT = "left"  # the member left
    RESTARTED = "moved"  # joined again with other facts: the next session runs with them


class SessionEnd:
    """The first outcome counts.

    Attributes:
        outcome: done when the session is to end.
        leave_requested: set when this node is to leave the mesh.
        next_start: start of the next session, after RESTARTED.
    """

    def __init__(self) -> None:
        self.outcome: asyncio.Future[SessionOutcome] = asyncio.get_running_loop().create_future()
        self.leave_requested = asyncio.Event()
        self.next_start: SessionStart | None = None

    def restart_with(self, start: SessionStart) -> None:
        """Ends the session; the next one starts with `start`, on the same interface."""
        self.next_start = start
        self.end(SessionOutcome.RESTARTED)

    def end(self, outcome: SessionOutcome) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    @property
    def has_left(self) -> bool:
        return self.outcome.done() and self.outcome.result() is SessionOutcome.LEFT
