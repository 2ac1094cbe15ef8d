"""Selects the other bootstrap nodes from a list that all of them share, including the founder."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from wgmesh_agent.linux.interface_addresses import has_addresses
from wgmesh_agent.linux.name_resolution import NameServiceAway, addresses_of
from wgmesh_agent.mesh.join.start_conditions import Waiting
from wgmesh_agent.settings.model import HostPort
from wgmesh_agent.wireguard.model import IPAddress


async def other_bootstraps(named: Sequence[HostPort], port: int, *, founds: bool) -> tuple[HostPort, ...]:
    """Those of `named` that are not this node itself, which serves on `port`.

    A node without an address cannot decide, and waits. So does a node that may found the mesh, until a name server
    resolves a name that may be this node's own: two nodes that each consider themselves the first would create two
    meshes.
    """
    if not named:
        return ()
    async with Waiting() as waiting:
        while True:
            others, unknown = [], []
            for one in named:
                try:
                    if one.port != port or not any(map(_is_own, await addresses_of(one.host, one.port))):
                        others.append(one)
                except NameServiceAway:
                    others.append(one)
                    unknown.append(one)
            if not await has_addresses():
                waiting.say("this machine has no address that peers can reach")
            elif founds and unknown and unknown == others:
                waiting.say(f"no name server responds for {unknown[0].host}, which may be this node itself")
            else:
                return tuple(others)
            await waiting.pause()


def _is_own(address: IPAddress) -> bool:
    with socket.socket(
        socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_DGRAM
    ) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True
