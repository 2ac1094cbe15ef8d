"""Counts and logs of rejected units of input, by border and reason.

The liveness probe returns the counts. The log is bounded: other parties determine how much is rejected.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from wgmesh_api.fields import UnreadableObject
from wgmesh_api.values import UnusableValue
from wgmesh_operator.clock import Clock
from wgmesh_operator.decisions.faults import Border, Fault

log = logging.getLogger(__name__)
WINDOW_SECONDS = 60.0
LINES_A_WINDOW = 10
"""Of each border."""


class Rejections:
    """Counted from one thread; `counts` may be read from any."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: Counter[tuple[Border, str]] = Counter()
        self._windows: dict[Border, tuple[float, int]] = {}

    def count(self, fault: Fault) -> None:
        """Counts one rejected unit under its border and the type of its exception, and logs it."""
        reason = type(fault.error).__name__
        self._counts[(fault.border, reason)] += 1
        began, lines = self._windows.get(fault.border, (self._clock.monotonic(), 0))
        if self._clock.monotonic() - began >= WINDOW_SECONDS:
            if lines > LINES_A_WINDOW:
                log.warning("%s rejected: %d more in the last minute", fault.border, lines - LINES_A_WINDOW)
            began, lines = self._clock.monotonic(), 0
        self._windows[fault.border] = (began, lines + 1)
        if lines < LINES_A_WINDOW:
            # a foreseen one explains itself in its sentence
            is_foreseen = isinstance(fault.error, UnreadableObject | UnusableValue)
            trace = None if is_foreseen else fault.error
            log.warning("%s rejected: %s", fault.border, fault, exc_info=trace)

    @contextmanager
    def fence(
        self, border: Border, subject: str, *, passing: tuple[type[Exception], ...] = ()
    ) -> Iterator[None]:
        """The context for one unit: an exception raised inside is counted, logged and swallowed.

        Args:
            border: of the unit.
            subject: the object at fault.
            passing: exceptions that are not the unit's fault, and leave the context.
        """
        try:
            yield
        except Exception as error:
            if isinstance(error, passing):
                raise
            self.count(Fault(border, subject, error))

    def counts(self) -> Mapping[str, int]:
        """Number of units rejected since the start, as `border: reason`."""
        # a copy at once: the probe's thread reads it
        return {f"{border}: {reason}": count for (border, reason), count in self._counts.copy().items()}
