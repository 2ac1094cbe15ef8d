"""When each of several logs first contains a text: our logs and serf's are polled alike, every two milliseconds."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path

from tests.bench.measurement import CannotRun

LOOK_SECONDS = 0.002


class LogWatch:
    """Reads on from the end of each log as it is now."""

    def __init__(self, logs: Mapping[str, Path]) -> None:
        self._files = {name: path.open("rb") for name, path in logs.items()}
        for file in self._files.values():
            file.seek(0, 2)

    def __enter__(self) -> LogWatch:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def first(self, pattern: str, seconds: float, every: float = LOOK_SECONDS) -> dict[str, float]:
        """When each log has shown `pattern`, in monotonic seconds; looks each `every` so many.

        Raises:
            CannotRun: one did not within `seconds`.
        """
        wanted = re.compile(pattern.encode())
        seen: dict[str, float] = {}
        text = dict.fromkeys(self._files, b"")
        deadline = time.monotonic() + seconds
        while len(seen) < len(self._files):
            for name, file in self._files.items():
                if name in seen or not (more := file.read()):
                    continue
                text[name] += more
                if wanted.search(text[name]):
                    seen[name] = time.monotonic()
            if time.monotonic() > deadline:
                silent = ", ".join(sorted(set(self._files) - set(seen)))
                raise CannotRun(f"no {pattern!r} within {seconds:g} s in the log of {silent}")
            time.sleep(every)
        return seen
