"""Logs a fault once, however often it recurs."""

from __future__ import annotations

import logging


class LogOnChange:
    """The last warning of one kind: the same one again is not logged."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._last = ""

    def warning(self, sentence: str) -> None:
        if sentence != self._last:
            self._log.warning("%s", sentence)
        self._last = sentence
