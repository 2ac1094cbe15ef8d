"""Interface, addresses and routes over rtnetlink, by difference only; shared by both back ends. Blocking.

A socket is opened for each operation (about half a millisecond): pyroute2's `link('get')` leaks on a long-lived one,
and its sockets belong to one thread.
"""

import errno
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from wgmesh_agent.linux import policy_rules
from wgmesh_agent.linux.rtnetlink import Rtnetlink
from wgmesh_agent.wireguard.errors import ForeignInterfaceError, KernelError
from wgmesh_agent.wireguard.model import ROUTE_PROTOCOL, Address, InterfaceSpec, Network, Route

ALIAS = "wgmesh"
"""The interface alias that marks wgmesh as its creator."""

_AF_INET, _AF_INET6 = 2, 10
_MAIN_TABLE, _UNICAST, _UNREACHABLE = 254, 1, 7
_LOCAL_TABLE, _LOCAL = 255, 2
_LAST_METRIC = 0xFFFFFFFE
_LINK_SCOPE, _LINK_LOCAL_SCOPE = 253, 253
_UP = 0x1
_NO_DUPLICATE_DETECTION = 0x02
_IPV6_SETTINGS = Path("/proc/sys/net/ipv6/conf")


@dataclass(frozen=True, slots=True)
class InterfaceInfo:
    """An interface as the kernel describes it; `kind` is `wireguard`, `tun`, …, or empty for hardware. One that is
    `enslaved` belongs to a VRF or a bridge.
    """

    index: int
    name: str
    kind: str
    mtu: int
    up: bool
    alias: str
    enslaved: bool = False


def find_interface(ipr: Rtnetlink, name: str) -> InterfaceInfo | None:
    """The interface of that name, or None."""
    try:
        (message,) = ipr.link("get", ifname=name)
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            return None
        raise
    info = message.get_attr("IFLA_LINKINFO")
    return InterfaceInfo(
        message["index"],
        name,
        (info.get_attr("IFLA_INFO_KIND") or "") if info else "",
        message.get_attr("IFLA_MTU"),
        bool(message["flags"] & _UP),
        message.get_attr("IFLA_IFALIAS") or "",
        message.get_attr("IFLA_MASTER") is not None,
    )


def create_wireguard(ipr: Rtnetlink, name: str) -> None:
    """Creates a kernel WireGuard interface, down and without settings."""
    ipr.link("add", ifname=name, kind="wireguard")


def require_kind(link: InterfaceInfo, kind: str) -> None:
    """Raises `ForeignInterfaceError` unless `link` is of that kind."""
    if link.kind != kind:
        raise ForeignInterfaceError(
            f"interface {link.name} exists and is of kind {link.kind or 'hardware'}, not {kind}: "
            "choose another mesh name, the other back end, or remove it"
        )


def foreign_interface_error(link: InterfaceInfo) -> ForeignInterfaceError:
    """The error for a WireGuard interface that is in use and does not have our alias."""
    return ForeignInterfaceError(
        f"WireGuard interface {link.name} exists, is configured, and was not created by wgmesh: choose another "
        "mesh name or remove it"
    )


def apply_spec(ipr: Rtnetlink, link: InterfaceInfo, spec: InterfaceSpec) -> tuple[str, ...]:
    """Sets alias, MTU, addresses, state and routes of `link` as in `spec`, changing only differences.

    Returns the differences, in words: `it was down`.
    """
    differed = []
    if link.alias != ALIAS:
        ipr.link("set", index=link.index, ifalias=ALIAS)
        differed.append("it was not marked as ours")
    if link.mtu != spec.mtu:
        ipr.link("set", index=link.index, mtu=spec.mtu)
        differed.append(f"its MTU was {link.mtu}")
    if any(one.version == 6 for one in spec.addresses):
        _allow_ipv6(link.name)
    differed += _apply_addresses(ipr, link.index, spec)
    if not link.up:
        ipr.link("set", index=link.index, state="up")
        differed.append("it was down")
    elif not link.enslaved:
        differed += _renew_deaf_addresses(ipr, link.index, spec)
    differed += _apply_routes(ipr, link.index, spec)
    return tuple(differed)


