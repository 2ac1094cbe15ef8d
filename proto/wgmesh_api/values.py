"""Validation of untrusted values from other machines, the API server or files.

The functions are total: for every input of the named type they return a value that all consumers can use, or raise
`UnusableValue`. `ipaddress` accepts more than a socket, WireGuard or JSON can handle (a zone with any text after
`%`), `datetime` parses times that it cannot convert to UTC (year 1 with an offset), `float` accepts `inf`.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from wgmesh_api.names import is_node_name

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

MAX_ADDRESS_CHARACTERS = 45
"""Maximum length of an IPv6 address as text, with an embedded IPv4 address (RFC 4291, 2.2)."""
MAX_NETWORK_CHARACTERS = MAX_ADDRESS_CHARACTERS + 4
MAX_MOMENT_CHARACTERS = 64
MAX_PORT = 65535

_THIS_HOST = IPv4Network("0.0.0.0/8")
_NAT64 = IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_ISATAP = (0x00005EFE, 0x02005EFE)
"""The upper half of an interface identifier whose lower half is an IPv4 address (RFC 5214, 6.1)."""
_MAX_QUOTED = 40
_FIRST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MOMENT = datetime(9000, 1, 1, tzinfo=UTC)


class UnusableValue(ValueError):
    """A value that at least one of its consumers cannot use; one sentence that quotes at most 40 characters."""


def parse_address(text: object) -> IPAddress:
    """Parses a unicast address that packets can be sent to; an IPv4-mapped IPv6 address becomes the IPv4 address.

    Raises:
        UnusableValue: not an address, one with a zone, or one that `check_address` rejects.
    """
    if not isinstance(text, str) or len(text) > MAX_ADDRESS_CHARACTERS:
        raise UnusableValue(f"{_quoted(text)} is not an IP address")
    try:
        address = ip_address(text)
    except ValueError:
        raise UnusableValue(f"{_quoted(text)} is not an IP address") from None
    return check_address(address)


def check_address(address: IPAddress) -> IPAddress:
    """Returns `address`, or the IPv4 address that it maps, if packets can be sent to it.

    Raises:
        UnusableValue: it has a zone, or is unspecified, loopback, link-local, multicast, broadcast or reserved, or
          an
          IPv6 address that translates to such an IPv4 address.
    """
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise UnusableValue(f"{_quoted(str(address))} has a zone, which is valid only on its own machine")
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
    inner = embedded_ipv4(address)
    if _is_unusable(address) or (inner is not None and _is_unusable(inner)):
        raise UnusableValue(f"{address} is not the address of a single remote machine")
    return address


def usable_address(address: IPAddress) -> bool:
    """Whether `check_address` accepts the address."""
    try:
        check_address(address)
    except UnusableValue:
        return False
    return True


def embedded_ipv4(address: IPAddress) -> IPv4Address | None:
    """Returns the IPv4 address that packets to this IPv6 address may end at: mapped, 6to4 (RFC 3056), NAT64 (RFC
    6052, and RFC 8215 with a prefix of 96 bits), Teredo (RFC 4380) or ISATAP (RFC 5214)."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    low = int(address) & 0xFFFFFFFFFFFFFFFF
    if address in _NAT64 or address in _LOCAL_NAT64 or low >> 32 in _ISATAP:
        return IPv4Address(low & 0xFFFFFFFF)
    return address.teredo[1] if address.teredo else address.sixtofour


