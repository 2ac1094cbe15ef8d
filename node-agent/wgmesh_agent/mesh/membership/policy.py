"""Membership policy: who may be a member, at which addresses, with which key and routes.

A node is composed with its policy: gossip, the Mesh service and announcements apply it from their first message on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from wgmesh_agent.mesh.caller import Caller
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import IPAddress, Network

Routes = tuple[Network, ...]
STALE_ROSTER_SECONDS = 300.0
"""A watch confirms the cache each minute, and is restarted after at most 240 s: an older roster is not kept up
to date.
"""


class MembershipPolicy(Protocol):
    """Who may be a member, and with which properties. Evaluated at each decision: results are not cached."""

    def admits(self, node: str) -> bool:
        """Whether a member of this name may exist."""

    def assigned_addresses(self, node: str, caller: Caller) -> tuple[IPAddress, ...] | None:
        """The addresses of a joiner; None: this node allocates them. Raises `join.decision.Denied`."""

    def allowed_routes(self, node: str, requested: Routes) -> Routes:
        """The routes that this node signs, as a bootstrap node, of those a member requests or has."""

    def takes_routes_from_claims(self) -> bool:
        """Whether routes in signed records are installed; otherwise only `MembershipTracker.set_routes` sets them."""

    def announced_key(self, node: str) -> PublicKey | None:
        """The key by which a member has announced to replace its own."""

    def member_since(self, node: str) -> datetime | None:
        """When the present member of this name was created: earlier records are for another. None: unknown."""

    def roster_age_seconds(self) -> float | None:
        """Age of the last confirmation of the roster that decides, infinite for never; None: no roster decides."""


@dataclass(frozen=True, slots=True)
class StandalonePolicy:
    """Policy without a roster: every valid certificate is admitted, and this node allocates addresses.

    Attributes:
        route_grants: networks within which a member may advertise routes, by name.
    """

    route_grants: tuple[tuple[str, Network], ...]

    def admits(self, node: str) -> bool:
        return True

    def assigned_addresses(self, node: str, caller: Caller) -> tuple[IPAddress, ...] | None:
        return None

    def allowed_routes(self, node: str, requested: Routes) -> Routes:
        """Those within the networks that the node may advertise."""
        return tuple(
            route
            for route in requested
            if any(
                name == node and route.version == given.version and route.subnet_of(given)  # type: ignore[arg-type]
                for name, given in self.route_grants
            )
        )

    def takes_routes_from_claims(self) -> bool:
        return True

    def announced_key(self, node: str) -> PublicKey | None:
        return None

    def member_since(self, node: str) -> datetime | None:
        return None

    def roster_age_seconds(self) -> float | None:
        return None
