"""What a node is as long as it runs."""

from __future__ import annotations

from dataclasses import dataclass

from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_agent.wireguard.model import Endpoint


@dataclass(frozen=True, slots=True)
class Identity:
    """This node for as long as it runs: its key, its port, and where others reach it."""

    private_key: PrivateKey
    listen_port: int
    endpoint: Endpoint
    mtu: int
    interface: str
    keepalive_seconds: int | None = None
    endpoint_given: bool = False
    """The endpoint was set, or told by a STUN server: it is told whatever others see."""
    relays: tuple[str, ...] = ()
    """Members that may carry traffic between others, best first."""
