"""Reports changes of this machine's addresses, links and routes: a new lease, a cable in another network."""

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
    """Possible changes since the last report.

    Attributes:
        addresses: one was added or removed, on any interface.
        lost_address: one may have been removed.
        links: an interface was added or removed, or changed its state.
        routes: a unicast route of the main table was added or removed.
    """

    addresses: bool = False
    lost_address: bool = False
    links: bool = False
    routes: bool = False

    def __bool__(self) -> bool:
        return self.addresses or self.links or self.routes


ANYTHING = HostChange(addresses=True, lost_address=True, links=True, routes=True)


class HostChanges(Protocol):
    """Reports changes of this machine's network; `host_changes` does."""

    def __call__(self) -> AsyncIterator[HostChange]:
        """One item for each time that something may have changed. Raises nothing."""


async def host_changes() -> AsyncIterator[HostChange]:
    """Yields one item per kernel notification. Raises nothing: while the kernel's notifications cannot be received,
    that is retried each second, and anything may have changed.
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
    """The changes reported by the messages of a datagram, as far as it is complete."""
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
    """Type and body of the netlink messages in a datagram, as far as it is complete."""
    position = 0
    while len(data) - position >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data, position)
        if length < _HEADER.size:
            return
        yield kind, data[position + _HEADER.size : position + length]
        position += (length + _ALIGNMENT - 1) & -_ALIGNMENT


def message_types(data: bytes) -> Iterator[int]:
    """The types of the netlink messages in a datagram, as far as it is complete."""
    return (kind for kind, _ in messages(data))
