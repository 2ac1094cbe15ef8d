"""Formats quantities for people."""

from __future__ import annotations

from datetime import datetime

UNKNOWN = "-"
_BYTE_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")
_DECIMALS_BELOW_MS = 10


def rtt(microseconds: int | None) -> str:
    """Milliseconds: `0.42ms`, `7.10ms`, `38ms`."""
    if microseconds is None:
        return UNKNOWN
    milliseconds = microseconds / 1000
    return f"{milliseconds:.2f}ms" if milliseconds < _DECIMALS_BELOW_MS else f"{milliseconds:.0f}ms"


def size(count_bytes: int) -> str:
    """Bytes by powers of 1024: `512 B`, `1.5 KiB`, `20.0 MiB`."""
    if count_bytes < 1024:
        return f"{count_bytes} B"
    value, power = count_bytes / 1024, 0
    while round(value, 1) >= 1024 and power < len(_BYTE_UNITS) - 1:
        value, power = value / 1024, power + 1
    return f"{value:.1f} {_BYTE_UNITS[power]}"


def ago(then_unix: int, now_unix: float) -> str:
    """An age: `12s ago`, `3m ago`, `2h 5m ago`, `3d 4h ago`; 0 is `never`, the future is now."""
    return "never" if then_unix <= 0 else seconds_ago(now_unix - then_unix)


def seconds_ago(age: float) -> str:
    """Like `ago`, from seconds."""
    seconds = max(0, int(age))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 60:
        return f"{seconds}s ago"
    if minutes < 60:
        return f"{minutes}m ago"
    if hours < 24:
        return f"{hours}h {minutes % 60}m ago"
    return f"{days}d {hours % 24}h ago"


def moment(unix: int) -> str:
    """Local time with its zone, as in `2021-02-27 10:45:31 +0100 CET`."""
    return datetime.fromtimestamp(unix).astimezone().strftime("%Y-%m-%d %H:%M:%S %z %Z")


def printable(text: str) -> str:
    """`text` with control characters as escapes: names and tags come from other machines."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
