"""The policy that decides who may be a member, at which addresses, with which key and routes.

A node is made with its policy: gossip, the Mesh service and announcements answer by it from their first message on.
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
"""A watch confirms what is known each minute, and is begun again after 240 s at the latest: a roster that is older
is one that nobody keeps up to date."""


class MembershipPolicy(Protocol):
    """Who may be a member, and with what. Asked at each decision: no answer is kept."""

    def admits(self, node: str) -> bool:
        """Whether there may be a member of this name."""

    def assigned_addresses(self, node: str, caller: Caller) -> tuple[IPAddress, ...] | None:
        """The addresses of a joiner; None: this node allocates them. Raises `join.decision.Denied`."""

    def allowed_routes(self, node: str, requested: Routes) -> Routes:
        """Of the routes a member requests, or has: those this node signs, as a bootstrap node."""

    def takes_routes_from_claims(self) -> bool:
        """Whether routes in signed records are installed; otherwise `MembershipTracker.set_routes` alone sets them."""

    def announced_key(self, node: str) -> PublicKey | None:
        """The key that a member has announced to replace its own by."""

    def member_since(self, node: str) -> datetime | None:
        """When the present member of this name was made: records before that vouch for another. None: not known."""

    def roster_age_seconds(self) -> float | None:
        """How long ago the roster that decides was confirmed, infinite for never; None: no roster decides."""


@dataclass(frozen=True, slots=True)
class StandalonePolicy:
    """Without a roster: every valid certificate is admitted, and this node allocates addresses.

    Attributes:
        route_grants: which member may announce what: networks within these, by name.
    """

    route_grants: tuple[tuple[str, Network], ...]

    def admits(self, node: str) -> bool:
        return True

    def assigned_addresses(self, node: str, caller: Caller) -> tuple[IPAddress, ...] | None:
        return None

    def allowed_routes(self, node: str, requested: Routes) -> Routes:
        """Those that lie within what the node may announce."""
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
