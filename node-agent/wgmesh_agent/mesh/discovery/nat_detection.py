"""NAT detection: the endpoint to advertise, from this node's own addresses and the endpoints that members observe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from wgmesh_agent.wireguard.model import Endpoint, IPAddress


@dataclass(frozen=True, slots=True)
class ObservedEndpoint:
    """This node as observed by members: the endpoint to advertise, and whether the node is behind NAT (None:
    unknown).
    """

    endpoint: Endpoint
    behind_nat: bool | None


def detect_nat(
    base: Endpoint,
    addresses: Collection[IPAddress],
    seen: Sequence[Endpoint],
    *,
    given: bool,
    told: Endpoint | None = None,
) -> ObservedEndpoint:
    """
    Args:
        base: this node's own endpoint by settings and routes, with its own port.
        addresses: of its interfaces.
        seen: the endpoints at which members observe it, one each.
        given: `base` is configured, or from a STUN server: it is advertised whatever members observe.
        told: the endpoint advertised so far.

    A single observation against several others is ignored. If members observe several ports, the NAT maps each
    destination to another port, and none is better: the advertised endpoint stays, or the base's port is advertised in
    its absence. If they disagree on the address too, the advertised endpoint stays as long as one of them observes it.
    """
    elsewhere = [one for one in seen if one.address not in addresses]
    behind_nat = True if elsewhere or base.address not in addresses else False if seen else None
    if given or not elsewhere:
        return ObservedEndpoint(base, behind_nat)
    (endpoint, votes), *_ = Counter(elsewhere).most_common(1)
    if votes > 1 or len(elsewhere) == 1:
        return ObservedEndpoint(endpoint, behind_nat)
    if told in elsewhere:
        return ObservedEndpoint(told, behind_nat)
    if len({one.address for one in elsewhere}) == 1:
        if told is not None and told.address == endpoint.address:
            return ObservedEndpoint(told, behind_nat)
        return ObservedEndpoint(Endpoint(endpoint.address, base.port), behind_nat)
    return ObservedEndpoint(base, behind_nat)
