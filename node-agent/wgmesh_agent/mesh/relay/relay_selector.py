"""Relay selection for peers without a direct path.

The addresses of a relayed peer move to the relay's WireGuard peer. The tunnel to the peer itself stays, without
addresses, and keeps trying. Both ends must do the same: the one with the lower key proposes, the other accepts or
rejects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from wgmesh_agent.mesh.membership.ledger import LocalFacts
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import DesiredDevice, Device, Network

RELAY_AFTER_SECONDS = 5.0
"""How long a path may be down before a relay is sought; direct candidates are tried first."""
GIVE_UP_SECONDS = 30.0
"""After a path via a relay is down for this long it is released: the other end may have released it already."""
DIRECT_VALID_SECONDS = 15.0
"""A tunnel that received something within this time works in that direction: both ends send into it every 10 s."""
PROPOSE_INTERVAL_SECONDS = 4.0
KEEPALIVE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class RelayProposal:
    """A proposal to the peer, and to the relay if there is one: to use this path from now on. `relay` None: the direct
    one.
    """

    peer: PublicKey
    relay: PublicKey | None


@dataclass(slots=True)
class _Route:
    relay: PublicKey
    since: float
    rx_bytes: int | None = None
    received: float | None = None


class RelaySelector:
    """Which peers are relayed via which relay; `now` is monotonic seconds."""

    def __init__(self, local: LocalFacts) -> None:
        self._local = local
        self._ways: dict[PublicKey, _Route] = {}
        self._bad_since: dict[PublicKey, float] = {}
        self._ask_at: dict[PublicKey, float] = {}
        self._tried: dict[PublicKey, PublicKey] = {}
        self._once: set[PublicKey] = set()

    def relays_in_use(self) -> dict[PublicKey, PublicKey]:
        """Peer and relay."""
        return {peer: way.relay for peer, way in self._ways.items()}

    def untaken(self, now: float) -> dict[PublicKey, float | None]:
        """The relayed peers whose own tunnel is down, and for how many seconds; None: for as long as they have been
        relayed.
        """
        return {
            peer: None if way.received is None else now - way.received
            for peer, way in self._ways.items()
            if not self._is_direct(way, now)
        }

    def restore_from_device(self, desired: DesiredDevice, actual: Device, now: float) -> None:
        """Adopts the paths that an earlier process had agreed on: a peer without addresses, whose addresses another
        peer has.
        """
        holders = {one: key for key, peer in actual.peers.items() for one in peer.allowed_ips}
        for peer in desired.peers:
            held = actual.peers.get(peer.public_key)
            at = {holders.get(one) for one in peer.allowed_ips}
            if held is None or held.allowed_ips or len(at) != 1:
                continue
            (relay,) = at
            if relay is not None and relay != peer.public_key:
                self._ways[peer.public_key] = _Route(relay, now)
                self._once.add(peer.public_key)

    def update(
        self, links: Mapping[PublicKey, bool], relays: Sequence[PublicKey], device: Device, now: float
    ) -> list[RelayProposal]:
        """The proposals to send now.

        Args:
            links: members that gossip reports alive, and whether the path to each works in both directions.
            relays: the members that may relay, best first; those with a working path are used.
            device: as it is now; matters only while peers are relayed.
        """
        usable = [key for key in relays if links.get(key) and key not in self._ways]
        for key, through in self.relays_in_use().items():
            if key not in device.peers or through not in relays or through in self._ways:
                self._direct(key)
        self._note(links, device, now)
        questions = []
        for peer, works in links.items():
            way, bad = self._ways.get(peer), self._bad_for(peer, now)
            if way is not None and bad >= GIVE_UP_SECONDS and now - way.since >= GIVE_UP_SECONDS:
                self._direct(peer)
            if not self._local.public_key < peer or now < self._ask_at.get(peer, 0.0):
                continue
            if way is not None and self._is_direct(way, now):
                questions.append(RelayProposal(peer, None))
            elif (
                not works
                and bad >= RELAY_AFTER_SECONDS
                and (way is None or now - way.since >= RELAY_AFTER_SECONDS)
            ):
                relay = self._next(peer, [key for key in usable if key != peer])
                if relay is not None:
                    questions.append(RelayProposal(peer, relay))
        for question in questions:
            self._ask_at[question.peer] = now + PROPOSE_INTERVAL_SECONDS
            if question.relay is not None:
                self._tried[question.peer] = question.relay
        return questions

    def accepts(
        self,
        question: RelayProposal,
        links: Mapping[PublicKey, bool],
        relays: Sequence[PublicKey],
        now: float,
    ) -> bool:
        """Whether this end accepts the proposal of `question.peer`; if so, it has done the same.

        No message makes a node abandon a working path, and a member that may not relay is never used.
        """
        peer, relay = question.peer, question.relay
        way = self._ways.get(peer)
        if relay is None:
            if way is not None and not self._is_direct(way, now):
                return False
            self._direct(peer)
            return True
        if way is not None and way.relay == relay:
            return True
        if (
            links.get(peer, False)
            or relay not in relays
            or relay == peer
            or relay in self._ways
            or not links.get(relay)
        ):
            return False
        self.confirm(question, now)
        return True

    def confirm(self, question: RelayProposal, now: float) -> None:
        """The other end accepted: this end does the same."""
        if question.relay is None:
            self._direct(question.peer)
        else:
            self._ways[question.peer] = _Route(question.relay, now)
            self._once.add(question.peer)

    def refine(self, desired: DesiredDevice) -> DesiredDevice:
        """The desired device with the addresses of relayed peers at their relays."""
        if not self._once:
            return desired
        keys = {peer.public_key for peer in desired.peers}
        self._once &= keys
        moved: dict[PublicKey, set[Network]] = {}
        for peer in desired.peers:
            way = self._ways.get(peer.public_key)
            if way is not None and way.relay in keys:
                moved.setdefault(way.relay, set()).update(peer.allowed_ips)
        peers = []
        for peer in desired.peers:
            way = self._ways.get(peer.public_key)
            if way is not None and way.relay in keys:
                peer = replace(peer, allowed_ips=frozenset(), keepalive_seconds=KEEPALIVE_SECONDS)
            elif peer.public_key in self._once:
                peer = replace(peer, keepalive_seconds=peer.keepalive_seconds or 0)
            if peer.public_key in moved:
                peer = replace(peer, allowed_ips=peer.allowed_ips | moved[peer.public_key])
            peers.append(peer)
        return replace(desired, peers=tuple(peers))

    def _note(self, links: Mapping[PublicKey, bool], device: Device, now: float) -> None:
        self._bad_since = {peer: self._bad_since.get(peer, now) for peer, works in links.items() if not works}
        for known in (self._ask_at, self._tried):
            for peer in known.keys() - links.keys():
                del known[peer]
        for peer, way in self._ways.items():
            held = device.peers.get(peer)
            if held is None:
                continue
            if way.rx_bytes is not None and held.rx_bytes > way.rx_bytes:
                way.received = now
            way.rx_bytes = held.rx_bytes

    def _bad_for(self, peer: PublicKey, now: float) -> float:
        since = self._bad_since.get(peer)
        return 0.0 if since is None else now - since

    def _is_direct(self, way: _Route, now: float) -> bool:
        return way.received is not None and now - way.received <= DIRECT_VALID_SECONDS

    def _next(self, peer: PublicKey, usable: list[PublicKey]) -> PublicKey | None:
        """A relay other than the last one tried, if there is another."""
        if not usable:
            return None
        last = self._tried.get(peer)
        start = usable.index(last) + 1 if last in usable else 0
        return usable[start % len(usable)]

    def _direct(self, peer: PublicKey) -> None:
        self._ways.pop(peer, None)
        self._bad_since.pop(peer, None)
