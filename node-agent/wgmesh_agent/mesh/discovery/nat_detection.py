"""NAT detection: the endpoint to advertise, from this node's own addresses and the endpoints that members observe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from wgmesh_agent.wireguard.model import Endpoint, IPAddress


@dataclass(frozen=True, slots=True)
class ObservedEndpoint:
    """How this node looks from outside: the endpoint to tell, and whether a translator stands between (None: not
    known).
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
        base: what this node itself says, with its own port.
        addresses: of its interfaces.
        seen: where others see it, one each.
        given: `base` was set, or told by a STUN server: it is told whatever others see.
        told: what this node tells so far.

    What one says against several others is not believed. Where they see several ports, the translator gives each
    destination its own, and any will do: what was told stays, or the base's is told for want of a better one. Where
    they disagree on more than that, what was told stays as long as one of them sees it.
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
