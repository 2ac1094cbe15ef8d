"""This machine's interfaces as others could reach them."""

from __future__ import annotations

import fcntl
import socket
import struct

from wgmesh_agent.membership.binding import IPAddress
from wgmesh_agent.wireguard.errors import KernelError
from wgmesh_agent.wireguard.underlay import addresses_by_interface

_SIOCGIFMTU = 0x8921
_IFREQ = struct.Struct("16si20x")


async def reachable_addresses() -> list[tuple[str, IPAddress]]:
    """Interface and address, IPv4 first on each, without loopback and link-local ones. Raises KernelError."""
    return [
        (name, one.ip)
        for name, addresses in (await addresses_by_interface()).items()
        for one in addresses
        if not (one.ip.is_loopback or one.ip.is_link_local)
    ]


async def has_addresses() -> bool:
    """Whether this machine has any address that others could reach; where the kernel does not tell, it may."""
    try:
        return bool(await reachable_addresses())
    except KernelError:
        return True


def interface_mtu(name: str) -> int:
    """Bytes. Raises OSError if there is no such interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        answer = fcntl.ioctl(handle, _SIOCGIFMTU, _IFREQ.pack(name.encode(), 0))
    return int(_IFREQ.unpack(answer)[1])
