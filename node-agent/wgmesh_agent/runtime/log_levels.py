"""Log verbosity and log format."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class Verbosity(IntEnum):
    """DEFAULT shows warnings and errors, VERBOSE (`-v`) also regular events, DEBUG (`-d`) everything."""

    DEFAULT = 0
    VERBOSE = 1
    DEBUG = 2
