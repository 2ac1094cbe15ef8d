"""What runs beside a session in Kubernetes: roster to ledger, status to the API, certificate renewal."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wgmesh_agent.agent.session import Session, Start
from wgmesh_agent.kube.api_client import Api
from wgmesh_agent.kube.certificate import Identity
from wgmesh_agent.kube.certificate_renewal import Renewal
from wgmesh_agent.kube.gossip_keyring import RingFollowing
from wgmesh_agent.kube.key_rotation import Rekeying
from wgmesh_agent.kube.roster_cache import RosterView
from wgmesh_agent.kube.roster_policy import RosterPolicy
from wgmesh_agent.kube.roster_sync import Following
from wgmesh_agent.kube.status_writer import StatusWriter
from wgmesh_agent.mesh.credentials import Credentials
from wgmesh_agent.runtime.supervisor import Run


class Companions:
    """One instance an agent; `around` is called for each session."""

    def __init__(
        self,
        api: Api,
        view: RosterView,
        identity: Identity,
        policy: RosterPolicy,
        credentials: Credentials,
        ring: RingFollowing,
        unserved: Callable[[], str],
        next_start: Callable[[Session], Start],
    ) -> None:
        """
        Args:
            unserved: why health and metrics are not served; empty if they are.
            next_start: what a session is followed by when this node's role or addresses changed.
        """
        self._ring = ring
        self._rekeying = Rekeying(view)
        self._renewal = Renewal(api, view, identity, credentials)
        self._following = Following(
            api,
            view,
            identity,
            policy,
            self._renewal.is_certified,
            lambda session: session.move(next_start(session)),
        )
        self.status = StatusWriter(api, view, identity, credentials, self._following.entered_by, unserved)

    def around(self, session: Session) -> Iterable[tuple[str, Run]]:
        return (
            ("roster", lambda: self._following.follow(session)),
            ("status", lambda: self.status.write(session)),
            ("certificate", self._renewal.run),
            ("gossip keys", lambda: self._ring.follow(session)),
            ("WireGuard key", lambda: self._rekeying.run(session)),
        )

    async def left(self, mesh: str, node: str) -> None:
        """Tells the operator that nothing of this member is left on its node."""
        await self.status.left(mesh, node)
