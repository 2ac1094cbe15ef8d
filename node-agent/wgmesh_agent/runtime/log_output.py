"""Log output that never fails or blocks: a line that cannot be written is lost and counted.

The reader of standard error may exit (`wgmesh join … | tee log`), stop reading, or write to a full disk. None of
these is a reason for the agent to fail, and a write to a full pipe would block the event loop: what does not fit is
lost, too.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections import Counter
from typing import TextIO

ATOMIC_BYTES = 4096
"""A pipe that polls as writable accepts this many bytes without blocking (PIPE_BUF on Linux, pipe(7))."""


_lost = Counter[str]()


def lost_lines() -> int:
    """Returns the number of lost writes of this process."""
    return _lost.total()


class LogOutput:
    """A text stream for log lines: `write` never raises and never waits."""

    def __init__(self, stream: TextIO) -> None:
        """`stream`: any text stream; one with a descriptor is written to directly, bypassing its buffer."""
        self._stream = stream
        self._descriptor = _descriptor_of(stream)

    def write(self, text: str) -> int:
        """Writes complete lines, or counts them as lost."""
        if not self._written(text):
            _lost["lines"] += 1
        return len(text)

    def flush(self) -> None:
        """`write` buffers nothing."""

    def isatty(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return self._stream.isatty()
        return False

    def _written(self, text: str) -> bool:
        try:
            if self._descriptor is None:
                self._stream.write(text)
                return True
            return _write_without_blocking(self._descriptor, text.encode("utf-8", "backslashreplace"))
        except (OSError, ValueError):
            return False


def _descriptor_of(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (AttributeError, OSError, ValueError):
        return None


def _write_without_blocking(descriptor: int, data: bytes) -> bool:
    """Returns whether everything was written. Raises OSError."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    while data:
        events = poll.poll(0)
        if not events or not events[0][1] & select.POLLOUT:
            return False
        data = data[os.write(descriptor, data[:ATOMIC_BYTES]) :]
    return True
