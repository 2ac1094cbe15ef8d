"""Reports possible foreign changes to the mesh's interface, its routes, or any routing rule (rtnetlink(7))."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Protocol

import structlog

from wgmesh_agent.linux.address_monitor import messages
from wgmesh_agent.linux.policy_rules import routing_table_of
from wgmesh_agent.linux.rtnetlink_notifications import REOPEN_SECONDS, listening, receive
from wgmesh_agent.runtime.borders import border
from wgmesh_agent.wireguard.model import ROUTE_PROTOCOL

log = structlog.get_logger()
NEWS = border(
    "interface news", "netlink: the kernel's notifications about links, addresses, routes and rules"
)
_GROUPS = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 0x40000
"""Links; IPv4 addresses, routes and rules; IPv6 addresses, routes and rules (linux/rtnetlink.h)."""
_NEWLINK, _DELLINK, _NEWADDR, _DELADDR, _DELROUTE, _NEWRULE, _DELRULE = 16, 17, 20, 21, 25, 32, 33
_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, what changed
_ADDRESS = struct.Struct("=4BI")  # family, prefix length, flags, scope, index
_ROUTE_BYTES, _RULE_BYTES = 12, 12
_NUMBER = struct.Struct("=I")
_ATTRIBUTE = struct.Struct("=HH")
_IFNAME, _OIF, _TABLE, _PROTOCOL = 3, 4, 15, 21


class InterfaceNews:
    """Parses the kernel's notifications for one interface, whose index may change."""

    def __init__(self, interface: str, index: int) -> None:
        """`index`: 0 while there is no such interface."""
        self._name = interface.encode()
        self._table = routing_table_of(interface)
        self._index = index

    def concerns(self, data: bytes) -> bool:
        """Whether a datagram reports a change that may have to be repaired. Additions of our own do not count."""
        found = False
        for kind, body in messages(data):
            # All of them: the index of a new link is needed for the messages that follow.
            found = self._concerns(kind, body) or found
        return found

    def _concerns(self, kind: int, body: bytes) -> bool:
        if kind in (_NEWLINK, _DELLINK):
            _, _, index, _, _ = _LINK.unpack_from(body)
            if dict(_attributes(body, _LINK.size)).get(_IFNAME, b"").rstrip(b"\0") != self._name:
                # Possibly renamed.
                return bool(index == self._index)
            self._index = index
            return True
        if kind in (_NEWADDR, _DELADDR):
            return bool(_ADDRESS.unpack_from(body)[-1] == self._index)
        if kind == _DELROUTE:
            found = dict(_attributes(body, _ROUTE_BYTES))
            numbers = {key: _NUMBER.unpack_from(found[key])[0] for key in (_OIF, _TABLE) if key in found}
            return numbers.get(_OIF) == self._index or numbers.get(_TABLE) == self._table
        if kind == _NEWRULE:
            return dict(_attributes(body, _RULE_BYTES)).get(_PROTOCOL, b"")[:1] != bytes([ROUTE_PROTOCOL])
        return kind == _DELRULE


class InterfaceMonitor(Protocol):
    """Reports changes of an interface; `interface_news` does."""

    def __call__(self, interface: str, /) -> AsyncIterator[None]:
        """One item for each time that something of it may have changed. Raises nothing."""


async def interface_news(interface: str) -> AsyncIterator[None]:
    """Yields one item for each possible change. Raises nothing: while the kernel's notifications cannot be received,
    that is retried each second, and anything may have changed.
    """
    while True:
        try:
            with listening(_GROUPS) as heard:
                news = InterfaceNews(interface, _index_of(interface))
                while True:
                    concerns, data = True, await receive(heard)
                    if data is not None:
                        with NEWS.fence("the kernel"):
                            concerns = news.concerns(data)
                    if concerns:
                        yield
        except OSError as error:
            log.debug("cannot subscribe to interface changes", error=str(error))
        await asyncio.sleep(REOPEN_SECONDS)
        yield


def _index_of(interface: str) -> int:
    with suppress(OSError):
        return socket.if_nametoindex(interface)
    return 0


def _attributes(body: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    while len(body) - start >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(body, start)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, body[start + _ATTRIBUTE.size : start + length]
        start += length + 3 & ~3