def parse_port(value: object) -> int:
    """Parses a port, 1 to 65535, from an integer or decimal ASCII text. Raises UnusableValue."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 5:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_PORT:
        raise UnusableValue(f"{_quoted(value)} is not a port from 1 to {MAX_PORT}")
    return value


def parse_host_port(address: object, port: object) -> tuple[IPAddress, int]:
    """Parses an endpoint to send packets to: a usable address and a port. Raises UnusableValue."""
    return parse_address(address), parse_port(port)


def parse_network(text: object, *, cut_host_bits: bool = False) -> IPNetwork:
    """Parses a network such as `10.0.0.0/8`, without a zone.

    Args:
        cut_host_bits: accept host bits and clear them, instead of rejecting them.

    Raises:
        UnusableValue: not a network.
    """
    if not isinstance(text, str) or len(text) > MAX_NETWORK_CHARACTERS or "%" in text:
        raise UnusableValue(f"{_quoted(text)} is not a network such as 10.0.0.0/8")
    try:
        return ip_network(text, strict=not cut_host_bits)
    except ValueError:
        raise UnusableValue(f"{_quoted(text)} is not a network such as 10.0.0.0/8") from None


def parse_moment(text: object) -> datetime:
    """Parses an RFC 3339 time between 1970 and 9000; aware, in UTC. A time without an offset is UTC.

    Raises:
        UnusableValue: not such a time, or one that `datetime` cannot convert.
    """
    if not isinstance(text, str) or len(text) > MAX_MOMENT_CHARACTERS:
        raise UnusableValue(f"{_quoted(text)} is not an RFC 3339 time")
    try:
        parsed = datetime.fromisoformat(text)
        moment = parsed.astimezone(UTC) if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise UnusableValue(f"{_quoted(text)} is not an RFC 3339 time") from None
    return check_moment(moment)


def parse_unix_time(seconds: object) -> datetime:
    """Parses a time in whole seconds since 1970, before 9000; aware, in UTC. Raises UnusableValue."""
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        raise UnusableValue(f"{_quoted(seconds)} is not a time in seconds since 1970")
    if not 0 <= seconds < _LAST_MOMENT.timestamp():
        raise UnusableValue("a time before 1970 or after 9000 is not a time of a mesh")
    return datetime.fromtimestamp(seconds, UTC)


def check_moment(moment: datetime) -> datetime:
    """Returns `moment` (aware) if it lies between 1970 and 9000. Raises UnusableValue."""
    if not _FIRST_MOMENT <= moment < _LAST_MOMENT:
        raise UnusableValue("a time before 1970 or after 9000 is not a time of a mesh")
    return moment


def bounded(value: object, low: float, high: float) -> float:
    """Returns `value` as a float if it is finite and within `low` and `high`. Raises UnusableValue."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnusableValue(f"{_quoted(value)} is not a number")
    # An int may be too large for a float: it is compared first.
    if not low <= value <= high or not math.isfinite(value):
        raise UnusableValue(f"{_quoted(value)} is not within {low:g} and {high:g}")
    return float(value)


def parse_node_name(value: object) -> str:
    """Returns `value` if it is a name that a node may have (`names.is_node_name`). Raises UnusableValue."""
    if not isinstance(value, str) or not is_node_name(value):
        raise UnusableValue(f"{_quoted(value)} is not a node name")
    return value


def _is_unusable(address: IPAddress) -> bool:
    if address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local:
        return True
    if isinstance(address, IPv4Address):
        # 240.0.0.0/4, the broadcast address in it, and "this host on this network" (RFC 6890).
        return address.is_reserved or address in _THIS_HOST
    # `is_reserved` of IPv6 includes NAT64 and everything that is not assigned yet, such as 0::/8 with
    # IPv4-compatible addresses.
    return address.is_reserved and address not in _NAT64


def _quoted(value: object) -> str:
    # `repr` of a huge int would raise (sys.set_int_max_str_digits), and one of a container may be large.
    if isinstance(value, str):
        # escaped, a character takes up to ten
        text = ascii(value[:_MAX_QUOTED])
        return text if len(text) <= _MAX_QUOTED + 2 else f"{text[: _MAX_QUOTED - 2]}...'"
    if isinstance(value, float) or (isinstance(value, int) and -(1 << 63) <= value < 1 << 64):
        return repr(value)
    return f"a value of type {type(value).__name__}"
