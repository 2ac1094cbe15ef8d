"""Rotation through a peer's endpoint candidates: which to use, and when to try the next."""

from collections.abc import Collection, Sequence
from ipaddress import IPv6Address

from wgmesh_agent.wireguard.model import Address, Endpoint, Peer

STALE_AFTER_SECONDS = 180.0
"""A session is rejected after this long (WireGuard paper section 6.1, REJECT_AFTER_TIME): without a handshake since,
the endpoint does not respond."""

DWELL_SECONDS = 6.0
"""How long a new candidate is tried before the next one: WireGuard retries after 5 s and up to a third of a second
(REKEY_TIMEOUT), so each gets at least one handshake attempt."""


def elsewhere(candidates: Sequence[Endpoint], here: Collection[Address]) -> tuple[Endpoint, ...]:
    """Returns the candidates at addresses that this machine does not have itself: many hosts have the same address
    on a bridge of their own. Returns all of them if no other is left."""
    kept = tuple(one for one in candidates if one.address not in here)
    return kept or tuple(candidates)


def is_stale(peer: Peer, now_unix: float) -> bool:
    """Returns whether the endpoint of `peer` may be replaced: no handshake for 180 s, and the endpoint was tried
    long enough."""
    return (
        now_unix - peer.last_handshake >= STALE_AFTER_SECONDS
        and now_unix - peer.endpoint_written >= DWELL_SECONDS
    )


def next_candidate(current: Endpoint | None, candidates: Sequence[Endpoint]) -> Endpoint | None:
    """Returns the candidate to try after `current`; None if there is no other.

    An endpoint that is not among them precedes the first.
    """
    here = [position for position, one in enumerate(candidates) if is_same_endpoint(one, current)]
    start = here[0] + 1 if here else 0
    following = (candidates[(start + offset) % len(candidates)] for offset in range(len(candidates)))
    return next((one for one in following if not is_same_endpoint(one, current)), None)


def is_same_endpoint(one: Endpoint, other: Endpoint | None) -> bool:
    """Returns whether both are the same endpoint, as far as the read-back value shows."""
    if other is None or one.port != other.port:
        return False
    first, second = one.address, other.address
    # wireguard-go reports it without the zone it was given.
    return first == second or (
        (_zone(first) is None or _zone(second) is None) and first.packed == second.packed
    )


def _zone(address: Address) -> str | None:
    return address.scope_id if isinstance(address, IPv6Address) else None
