"""Route selection: which subnet routes of members are installed, and which are rejected.

A member's routes are authorised by its admission record or by the roster. Here they must also not overlap the mesh's
own ranges, networks this machine is connected to or advertises itself, or another member's routes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wgmesh_agent.mesh.membership.claims import Binding
from wgmesh_agent.wireguard.allowed_ips import AllowedIPIndex, merged
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Network


@dataclass(frozen=True, slots=True)
class RouteRejection:
    """`node` was granted `route`, which overlaps `existing` of `owner`: another member, or a description of this
    machine.
    """

    node: str
    route: Network
    existing: Network
    owner: str

    def __str__(self) -> str:
        return f"the route {self.route} of {self.node} overlaps {self.existing}, which is {self.owner}"


@dataclass(frozen=True, slots=True)
class LocalRoutes:
    """Networks that no member's route may overlap: the mesh's `ranges`, `connected` networks, `routes` this node
    advertises.
    """

    ranges: tuple[Network, ...]
    connected: tuple[Network, ...] = ()
    routes: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class RouteSelection:
    """Routes to install by member's key, and the rejected ones."""

    by_key: dict[PublicKey, tuple[Network, ...]]
    rejections: tuple[RouteRejection, ...]


def select_routes(bindings: Iterable[Binding], own: LocalRoutes) -> RouteSelection:
    """The member bound first keeps a route; members bound at the same moment are ordered by name. O(n log n) in the
    number of routes.
    """
    held: dict[int, AllowedIPIndex[str]] = {4: AllowedIPIndex(), 6: AllowedIPIndex()}
    for network in merged((*own.ranges, *own.routes, *own.connected)):
        held[network.version].add(network, "this machine's or the mesh's own")
    by_key: dict[PublicKey, tuple[Network, ...]] = {}
    refusals: list[RouteRejection] = []
    routed = (binding for binding in bindings if binding.claim.routes)
    for binding in sorted(routed, key=lambda b: (b.since, b.claim.node, str(b.claim.public_key))):
        claim = binding.claim
        taken = []
        for route in claim.routes or ():
            found = held[route.version].overlapping(route)
            if found is None:
                held[route.version].add(route, f"routed to {claim.node}")
                taken.append(route)
            else:
                refusals.append(RouteRejection(claim.node, route, *found))
        if taken:
            by_key[claim.public_key] = tuple(taken)
    return RouteSelection(by_key, tuple(refusals))
