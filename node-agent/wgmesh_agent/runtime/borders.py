"""Borders of the process: an error boundary around each unit of untrusted input.

A unit is a datagram, a message in it, a query, an answer, an API object, a file, a line of a subprocess. Any
exception from handling it is counted by border and reason, logged at a bounded rate, and affects that one unit only:
the loop that handles units continues. A border is declared once, at module level, like a logger; counters are per
process, across all of its sessions, because a Prometheus counter must not decrease.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import structlog

from wgmesh_agent.runtime.log_limit import LogLimit

log = structlog.get_logger()
MAX_SENDER_CHARACTERS = 64

_declared: dict[str, Border] = {}
_rejected: Counter[tuple[str, str]] = Counter()


def _now() -> float:
    return time.monotonic()


_limit = LogLimit(_now)


class Border:
    """One border; created by `border`."""

    __slots__ = ("description", "name")

    def __init__(self, name: str, description: str) -> None:
        self.name = name
        self.description = description

    def fence(self, sender: object = "", *, passing: tuple[type[Exception], ...] = ()) -> Fence:
        """Returns the context for handling one unit: an exception raised inside rejects the unit and is suppressed.

        Args:
            sender: source of the unit, if known; untrusted text is truncated and escaped in the log.
            passing: exceptions that do not concern the unit, and leave the context.
        """
        return Fence(self, sender, passing)

    def reject(self, reason: str, sender: object = "", why: object = "") -> None:
        """Counts one unit as rejected for a foreseen reason.

        Args:
            reason: a short word from a fixed set, because it becomes a label of a metric.
            sender: as for `fence`.
            why: one sentence.
        """
        self._count(reason, sender, str(why), None)

    def _count(self, reason: str, sender: object, why: str, error: BaseException | None) -> None:
        _rejected[(self.name, reason)] += 1
        who = str(sender)[:MAX_SENDER_CHARACTERS]
        permission = _limit.ask(f"{self.name}: {reason}", who)
        if permission.suppressed:
            log.warning(
                "rejected input suppressed", border=self.name, reason=reason, how_many=permission.suppressed
            )
        if permission.granted:
            log.warning(
                "input rejected", border=self.name, reason=reason, sender=who, error=why, exc_info=error
            )


class Fence:
    """The handling of one unit.

    Attributes:
        rejected: the exception that ended it; None if there was none.
    """

    __slots__ = ("_border", "_passing", "_sender", "rejected")

    def __init__(self, border: Border, sender: object, passing: tuple[type[Exception], ...]) -> None:
        self._border = border
        self._sender = sender
        self._passing = passing
        self.rejected: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        # CancelledError, KeyboardInterrupt and SystemExit are not Exceptions: they concern the task.
        if not isinstance(error, Exception) or isinstance(error, self._passing):
            return False
        self.rejected = error
        self._border._count(type(error).__name__, self._sender, str(error)[:300], error)
        return True


def border(name: str, description: str) -> Border:
    """Declares a border.

    Args:
        name: short, lower case, unique; a label of `wgmesh_rejected_input_total`.
        description: kind of input, and its source.
    """
    if name in _declared:
        raise ValueError(f"the border {name} is declared twice")
    _declared[name] = Border(name, description)
    return _declared[name]


def declared() -> Mapping[str, Border]:
    """Returns all borders of the modules that have been imported, by name."""
    return dict(_declared)


def rejected() -> Mapping[tuple[str, str], int]:
    """Returns the number of rejected units since the process started, by border and reason."""
    return dict(_rejected)
