"""The Mesh service of a bootstrap node on its port."""

from __future__ import annotations

from wgmesh_agent.linux.port_owner import needing
from wgmesh_agent.mesh.credentials import Credentials
from wgmesh_agent.mesh.join.server import MeshServer, MeshService, serve
from wgmesh_agent.settings.model import HostPort

STOP_GRACE_SECONDS = 1.0


class BootstrapServer:
    """Serves joiners between `start` and `stop`."""

    def __init__(self, service: MeshService, tls: Credentials | None) -> None:
        """
        Args:
            tls: None with `-dev`.
        """
        self._service = service
        self._tls = tls
        self._server: MeshServer | None = None

    async def start(self, bind: HostPort) -> None:
        """Serves gRPC on `bind`. Raises OSError if it cannot."""
        with needing(bind.port, ("tcp",), "admission of members; -grpc-bind-port, spec.bootstrap.port"):
            self._server = await serve(self._service, str(bind), self._tls)

    async def stop(self) -> None:
        """Closes all connections, after a grace period for active ones."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(STOP_GRACE_SECONDS)
