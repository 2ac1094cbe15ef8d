"""Tells when this machine gets or loses an address, a link or a route: a new lease, a cable in another network."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Protocol

import structlog

from wgmesh_agent.linux.rtnetlink_notifications import REOPEN_SECONDS, listening, receive

log = structlog.get_logger()
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port (netlink(7))
_ROUTE = struct.Struct("=8BI")  # family, two lengths, TOS, table, protocol, scope, type, flags (rtnetlink(7))
_ALIGNMENT = 4
_RTM_NEWLINK, _RTM_DELLINK, _RTM_NEWADDR, _RTM_DELADDR, _RTM_NEWROUTE, _RTM_DELROUTE = 16, 17, 20, 21, 24, 25
_LINKS, _IPV4_ADDRESSES, _IPV4_ROUTES, _IPV6_ADDRESSES, _IPV6_ROUTES = 0x1, 0x10, 0x40, 0x100, 0x400
_MAIN_TABLE, _UNICAST = 254, 1


@dataclass(frozen=True, slots=True)
class HostChange:
    """What may have changed since the last one.

    Attributes:
        addresses: one came or went, of whatever interface.
        lost_address: one may have gone.
        links: an interface came, went, or changed its state.
        routes: a unicast route of the main table came or went.
    """

    addresses: bool = False
    lost_address: bool = False
    links: bool = False
    routes: bool = False

    def __bool__(self) -> bool:
        return self.addresses or self.links or self.routes


ANYTHING = HostChange(addresses=True, lost_address=True, links=True, routes=True)


class HostChanges(Protocol):
    """Tells what changes of this machine's network; `host_changes` does."""

    def __call__(self) -> AsyncIterator[HostChange]:
        """One item for each time that something may have changed. Raises nothing."""


async def host_changes() -> AsyncIterator[HostChange]:
    """One item for each time the kernel tells of something. Raises nothing: where the kernel is not heard, that
    is tried again each second, and anything may have changed.
    """
    while True:
        try:
            with listening(_LINKS | _IPV4_ADDRESSES | _IPV4_ROUTES | _IPV6_ADDRESSES | _IPV6_ROUTES) as news:
                while True:
                    data = await receive(news)
                    change = ANYTHING if data is None else change_in(data)
                    if change:
                        yield change
        except OSError as error:
            log.debug("cannot subscribe to address changes", error=str(error))
        await asyncio.sleep(REOPEN_SECONDS)
        yield ANYTHING


def change_in(data: bytes) -> HostChange:
    """What the messages of a datagram tell, as far as it is whole."""
    kinds = set()
    for kind, body in messages(data):
        if kind in (_RTM_NEWROUTE, _RTM_DELROUTE):
            if len(body) < _ROUTE.size:
                continue
            table, route_type = body[4], body[7]
            if table != _MAIN_TABLE or route_type != _UNICAST:
                continue
        kinds.add(kind)
    return HostChange(
        addresses=bool(kinds & {_RTM_NEWADDR, _RTM_DELADDR}),
        lost_address=_RTM_DELADDR in kinds,
        links=bool(kinds & {_RTM_NEWLINK, _RTM_DELLINK}),
        routes=bool(kinds & {_RTM_NEWROUTE, _RTM_DELROUTE}),
    )


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of the netlink messages in a datagram, as far as it is whole."""
    position = 0
    while len(data) - position >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data, position)
        if length < _HEADER.size:
            return
        yield kind, data[position + _HEADER.size : position + length]
        position += (length + _ALIGNMENT - 1) & -_ALIGNMENT


def message_types(data: bytes) -> Iterator[int]:
    """The types of the netlink messages in a datagram, as far as it is whole."""
    return (kind for kind, _ in messages(data))
