"""Selects endpoint candidates for unreachable peers: advertised, observed, previous; and schedules queries."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.runtime.backoff import Backoff, jittered
from wgmesh_agent.runtime.scaling import interval_scale
from wgmesh_agent.wireguard.endpoint_candidates import (
    DWELL_SECONDS,
    STALE_AFTER_SECONDS,
    is_same_endpoint,
    next_candidate,
)
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Endpoint, Peer

MOVE_GRACE_SECONDS = 2.0
"""How long a member that advertises a new endpoint may take to send from its previous path."""
FIRST_QUERY_AFTER_SECONDS = 1.5
BACKOFF = Backoff(first_seconds=2.0, longest_seconds=60.0)
MAX_OBSERVED = 4
MAX_CONCURRENT_QUERIES = 8
BROADCAST_QUERY_BELOW_MEMBERS = 16
"""Up to this many members a query that all members forward is cheap: it is sent first, also to the unreachable
member.
"""


@dataclass(frozen=True, slots=True)
class DueQueries:
    """Peers to probe once more now; peers to query reachable members about; and peers to query all members about,
    including the peer itself.
    """

    probe: tuple[PublicKey, ...] = ()
    ask: tuple[PublicKey, ...] = ()
    ask_widely: tuple[PublicKey, ...] = ()


@dataclass(slots=True)
class _PeerCandidates:
    advertised: Endpoint | None
    told_unix: float | None = None
    hint: Endpoint | None = None
    observed: tuple[Endpoint, ...] = ()
    asked: int = 0
    due: float | None = None


class CandidateSelector:
    """Candidates and query schedule of all peers. `now` is monotonic seconds; `*_unix` are compared with WireGuard's
    timestamps.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._known: dict[PublicKey, _PeerCandidates] = {}

    def update(self, claims: Iterable[Claim], now_unix: float) -> list[PublicKey]:
        """Sets what all members advertise now. Returns those whose advertised endpoint has changed since the
        last call.
        """
        moved = []
        known, self._known = self._known, {}
        for claim in claims:
            told = claim.endpoints[0] if claim.endpoints else None
            entry = known.get(claim.public_key) or _PeerCandidates(told)
            self._known[claim.public_key] = entry
            if entry.advertised != told:
                entry.advertised, entry.told_unix, entry.hint = told, now_unix, None
                moved.append(claim.public_key)
        return moved

    def hinted(self, key: PublicKey, endpoint: Endpoint, now_unix: float) -> None:
        """The roster states an endpoint of a member: it is tried first if the member is unreachable."""
        entry = self._known.get(key)
        if entry is not None:
            entry.told_unix, entry.hint = now_unix, endpoint

    def due(self, troubled: Collection[PublicKey], now: float) -> DueQueries:
        """What to do about unreachable peers: with backoff, and for a few at once."""
        probe: list[PublicKey] = []
        ask: list[PublicKey] = []
        ask_widely: list[PublicKey] = []
        # A member that is slow is unreachable to all: the larger the mesh, the less often each node sends a query.
        is_small, longer = len(self._known) <= BROADCAST_QUERY_BELOW_MEMBERS, interval_scale(len(self._known))
        for key, entry in self._known.items():
            if key not in troubled:
                entry.asked, entry.due = 0, None
            elif entry.due is None:
                entry.due = now + FIRST_QUERY_AFTER_SECONDS
            elif entry.due <= now and len(ask) + len(ask_widely) < MAX_CONCURRENT_QUERIES:
                entry.asked += 1
                pause = BACKOFF.seconds(entry.asked) * (longer if entry.asked > 1 else 1.0)
                entry.due = now + jittered(pause, self._rng)
                is_first = entry.asked == 2 and not is_small
                (probe if entry.asked == 1 else ask if is_first else ask_widely).append(key)
        return DueQueries(tuple(probe), tuple(ask), tuple(ask_widely))

    def add_observed(self, key: PublicKey, endpoints: Iterable[Endpoint]) -> bool:
        """Sets where members observe a peer, best first. Returns whether this changes the candidates. Earlier
        observations are discarded.
        """
        entry = self._known.get(key)
        if entry is None:
            return False
        seen = tuple(dict.fromkeys(endpoints))[:MAX_OBSERVED]
        is_news = not set(seen) <= {*entry.observed, entry.advertised}
        entry.observed = seen
        return is_news

    def is_settled(self, peer: Peer, now_unix: float) -> bool:
        """Whether there is nothing to decide: a WireGuard session is live, and the member's advertised endpoint has not
        changed for as long.
        """
        entry = self._known.get(peer.public_key)
        told = entry.told_unix if entry else None
        if told is not None and now_unix - told < STALE_AFTER_SECONDS:
            return False
        return peer.endpoint is not None and now_unix - peer.last_handshake < STALE_AFTER_SECONDS

    def candidates(self, claim: Claim, own: Endpoint) -> tuple[Endpoint, ...]:
        """Candidates in the order to try: advertised, observed by members, previously advertised.

        A peer that advertises the same address as this node (at `own`) is behind the same NAT, and is more likely
        reachable at its local addresses.
        """
        entry = self._known.get(claim.public_key)
        seen = entry.observed if entry else ()
        told, before = claim.endpoints[:1], claim.endpoints[1:]
        if told and told[0].address == own.address:
            return tuple(
                sorted(dict.fromkeys((*seen, *before, *told)), key=lambda one: one.address == own.address)
            )
        return tuple(dict.fromkeys((*told, *seen, *before)))

    def next_candidate(
        self,
        claim: Claim,
        peer: Peer,
        order: Sequence[Endpoint],
        heard_seconds_ago: float | None,
        now_unix: float,
    ) -> Endpoint | None:
        """The endpoint to try now instead of the current one of `peer`; None: the rule for learned endpoints decides.

        A peer that never completed a handshake has nothing to lose: a new candidate is tried at once, then one after
        the other. A WireGuard session may be live: then only an advertised endpoint is given up, never a learned one,
        and only when the member advertises another and is unreachable.

        Args:
            order: its `candidates`.
        """
        entry = self._known.get(claim.public_key)
        if entry is None or peer.endpoint is None or not order:
            return None
        is_news = (
            entry.told_unix is not None
            and peer.endpoint_written < entry.told_unix
            and not is_same_endpoint(peer.endpoint, entry.hint)
        )
        if not peer.last_handshake:
            tried_for = now_unix - peer.endpoint_written
            return (
                _first(order, peer, entry.hint)
                if is_news
                else next_candidate(peer.endpoint, order)
                if tried_for >= DWELL_SECONDS
                else None
            )
        if entry.told_unix is None or not any(is_same_endpoint(one, peer.endpoint) for one in order):
            return None
        since = now_unix - max(entry.told_unix, peer.endpoint_written)
        if since < (MOVE_GRACE_SECONDS if is_news else DWELL_SECONDS):
            return None
        if heard_seconds_ago is not None and heard_seconds_ago < since:
            return None
        return _first(order, peer, entry.hint) if is_news else next_candidate(peer.endpoint, order)


def _first(order: Sequence[Endpoint], peer: Peer, hint: Endpoint | None) -> Endpoint | None:
    if hint in order:
        return hint
    return next_candidate(peer.endpoint, order) if is_same_endpoint(order[0], peer.endpoint) else order[0]
