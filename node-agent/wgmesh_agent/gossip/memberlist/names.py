"""Valid names of gossip members.

Stricter than the wire format: each consumer of a name (protobuf, JSON, log, table) can handle the names accepted
here.
"""

from __future__ import annotations

from typing import Final

MAX_NAME_BYTES: Final = 128
"""As serf's own rule for node names."""


def is_member_name(name: str) -> bool:
    """1 to 128 bytes of UTF-8 without control characters."""
    if not 0 < len(name) <= MAX_NAME_BYTES or not name.isprintable():
        return False
    return name.isascii() or (is_text(name) and len(name.encode()) <= MAX_NAME_BYTES)


def is_text(value: str) -> bool:
    """Returns whether a string from the wire was UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
