"""Logs a fault when it begins and when its reason changes, not at each attempt."""

from __future__ import annotations


class LogOnChange:
    """One operation that fails and recovers. Content and level of the log line are the caller's.

    Attributes:
        why: the reason of the present fault; empty: there is none.
    """

    __slots__ = ("why",)

    def __init__(self) -> None:
        self.why = ""

    def is_new(self, why: str) -> bool:
        """Records the result of an attempt; empty: it succeeded. Returns whether a fault is to be logged."""
        before, self.why = self.why, why
        return why not in ("", before)

    def is_over(self) -> bool:
        """Records a success. Returns whether it ends a fault, for callers that log that."""
        before, self.why = self.why, ""
        return before != ""
