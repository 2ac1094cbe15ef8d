"""Desired state of the WireGuard device: a function of this node's key and port and of the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network

from wgmesh_agent.mesh.membership.claims import Binding
from wgmesh_agent.wireguard.keys import NO_PRESHARED_KEY, PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import DesiredDevice, DesiredPeer, Network


def desired_device(
    private_key: PrivateKey,
    listen_port: int,
    bindings: Iterable[Binding],
    routes: Mapping[PublicKey, Sequence[Network]] | None = None,
    *,
    keepalive_seconds: int | None = None,
) -> DesiredDevice:
    """One peer per binding, in a stable order: its own mesh addresses and `routes` as AllowedIPs, no pre-shared key."""
    routes = routes or {}
    peers = [
        DesiredPeer(
            public_key=binding.claim.public_key,
            allowed_ips=frozenset(
                (
                    *(ip_network(address) for address in binding.claim.addresses),
                    *routes.get(binding.claim.public_key, ()),
                )
            ),
            endpoints=binding.claim.endpoints,
            keepalive_seconds=keepalive_seconds,
            preshared_key=NO_PRESHARED_KEY,
        )
        for binding in bindings
    ]
    peers.sort(key=lambda peer: str(peer.public_key))
    return DesiredDevice(private_key=private_key, listen_port=listen_port, peers=tuple(peers))
