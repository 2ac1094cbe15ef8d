"""What a node takes from the machine it runs on: made once, so that a test can give it another machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.gossip.memberlist.config import SerfConfig
from wgmesh_agent.gossip.memberlist.senders import Vouching
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.linux import forwarding_rules
from wgmesh_agent.linux.address_monitor import HostChanges, host_changes
from wgmesh_agent.linux.interface_addresses import InterfaceAddresses
from wgmesh_agent.linux.interface_monitor import InterfaceMonitor, interface_news
from wgmesh_agent.linux.ip_forwarding import NET, ForwardingRules
from wgmesh_agent.linux.nft import Nft, SystemNft
from wgmesh_agent.linux.route_lookup import NetworkReader, RouteLookup, connected_networks, lookup_route
from wgmesh_agent.mesh.dataplane.handshake_trigger import HandshakeTrigger, trigger_handshakes
from wgmesh_agent.mesh.discovery.local_addresses import AddressReader
from wgmesh_agent.runtime.clock import Clock, SystemClock


class GossipFactory(Protocol):
    """Makes a gossip node, not started; `GossipNode` itself does, on real sockets."""

    def __call__(
        self, config: SerfConfig, *, keyring: Keyring | None, vouching: Vouching | None
    ) -> GossipNode:
        """Raises GossipError for a configuration that cannot be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Time, chance, and this machine's network.

    Attributes:
        rng: makes a source of chance for each part that needs one.
        net: where the kernel's network settings are.
    """

    clock: Clock
    rng: Callable[[], Random]
    gossip: GossipFactory
    addresses: AddressReader
    host_changes: HostChanges
    interface_monitor: InterfaceMonitor
    route: RouteLookup
    connected_networks: NetworkReader
    trigger_handshakes: HandshakeTrigger
    forwarding_rules: ForwardingRules
    nft: Nft
    net: Path


def system_platform() -> Platform:
    """The real one."""
    return Platform(
        clock=SystemClock(),
        rng=Random,
        gossip=GossipNode,
        addresses=InterfaceAddresses(),
        host_changes=host_changes,
        interface_monitor=interface_news,
        route=lookup_route,
        connected_networks=connected_networks,
        trigger_handshakes=trigger_handshakes,
        forwarding_rules=forwarding_rules,
        nft=SystemNft(),
        net=NET,
    )
