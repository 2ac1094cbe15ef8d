"""Parsers from user input to values.

Each parser takes non-empty text and raises ValueError with half a sentence that can follow a name: `-listen-port:
"x" is not a port (1 to 65535)`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TypeVar

from wgmesh_agent.settings.model import HostPort, IPAddress, IPNetwork, ListenAddress
from wgmesh_api.names import is_mesh_name, is_node_name
from wgmesh_api.values import UnusableValue, parse_network, usable_address

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

DEFAULT_BOOTSTRAP_PORT = 5000
DEFAULT_STUN_PORT = 3478

_TRUE = frozenset({"1", "t", "true", "y", "yes", "on"})
_FALSE = frozenset({"0", "f", "false", "n", "no", "off"})
_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?)*\.?",
)
_LOOKS_LIKE_IPV4 = re.compile(r"[0-9.]+")
_INTERFACE = re.compile(r"[^\s/%:\x00-\x1f\x7f]{1,15}")
_MAX_SOCKET_PATH_BYTES = 107  # sun_path of unix(7), minus the final zero
_KEY_BYTES = 32

MAX_ROUTES = 64


def boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise ValueError(f'"{text}" is neither true nor false')


def mesh_name(text: str) -> str:
    if not is_mesh_name(text):
        raise ValueError(f'"{text}" is not a mesh name (1 to 10 letters and digits)')
    return text


def node_name(text: str) -> str:
    if not is_node_name(text):
        raise ValueError(
            f'"{text}" is not a node name (1 to 64 letters, digits, dots, underscores and dashes, '
            "with a letter or digit at both ends)"
        )
    return text


def port(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0
    if not 1 <= number <= 65535:
        raise ValueError(f'"{text}" is not a port (1 to 65535)')
    return number


def seconds(text: str) -> float | None:
    """Zero, and only zero, is None: indefinitely."""
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) is None:
        raise ValueError(f'"{text}" is not a number of seconds')
    return float(text) or None


def one_of(kind: type[E]) -> Callable[[str], E]:
    """A parser for the values of `kind`."""

    def parse(text: str) -> E:
        try:
            return kind(text)
        except ValueError:
            raise ValueError(f'"{text}" is not one of {", ".join(member.value for member in kind)}') from None

    return parse


def path(text: str) -> Path:
    if "\0" in text:
        raise ValueError("a path cannot contain a null byte")
    return Path(text)


def socket_path(text: str) -> Path:
    if len(text.encode()) > _MAX_SOCKET_PATH_BYTES:
        raise ValueError(
            f'"{text}" is longer than the {_MAX_SOCKET_PATH_BYTES} bytes a socket\'s path may have'
        )
    return path(text)


def owner(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,10}):([0-9]{1,10})", text)
    if match is None or max(int(match[1]), int(match[2])) >= 2**32 - 1:
        raise ValueError(f'"{text}" is not of the form uid:gid, such as 1000:1000')
    return int(match[1]), int(match[2])


def encryption_key(text: str) -> bytes:
    # the text is a secret: the error must not contain it
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != _KEY_BYTES:
        raise ValueError(f"a gossip key is the base64 of {_KEY_BYTES} bytes (44 characters)")
    return key


def address(text: str) -> IPAddress:
    try:
        parsed = ip_address(text)
    except ValueError:
        raise ValueError(f'"{text}" is not an IP address') from None
    if isinstance(parsed, IPv6Address) and parsed.scope_id is not None:
        raise ValueError(f'"{text}" names an interface, which is meaningful only on this machine')
    return _unmapped(parsed)


def _unmapped(value: IPAddress) -> IPAddress:
    """The IPv4 address in an IPv4-mapped IPv6 one (`::ffff:192.0.2.1`): sockets and WireGuard use that."""
    return (value.ipv4_mapped or value) if isinstance(value, IPv6Address) else value


def addresses(text: str) -> tuple[IPAddress, ...]:
    return tuple(address(item) for item in _items(text))


def ranges(text: str) -> tuple[IPNetwork, ...]:
    """At most one range per IP version; host bits are cleared, as usual."""
    parsed = tuple(_range(item) for item in _items(text))
    if len({network.version for network in parsed}) != len(parsed):
        raise ValueError(
            f'"{text}" has two ranges of one IP version, at most one IPv4 and one IPv6 are allowed'
        )
    return parsed


def _range(text: str) -> IPNetwork:
    try:
        network = parse_network(text, cut_host_bits=True)
    except UnusableValue:
        network = None
    if network is None or "/" not in text:
        raise ValueError(f'"{text}" is not an address range such as 10.232.0.0/16')
    if network.num_addresses < 4:
        raise ValueError(f'"{text}" is too small for a mesh')
    if network.prefixlen == 0 or _is_special(network.network_address):
        raise ValueError(f'"{text}" is not a range of node addresses')
    return network


def routes(text: str) -> tuple[IPNetwork, ...]:
    """Subnet routes of a node, at most MAX_ROUTES, without duplicates or nested networks."""
    parsed = tuple(_route(item) for item in _items(text))
    if len(parsed) > MAX_ROUTES:
        raise ValueError(f"{len(parsed)} networks are more than the {MAX_ROUTES} a node may advertise")
    for number, one in enumerate(parsed):
        for other in parsed[number + 1 :]:
            if one.overlaps(other):
                raise ValueError(f"{one} and {other} overlap")
    return parsed


def allowed_routes(text: str) -> tuple[tuple[str, IPNetwork], ...]:
    """NODE=CIDR items: which node may advertise which network."""
    found: list[tuple[str, IPNetwork]] = []
    for item in _items(text):
        node, equals, network = item.partition("=")
        if not equals:
            raise ValueError(f'"{item}" is not a node and a network such as gate1=192.168.7.0/24')
        found.append((node_name(node), _route(network)))
    return tuple(found)


def _route(text: str) -> IPNetwork:
    try:
        network = parse_network(text)
    except UnusableValue as error:
        raise ValueError(f'"{text}" is not a network such as 192.168.7.0/24: {error}') from None
    if "/" not in text or network.prefixlen == 0 or _is_special(network.network_address):
        raise ValueError(f'"{text}" is not a network that a node can advertise')
    return network


def listen_address(text: str) -> ListenAddress:
    """An IP address, an interface's name, or `name%n`, its n-th address counted from 0."""
    try:
        literal = _unmapped(ip_address(text))
    except ValueError:
        literal = None
    if literal is not None:
        if not usable_address(literal):
            raise ValueError(f'"{text}" is not an address that other nodes can reach')
        return ListenAddress(address=literal)
    name, percent, index = text.partition("%")
    looks_numeric = _LOOKS_LIKE_IPV4.fullmatch(name) is not None and "." in name
    if _INTERFACE.fullmatch(name) is None or name in {".", ".."} or looks_numeric:
        raise ValueError(f'"{text}" is neither an IP address nor an interface such as eth0 or eth0%1')
    if percent and not (index.isascii() and index.isdigit() and len(index) <= 4):
        raise ValueError(f'"{text}": the part after % is not the index of an address, as in eth0%1')
    return ListenAddress(interface=name, index=int(index) if percent else None)


