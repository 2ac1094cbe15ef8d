"""State of a device after changes: WireGuard's own rules as a function, for tests and for a backend in memory."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from wgmesh_agent.wireguard.diff import Change, RemovePeer, SetDevice, SetPeer, allowed_ip_owners
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Device, Network, Peer


def apply(device: Device, changes: Iterable[Change], *, now_unix: float) -> Device:
    """Returns `device` after `changes` in order, as WireGuard applies them: a range added to a peer is removed from
    its previous owner."""
    peers = dict(device.peers)
    held = allowed_ip_owners(device)
    for change in changes:
        match change:
            case SetDevice():
                device = _with_settings(device, change)
                if device.public_key in peers:
                    _drop(peers, held, device.public_key)
            case RemovePeer(key):
                _drop(peers, held, key)
            case SetPeer():
                _set(peers, held, device.public_key, change, now_unix)
    return replace(device, peers=peers)


def endpoint_write_times(
    written: Mapping[PublicKey, float], changes: Iterable[Change], *, now_unix: float
) -> dict[PublicKey, float]:
    """Returns when each peer's endpoint was last written by this process (unix seconds), after `changes`."""
    result = dict(written)
    for change in changes:
        match change:
            case SetPeer(key, endpoint) if endpoint is not None:
                result[key] = now_unix
            case RemovePeer(key):
                result.pop(key, None)
            case _:
                continue
    return result


def _with_settings(device: Device, change: SetDevice) -> Device:
    if change.private_key is not None:
        device = replace(device, public_key=change.private_key.public())
    if change.listen_port is not None:
        device = replace(device, listen_port=change.listen_port)
    return device


def _drop(peers: dict[PublicKey, Peer], held: dict[Network, PublicKey], key: PublicKey) -> None:
    gone = peers.pop(key, None)
    for one in gone.allowed_ips if gone is not None else ():
        del held[one]


def _set(
    peers: dict[PublicKey, Peer],
    held: dict[Network, PublicKey],
    own_public: PublicKey | None,
    change: SetPeer,
    now_unix: float,
) -> None:
    key = change.public_key
    if key == own_public or (key not in peers and not change.create):
        return
    for one in change.add_allowed_ips:
        holder = held.get(one)
        if holder is not None and holder != key:
            peers[holder] = replace(peers[holder], allowed_ips=peers[holder].allowed_ips - {one})
        held[one] = key
    peer = peers.get(key, Peer(key))
    for one in change.remove_allowed_ips & peer.allowed_ips:
        del held[one]
    peer = replace(peer, allowed_ips=(peer.allowed_ips | change.add_allowed_ips) - change.remove_allowed_ips)
    if change.endpoint is not None:
        peer = replace(peer, endpoint=change.endpoint, endpoint_written=now_unix)
    if change.keepalive_seconds is not None:
        peer = replace(peer, keepalive_seconds=change.keepalive_seconds)
    if change.preshared_key is not None:
        peer = replace(peer, preshared_key=change.preshared_key)
    peers[key] = peer
