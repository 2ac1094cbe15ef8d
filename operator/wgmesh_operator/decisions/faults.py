"""Fences of the operator: the units of input at each border, and the exceptions of handling one.

Other parties write what the operator reads. Libraries raise more exceptions than any list foresees (cryptography's
`UnsupportedGeneralNameType` is not a `ValueError`), so any exception in handling one unit rejects that unit only.
Decisions collect faults; the controller counts and logs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

MESSAGE_LIMIT = 300


class Border(StrEnum):
    """Kind of units; a name for logs and counts."""

    OBJECT = "object"
    """An object of a list or of a response, as the cache decodes it."""
    WATCH = "watch event"
    LIST = "list"
    """A full list of one kind, or a sweep."""
    SERVICE_CIDR = "service CIDR"
    REQUEST = "signing request"
    MEMBER = "member"
    """A WgMeshNode in a pass: its address, role and routes."""
    EXTERNAL_STATUS = "external status"
    BUNDLE = "join bundle"
    PASS = "pass"  # noqa: S105 - not a password
    """A mesh's pass."""
    ACTION = "action"
    """A call of the API server."""
    LOOP = "loop"
    """A turn of the controller's loop."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One rejected unit. `subject` is the object at fault."""

    border: Border
    subject: str
    error: Exception

    def __str__(self) -> str:
        return f"{self.subject}: {explained(self.error)}"


@dataclass(slots=True)
class Unit:
    """One unit; `error` is the exception of handling it."""

    error: Exception | None = None


class Faults:
    """Collects the faults of one pass."""

    def __init__(self) -> None:
        self.found: list[Fault] = []

    @contextmanager
    def fence(self, border: Border, subject: str) -> Iterator[Unit]:
        """The context for one unit: an exception raised inside is collected and swallowed."""
        unit = Unit()
        try:
            yield unit
        except Exception as error:
            unit.error = error
            self.found.append(Fault(border, subject, error))


def explained(error: Exception) -> str:
    """The error's type and the start of its text: type alone is too general, text alone may be empty."""
    return f"{type(error).__name__}: {error}"[:MESSAGE_LIMIT]
