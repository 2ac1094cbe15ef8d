"""Admission and revocation in a cluster: the roster decides, from the cache, at each request."""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from wgmesh_agent.kube.certificate import CertificateStore
from wgmesh_agent.kube.roster_cache import RosterCache
from wgmesh_agent.kube.roster_status import RosterStatus
from wgmesh_agent.mesh.caller import Caller
from wgmesh_agent.mesh.join.decision import DenialReason, Denied
from wgmesh_agent.mesh.membership.policy import Routes
from wgmesh_agent.wireguard.keys import InvalidKeyError, PublicKey
from wgmesh_agent.wireguard.model import IPAddress


class RosterPolicy:
    """Created before the first session of an agent, and shared with the roster sync.

    While the roster is unknown or inconsistent, signed records bind members as outside a cluster, and no node can join:
    docs/security.md, "Revocation".
    """

    def __init__(self, view: RosterCache, identity: CertificateStore) -> None:
        self._view = view
        self._identity = identity
        self._expired: set[str] = set()

    def admits(self, node: str) -> bool:
        if self._view.status_of_node(self._identity.uid()) is not RosterStatus.MEMBER:
            return True
        entry = self._view.nodes.get(node)
        if entry is None:
            return self._view.contains(node)
        return entry.uid not in self._expired and self._view.rival(node) is None

    def assigned_addresses(self, node: str, caller: Caller) -> tuple[IPAddress, ...]:
        """Raises Denied: the node is not in the roster, or its certificate belongs to a deleted member."""
        entry = self._view.nodes.get(node)
        if entry is None and not self._view.synced:
            raise Denied(DenialReason.NOT_LISTED, "the roster is not available here yet: try again later")
        if entry is None or entry.deleting or not entry.addresses:
            raise Denied(DenialReason.NOT_LISTED, f"the roster has no member {node}, or it is leaving")
        rival = self._view.rival(node)
        if rival is not None:
            raise Denied(DenialReason.NOT_LISTED, f"{node} has an address of {rival.node} in the roster")
        if caller.not_before is not None and caller.not_before < entry.created:
            raise Denied(
                DenialReason.REVOKED,
                f"the certificate is older than the member {node}, which was re-created: request a new one",
            )
        return entry.addresses

    def allowed_routes(self, node: str, requested: Routes) -> Routes:
        """The networks behind a member by the roster; the current ones, while the member is missing from it."""
        entry = self._view.nodes.get(node)
        return requested if entry is None else entry.routes

    def takes_routes_from_claims(self) -> bool:
        return False

    def announced_key(self, node: str) -> PublicKey | None:
        entry = self._view.nodes.get(node)
        try:
            return PublicKey.from_base64(entry.report.next_public_key) if entry is not None else None
        except InvalidKeyError:
            return None

    def member_since(self, node: str) -> datetime | None:
        entry = self._view.nodes.get(node)
        return entry.created if entry is not None else None

    def roster_age_seconds(self) -> float:
        age = self._view.age_seconds
        return math.inf if age is None else age

    def expire(self, uid: str) -> None:
        """The member of this WgMeshNode is no longer one, although the object still exists."""
        self._expired.add(uid)

    def is_expired(self, uid: str) -> bool:
        return uid in self._expired

    def keep_expired(self, there: Set[str]) -> None:
        """Forgets the uids of deleted objects."""
        self._expired &= there


class KeyAnnouncer(Protocol):
    """Publishes the next key in the roster."""

    async def announce_key(self, key: PublicKey) -> None:
        """Returns when other agents have had time to read it. Raises RotationFailed."""


@dataclass(frozen=True, slots=True)
class RosterKeyPolicy:
    """The operator decides on gossip keys, and a WireGuard key is published in the roster before it is used."""

    mesh: str
    announcer: KeyAnnouncer

    @property
    def gossip_keys_managed_by(self) -> str:
        return (
            "the operator decides on the gossip key of this mesh; to rotate it: kubectl annotate wgmesh "
            f'{self.mesh} wgmesh.dev/rotate-gossip-key="$(date +%s)" --overwrite'
        )

    async def before_new_key(self, key: PublicKey) -> None:
        await self.announcer.announce_key(key)
