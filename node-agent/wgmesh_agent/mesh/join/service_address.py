"""Listening address of the Mesh service: the configured one, or this machine's current address."""

from __future__ import annotations

import structlog

from wgmesh_agent.mesh.discovery.advertised_endpoint import NoUsableEndpoint
from wgmesh_agent.mesh.discovery.local_addresses import LocalAddresses
from wgmesh_agent.mesh.join.joiner import EndpointLookup
from wgmesh_agent.settings.model import HostPort
from wgmesh_agent.wireguard.errors import BackEndError

log = structlog.get_logger()


class ServiceAddress:
    """Evaluated repeatedly, because a machine's address may change."""

    def __init__(
        self, bind: HostPort, addresses: LocalAddresses, lookup: EndpointLookup, *, follows_address: bool
    ) -> None:
        """
        Args:
            follows_address: if this machine no longer has the address of `bind`, the service listens on its current
                one.
        """
        self._bind = bind
        self._addresses = addresses
        self._lookup = lookup
        self._follows_address = follows_address

    async def current(self) -> HostPort:
        if not self._follows_address:
            return self._bind
        try:
            if self._bind.host not in map(str, await self._addresses.reachable()):
                return HostPort(str((await self._lookup(())).address), self._bind.port)
        except (NoUsableEndpoint, BackEndError) as error:
            log.debug("cannot determine own endpoint", error=str(error))
        return self._bind
