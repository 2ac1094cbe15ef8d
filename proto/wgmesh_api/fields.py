"""Values in the bodies of custom resources: what is missing or malformed reads as absent, or empty."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class UnreadableObject(ValueError):
    """An object lacks what makes it one: name, uid, or the names in its spec."""


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
    value = mapping.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_network(text: object) -> IPNetwork | None:
    try:
        return ip_network(text) if isinstance(text, str) else None
    except ValueError:
        return None


def read_time(text: object) -> datetime | None:
    """An RFC 3339 time, aware and in UTC; None if it is none."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def write_time(moment: datetime) -> str:
    """`moment` (aware) as RFC 3339 in UTC, in whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_address(text: object) -> IPAddress | None:
    if not isinstance(text, str):
        return None
    try:
        return ip_address(text)
    except ValueError:
        return None


def read_duration(text: str) -> float:
    """Seconds of a Go duration such as `720h` or `1h30m`. Raises ValueError."""
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
    return total
