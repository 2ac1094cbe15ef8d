"""Validation of values in custom resources: missing or malformed values read as absent, or empty."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from wgmesh_api.values import (
    IPAddress,
    IPNetwork,
    UnusableValue,
    bounded,
    parse_address,
    parse_moment,
    parse_network,
    parse_unix_time,
)

__all__ = [
    "IPAddress",
    "IPNetwork",
    "UnreadableObject",
    "read_address",
    "read_duration",
    "read_int",
    "read_list",
    "read_mapping",
    "read_network",
    "read_required",
    "read_text",
    "read_time",
    "read_unix_time",
    "write_time",
]
MAX_DURATION_SECONDS = 100 * 366 * 86400.0
"""A century: a longer duration cannot be added to a time, and means indefinitely."""
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class UnreadableObject(ValueError):
    """An object lacks a required part: name, uid, or the names in its spec."""


def read_required(mapping: Mapping[str, Any], key: str) -> str:
    value = mapping.get(key)
    if not isinstance(value, str) or not value:
        raise UnreadableObject(f"the object has no {key}")
    return value


def read_mapping(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = mapping.get(key)
    return value if isinstance(value, Mapping) else {}


def read_list(mapping: Mapping[str, Any], key: str) -> list[Any]:
    value = mapping.get(key)
    return value if isinstance(value, list) else []


def read_text(mapping: Mapping[str, Any], key: str) -> str:
    value = mapping.get(key)
    return value if isinstance(value, str) else ""


def read_int(mapping: Mapping[str, Any], key: str) -> int | None:
    """Returns the integer; None if it is not a 64-bit integer."""
    value = mapping.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if -(1 << 63) <= value < 1 << 63 else None


def read_network(text: object) -> IPNetwork | None:
    """Returns the network; None if routes cannot be set for it."""
    try:
        return parse_network(text)
    except UnusableValue:
        return None


def read_time(text: object) -> datetime | None:
    """Returns an RFC 3339 time, aware and in UTC; None if it is not a time between 1970 and 9000."""
    try:
        return parse_moment(text)
    except UnusableValue:
        return None


def read_unix_time(seconds: object) -> datetime | None:
    """A time in seconds since 1970, aware and in UTC; None if it is 0, or not a time before 9000."""
    try:
        return parse_unix_time(seconds) if seconds != 0 else None
    except UnusableValue:
        return None


def write_time(moment: datetime) -> str:
    """Formats `moment` (aware) as RFC 3339 in UTC, in whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_address(text: object) -> IPAddress | None:
    """Returns the address; None if packets cannot be sent to it."""
    try:
        return parse_address(text)
    except UnusableValue:
        return None


def read_duration(text: str) -> float:
    """Returns the seconds of a Go duration such as `720h` or `1h30m`, at most MAX_DURATION_SECONDS. Raises
    ValueError."""
    total, number, rest = 0.0, "", text
    while rest:
        if rest[0].isdigit() or rest[0] == ".":
            number, rest = number + rest[0], rest[1:]
            continue
        unit = "ms" if rest.startswith("ms") else rest[0]
        if unit not in _UNIT_SECONDS or not number:
            break
        total += float(number) * _UNIT_SECONDS[unit]
        number, rest = "", rest[len(unit) :]
    if rest or number or not text:
        raise ValueError(f"{text!r} is not a duration: write one such as 720h or 90m")
    try:
        return bounded(total, 0.0, MAX_DURATION_SECONDS)
    except UnusableValue as error:
        raise ValueError(f"{text[:40]!r} is too long a duration: write at most 100 years") from error