def _allow_ipv6(name: str) -> None:
    """Machines without IPv6 of their own, above all containers, often have it disabled for new interfaces."""
    switch = _IPV6_SETTINGS / name / "disable_ipv6"
    try:
        if switch.read_text().strip() != "0":
            switch.write_text("0")
    except OSError as error:
        raise KernelError(
            f"IPv6 is disabled for {name} and cannot be enabled from here ({error.strerror}): set sysctl "
            "net.ipv6.conf.default.disable_ipv6=0 on this machine"
        ) from error


def _apply_addresses(ipr: Rtnetlink, index: int, spec: InterfaceSpec) -> Iterator[str]:
    wanted: set[tuple[Address, int]] = {(one.ip, one.max_prefixlen) for one in spec.addresses}
    found: set[tuple[Address, int]] = {
        (ip_address(one.get_attr("IFA_LOCAL") or one.get_attr("IFA_ADDRESS")), one["prefixlen"])
        for one in ipr.addr("dump", index=index)
        if one["scope"] != _LINK_LOCAL_SCOPE
    }
    # IPv6 does not accept an address twice, whatever its prefix: the old one must be removed first.
    blocking = {one for one in found - wanted if one[0].version == 6 and (one[0], 128) in wanted}
    for address, length in blocking:
        ipr.addr("del", index=index, address=str(address), prefixlen=length)
    for address, length in sorted(wanted - found, key=_order):
        _add_address(ipr, index, address, length)
        yield f"the address {address} was missing"
    for address, length in sorted(found - wanted - blocking, key=_order):
        ipr.addr("del", index=index, address=str(address), prefixlen=length)
        yield f"it had the address {address}"


def _add_address(ipr: Rtnetlink, index: int, address: Address, length: int) -> None:
    extra: dict[str, int] = {"flags": _NO_DUPLICATE_DETECTION} if address.version == 6 else {}
    ipr.addr("add", index=index, address=str(address), prefixlen=length, **extra)


def _renew_deaf_addresses(ipr: Rtnetlink, index: int, spec: InterfaceSpec) -> Iterator[str]:
    """A program that flushes the interface's routes may remove the kernel's own route to an address, too, without which
    packets for it are not accepted. The kernel creates that route with the address and never again; in a VRF, it is in
    the VRF's table.
    """
    heard = {
        _destination(message, family).network_address
        for family in (_AF_INET, _AF_INET6)
        for message in ipr.route("dump", family=family, oif=index, table=_LOCAL_TABLE)
        if message["type"] == _LOCAL
    }
    for one in spec.addresses:
        if one.ip not in heard:
            ipr.addr("del", index=index, address=str(one.ip), prefixlen=one.max_prefixlen)
            _add_address(ipr, index, one.ip, one.max_prefixlen)
            yield f"the kernel's own route to {one.ip} was missing"


def _order(one: tuple[Address, int]) -> tuple[int, int, int]:
    return one[0].version, int(one[0]), one[1]


def _apply_routes(ipr: Rtnetlink, index: int, spec: InterfaceSpec) -> Iterator[str]:
    yield from _apply_table(ipr, index, _MAIN_TABLE, (*map(Route, spec.ranges), *spec.peer_routes))
    table = policy_rules.routing_table_of(spec.name)
    yield from _settle_fence(ipr, table, {route.destination for route in spec.subnet_routes})
    yield from _apply_table(ipr, index, table, spec.subnet_routes)
    if policy_rules.apply_rules(ipr, spec):
        yield "routing rules were missing"


def _settle_fence(ipr: Rtnetlink, table: int, networks: set[Network]) -> Iterator[str]:
    """Packets for these networks that find no interface are dropped, and never sent in plaintext."""
    found = {_destination(message, family) for family, message in _fence(ipr, table)}
    for network in sorted(networks - found, key=str):
        _if_not_there(ipr, "add", **_barrier(table, network))
        yield f"the barrier behind the route to {network} was missing"
    for network in found - networks:
        _if_not_there(ipr, "del", **_barrier(table, network))


