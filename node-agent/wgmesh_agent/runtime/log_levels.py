"""What is logged, and in which form."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class Verbosity(IntEnum):
    """DEFAULT shows warnings and errors, VERBOSE (`-v`) what happens too, DEBUG (`-d`) everything."""

    DEFAULT = 0
    VERBOSE = 1
    DEBUG = 2
