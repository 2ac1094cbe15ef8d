"""The changes that turn a device's actual state into its desired state; nothing is flushed or re-created."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from wgmesh_agent.wireguard import endpoint_candidates
from wgmesh_agent.wireguard.keys import PresharedKey, PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import (
    DesiredDevice,
    DesiredPeer,
    Device,
    Endpoint,
    Network,
    Peer,
    allowed_ips_of,
)

NO_RANGES: frozenset[Network] = frozenset()


@dataclass(frozen=True, slots=True)
class SetDevice:
    """Settings of the interface itself; None keeps the current value."""

    private_key: PrivateKey | None = None
    listen_port: int | None = None


@dataclass(frozen=True, slots=True)
class SetPeer:
    """Creates (`create`) or changes a peer; None keeps the current value of a setting.

    A new pre-shared key applies to the next handshakes: the current session is not interrupted. Adding a range takes
    it from the peer that holds it, in one step. Without `create`, a peer that was removed in the meantime is not
    re-created.
    """

    public_key: PublicKey
    endpoint: Endpoint | None = None
    add_allowed_ips: frozenset[Network] = NO_RANGES
    remove_allowed_ips: frozenset[Network] = NO_RANGES
    keepalive_seconds: int | None = None
    create: bool = False
    preshared_key: PresharedKey | None = None


@dataclass(frozen=True, slots=True)
class RemovePeer:
    """Removes a peer with the ranges it then still holds; a no-op if it does not exist."""

    public_key: PublicKey


Change: TypeAlias = SetDevice | SetPeer | RemovePeer


def diff(
    desired: DesiredDevice, actual: Device, *, now_unix: float, own_public: PublicKey
) -> tuple[Change, ...]:
    """Returns the changes from `actual` to `desired`: empty if there is no difference (property-tested with
    `patch.apply`).

    `now_unix` is unix seconds, as the kernel stamps handshakes; `own_public` belongs to `desired.private_key`, and a
    desired peer with that key is ignored, as WireGuard itself does. A learned endpoint is kept unless the peer has
    had no handshake for 180 s and another candidate exists, or one must be tried now. Order: the device, then peers,
    then removals, so that a range that moves to another peer always has an owner. About 4 µs per peer without
    changes.
    """
    changes: list[Change] = list(_device_changes(desired, actual, own_public))
    wanted = {peer.public_key for peer in desired.peers}
    # Moving a range to another peer removes it from its holder; an explicit removal first would leave it without an
    # owner for a while.
    taken = {one for peer in desired.peers if peer.public_key != own_public for one in peer.allowed_ips}
    for peer in desired.peers:
        if peer.public_key == own_public:
            continue
        change = _peer_change(peer, actual.peers.get(peer.public_key), taken, now_unix)
        if change is not None:
            changes.append(change)
    changes.extend(RemovePeer(key) for key in actual.peers if key not in wanted)
    return tuple(changes)


def superseded_removals(changes: Sequence[Change], actual: Device) -> list[RemovePeer]:
    """Returns the removals of peers whose ranges all move to others by these changes: they may wait, because nothing
    is sent there."""
    taken = {one for change in changes if isinstance(change, SetPeer) for one in change.add_allowed_ips}
    return [
        change
        for change in changes
        if isinstance(change, RemovePeer)
        and (peer := actual.peers.get(change.public_key)) is not None
        and peer.allowed_ips
        and peer.allowed_ips <= taken
    ]


def _device_changes(desired: DesiredDevice, actual: Device, own_public: PublicKey) -> Iterator[SetDevice]:
    key = desired.private_key if actual.public_key != own_public else None
    port = desired.listen_port if desired.listen_port not in (0, actual.listen_port) else None
    if key is not None or port is not None:
        yield SetDevice(key, port)


def _peer_change(
    peer: DesiredPeer, actual: Peer | None, taken: set[Network], now_unix: float
) -> SetPeer | None:
    if actual is None:
        return SetPeer(
            peer.public_key,
            _first(peer),
            peer.allowed_ips,
            NO_RANGES,
            peer.keepalive_seconds or None,
            create=True,
            preshared_key=peer.preshared_key or None,
        )
    same_ranges = peer.allowed_ips == actual.allowed_ips
    add = NO_RANGES if same_ranges else peer.allowed_ips - actual.allowed_ips
    remove = NO_RANGES if same_ranges else actual.allowed_ips - peer.allowed_ips - taken
    endpoint = _next_endpoint(peer, actual, now_unix)
    keepalive = peer.keepalive_seconds if peer.keepalive_seconds != actual.keepalive_seconds else None
    preshared = peer.preshared_key if peer.preshared_key != actual.preshared_key else None
    if endpoint is None and keepalive is None and preshared is None and not add and not remove:
        return None
    return SetPeer(peer.public_key, endpoint, add, remove, keepalive, preshared_key=preshared)


def _next_endpoint(peer: DesiredPeer, actual: Peer, now_unix: float) -> Endpoint | None:
    if actual.endpoint is None:
        return _first(peer)
    if peer.try_now is not None:
        return None if endpoint_candidates.is_same_endpoint(peer.try_now, actual.endpoint) else peer.try_now
    if not endpoint_candidates.is_stale(actual, now_unix):
        return None
    return endpoint_candidates.next_candidate(actual.endpoint, peer.endpoints)


def _first(peer: DesiredPeer) -> Endpoint | None:
    return peer.try_now or (peer.endpoints[0] if peer.endpoints else None)


def allowed_ip_owners(device: Device) -> dict[Network, PublicKey]:
    """Returns the owner of each range: WireGuard assigns a range to one peer only."""
    return dict(allowed_ips_of(device.peers))