def host_port(default_port: int) -> Callable[[str], HostPort]:
    """A parser for `name:port`, `1.2.3.4:port`, `[v6]:port`, each also without the port, and bare `v6`."""

    def parse(text: str) -> HostPort:
        host, port_text = _split_host_port(text)
        return HostPort(_host(host, text), port(port_text) if port_text is not None else default_port)

    return parse


def node_names(text: str) -> tuple[str, ...]:
    """A comma-separated list of node names; duplicates are dropped."""
    return tuple(dict.fromkeys(node_name(item) for item in _items(text)))


def host_ports(default_port: int) -> Callable[[str], tuple[HostPort, ...]]:
    """A parser for a comma-separated list of `host_port` values; duplicates are dropped."""
    parse_one = host_port(default_port)

    def parse(text: str) -> tuple[HostPort, ...]:
        return tuple(dict.fromkeys(parse_one(item) for item in _items(text)))

    return parse


def _split_host_port(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or not _is_ipv6(host) or (rest and not rest.startswith(":")):
            raise ValueError(f'"{text}" is not of the form [IPv6 address]:port')
        return host, rest[1:] if rest else None
    if _is_ipv6(text):
        return text, None
    host, colon, port_text = text.partition(":")
    if ":" in port_text:
        raise ValueError(f'"{text}" is not of the form host:port; an IPv6 address with a port needs brackets')
    return host, port_text if colon else None


def _host(host: str, text: str) -> str:
    if _is_ipv6(host):
        return str(_unmapped(IPv6Address(host)))
    if _LOOKS_LIKE_IPV4.fullmatch(host) is not None:
        try:
            return str(IPv4Address(host))
        except ValueError:
            raise ValueError(f'"{text}": {host} is not an IP address') from None
    if _HOST_NAME.fullmatch(host) is None:
        raise ValueError(f'"{text}" is not of the form host:port')
    return host


def _is_ipv6(text: str) -> bool:
    try:
        return IPv6Address(text).scope_id is None
    except ValueError:
        return False


def _is_special(value: IPv4Address | IPv6Address) -> bool:
    return (
        value.is_multicast
        or value.is_loopback
        or value.is_unspecified
        or value.is_link_local
        or (isinstance(value, IPv6Address) and value.ipv4_mapped is not None)
    )


def _items(text: str) -> list[str]:
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise ValueError(f'"{text}" has an empty item')
    return items