def _fence(ipr: Rtnetlink, table: int) -> list[tuple[int, Any]]:
    return [
        (family, message)
        for family in (_AF_INET, _AF_INET6)
        for message in ipr.route("dump", family=family, table=table)
        if message["type"] == _UNREACHABLE and message["proto"] == ROUTE_PROTOCOL
    ]


def _barrier(table: int, network: Network) -> dict[str, Any]:
    return {
        "family": _AF_INET if network.version == 4 else _AF_INET6,
        "dst": str(network),
        "type": "unreachable",
        "priority": _LAST_METRIC,
        "table": table,
        "proto": ROUTE_PROTOCOL,
    }


def _if_not_there(ipr: Rtnetlink, command: str, **route: Any) -> None:
    """Adds or deletes a route, unless another program has just done it."""
    try:
        ipr.route(command, **route)
    except NetlinkError as error:
        if error.code not in (errno.EEXIST, errno.ESRCH, errno.ENOENT):
            raise


def _apply_table(ipr: Rtnetlink, index: int, table: int, routes: Iterable[Route]) -> Iterator[str]:
    found: dict[Network, tuple[Route, int]] = {}
    for family in (_AF_INET, _AF_INET6):
        for message in ipr.route("dump", family=family, oif=index, table=table):
            if message["type"] == _UNICAST:
                route = _found(message, family)
                found[route.destination] = (route, message["proto"])
    wanted = {route.destination: route for route in routes}
    for destination, route in wanted.items():
        if destination not in found:
            _add_route(ipr, index, table, route)
            yield f"the route to {destination} was missing"
        elif found[destination] != (route, ROUTE_PROTOCOL) and found[destination][1] == ROUTE_PROTOCOL:
            ipr.route("replace", **_route(index, table, route))
            yield f"the route to {destination} was another"
    for stale, (route, protocol) in found.items():
        if protocol == ROUTE_PROTOCOL and stale not in wanted:
            ipr.route("del", **_route(index, table, route))


def _found(message: Any, family: int) -> Route:
    metrics = message.get_attr("RTA_METRICS")
    mtu, segment = (metrics.get_attr(one) if metrics else None for one in ("RTAX_MTU", "RTAX_ADVMSS"))
    return Route(_destination(message, family), mtu, segment)


def _destination(message: Any, family: int) -> Network:
    address = message.get_attr("RTA_DST")
    if family == _AF_INET:
        return IPv4Network(f"{address or '0.0.0.0'}/{message['dst_len']}")  # noqa: S104 - the default route
    return IPv6Network(f"{address or '::'}/{message['dst_len']}")


def _add_route(ipr: Rtnetlink, index: int, table: int, route: Route) -> None:
    try:
        ipr.route("add", **_route(index, table, route))
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise
        raise KernelError(
            f"a route to {route.destination} already exists and does not belong to wgmesh: choose another "
            "range, or remove it"
        ) from error


def _route(index: int, table: int, route: Route) -> dict[str, Any]:
    four = route.destination.version == 4
    metrics = {"mtu": route.mtu, "advmss": route.advmss}
    metrics = {name: value for name, value in metrics.items() if value is not None}
    return {
        "family": _AF_INET if four else _AF_INET6,
        "dst": str(route.destination),
        "oif": index,
        "table": table,
        "proto": ROUTE_PROTOCOL,
        # IPv6 routes have no scope.
        **({"scope": _LINK_SCOPE} if four else {}),
        **({"metrics": metrics} if metrics else {}),
    }


def clear(ipr: Rtnetlink, name: str) -> None:
    """Removes what remains after an interface of ours is deleted: the rules for its table, and the table's content."""
    policy_rules.remove_rules(ipr, name)
    table = policy_rules.routing_table_of(name)
    for family, message in _fence(ipr, table):
        _if_not_there(ipr, "del", **_barrier(table, _destination(message, family)))


def remove_interface(ipr: Rtnetlink, link: InterfaceInfo) -> None:
    """Removes an interface; its addresses and routes go with it."""
    try:
        ipr.link("del", index=link.index)
    except NetlinkError as error:
        if error.code != errno.ENODEV:
            raise
