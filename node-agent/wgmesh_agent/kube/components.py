"""Components of a session in Kubernetes: roster sync, status writer, certificate renewal, key rotation."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wgmesh_agent.agent.node import MeshNode
from wgmesh_agent.agent.session import Session
from wgmesh_agent.agent.session_start import SessionStart
from wgmesh_agent.kube.api_client import KubernetesApi
from wgmesh_agent.kube.certificate import CertificateStore
from wgmesh_agent.kube.certificate_renewal import CertificateRenewer
from wgmesh_agent.kube.gossip_keyring import KeyringSync
from wgmesh_agent.kube.key_rotation import KeyRotationController
from wgmesh_agent.kube.roster_cache import RosterCache
from wgmesh_agent.kube.roster_policy import RosterPolicy
from wgmesh_agent.kube.roster_sync import RosterSync
from wgmesh_agent.kube.status_writer import StatusWriter
from wgmesh_agent.mesh.credentials import Credentials
from wgmesh_agent.runtime.supervisor import Component


class KubeComponents:
    """Creates the components; `for_session` is called for each session."""

    def __init__(
        self,
        api: KubernetesApi,
        view: RosterCache,
        identity: CertificateStore,
        policy: RosterPolicy,
        credentials: Credentials,
        ring: KeyringSync,
        unserved: Callable[[], str],
        next_start: Callable[[MeshNode], SessionStart],
    ) -> None:
        """
        Args:
            unserved: why health and metrics are unavailable; empty if they are available.
            next_start: start of the next session after this node's role or addresses changed.
        """
        self._ring = ring
        self._rekeying = KeyRotationController(view)
        self._renewal = CertificateRenewer(api, view, identity, credentials)
        self._following = RosterSync(
            api,
            view,
            identity,
            policy,
            self._renewal.is_current,
            next_start,
        )
        self.status = StatusWriter(api, view, identity, credentials, self._following.member_uid, unserved)

    def for_session(self, session: Session) -> Iterable[Component]:
        node = session.node
        return (
            Component("roster", lambda: self._following.run(node, session.end)),
            Component("status", lambda: self.status.run(node)),
            Component("certificate", self._renewal.run),
            Component("gossip keys", lambda: self._ring.run(node)),
            Component("WireGuard key", lambda: self._rekeying.run(node)),
        )

    async def report_left(self, mesh: str, node: str) -> None:
        """Reports to the operator that nothing of this member is left on its node."""
        await self.status.report_left(mesh, node)
