"""Client that queries other bootstrap nodes for their members, with this node's certificate."""

from __future__ import annotations

from collections.abc import Sequence

from wgmesh_agent.linux.name_resolution import resolve
from wgmesh_agent.mesh.credentials import Credentials
from wgmesh_agent.mesh.join.client import JoinUnreachable, peers_of
from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.mesh.membership.local_node import LocalNode
from wgmesh_agent.settings.model import HostPort


class BootstrapPeers:
    """One connection per call."""

    def __init__(self, local: LocalNode, tls: Credentials | None) -> None:
        self._local = local
        self._tls = tls

    async def peers_of(self, bootstrap: HostPort) -> Sequence[Claim]:
        """The members known to this bootstrap node, itself first, without this node. Raises JoinUnreachable."""
        at = await resolve(bootstrap.host, bootstrap.port)
        if not at:
            raise JoinUnreachable(f"the name {bootstrap.host} does not resolve")
        return await peers_of(str(bootstrap), self._tls, self._local.public_key, at=at)
