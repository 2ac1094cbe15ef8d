"""What WireGuard should hold: a pure function of this node's key and port and the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from wgmesh_agent.membership.binding import Binding
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_agent.wireguard.model import DesiredDevice, DesiredPeer


def desired_device(
    private_key: PrivateKey,
    listen_port: int,
    bindings: Iterable[Binding],
    *,
    keepalive_seconds: int | None = None,
) -> DesiredDevice:
    """One peer a binding, allowed exactly its own mesh addresses, in a stable order."""
    peers = [
        DesiredPeer(
            public_key=binding.claim.public_key,
            allowed_ips=frozenset(ip_network(address) for address in binding.claim.addresses),
            endpoints=binding.claim.endpoints,
            keepalive_seconds=keepalive_seconds,
        )
        for binding in bindings
    ]
    peers.sort(key=lambda peer: str(peer.public_key))
    return DesiredDevice(private_key=private_key, listen_port=listen_port, peers=tuple(peers))
