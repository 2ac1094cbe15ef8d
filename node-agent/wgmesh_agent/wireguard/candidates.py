"""Which of a peer's endpoint candidates to use, and when to try another."""

from collections.abc import Iterable, Sequence

from .model import Endpoint, Network, Peer

STALE_AFTER_SECONDS = 180.0
"""A session is rejected after this long (WireGuard paper section 6.1, REJECT_AFTER_TIME): without a
handshake since, the endpoint leads nowhere that answers.
"""

DWELL_SECONDS = 30.0
"""How long a candidate just written is given (six handshake attempts, REKEY_TIMEOUT 5 s) before the next
one.
"""


def outside(candidates: Iterable[Endpoint], ranges: Sequence[Network]) -> tuple[Endpoint, ...]:
    """The candidates that do not lie in one of `ranges`, in order and once each: a tunnel must not run in
    itself.
    """
    kept = dict.fromkeys(candidates)
    return tuple(one for one in kept if not any(one.address in network for network in ranges))


def is_stale(peer: Peer, now_unix: float) -> bool:
    """Whether `peer` may lose the endpoint it has: no handshake for 180 s, and this one had its chance."""
    return (
        now_unix - peer.last_handshake >= STALE_AFTER_SECONDS
        and now_unix - peer.endpoint_written >= DWELL_SECONDS
    )


def after(current: Endpoint | None, candidates: Sequence[Endpoint]) -> Endpoint | None:
    """The candidate to try after `current`; None if there is no other. An endpoint not among them precedes
    the first.
    """
    if not candidates:
        return None
    start = candidates.index(current) + 1 if current in candidates else 0
    following = (candidates[(start + offset) % len(candidates)] for offset in range(len(candidates)))
    return next((one for one in following if one != current), None)
