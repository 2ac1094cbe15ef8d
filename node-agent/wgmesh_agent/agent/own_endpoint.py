"""This node's endpoint, by its settings and by the routes to the bootstrap nodes known now."""

from __future__ import annotations

from wgmesh_agent.linux.name_resolution import resolve
from wgmesh_agent.mesh.join.bootstrap_directory import BootstrapDirectory
from wgmesh_agent.mesh.join.joiner import EndpointLookup
from wgmesh_agent.wireguard.model import Endpoint

MAX_LOOKUPS = 3
"""Maximum number of bootstrap nodes' names resolved per lookup."""


class OwnEndpoint:
    """Looks the endpoint up at each call."""

    def __init__(self, lookup: EndpointLookup, bootstraps: BootstrapDirectory, service_port: int) -> None:
        self._lookup = lookup
        self._bootstraps = bootstraps
        self._service_port = service_port

    async def locate(self) -> Endpoint:
        """Raises NoUsableEndpoint."""
        hosts = dict.fromkeys(one.host for one in self._bootstraps.bootstraps()[:MAX_LOOKUPS])
        return await self._lookup(
            [found for host in hosts for found in await resolve(host, self._service_port)]
        )
