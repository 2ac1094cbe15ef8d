"""Members of a test's mesh, each on a host of its own, and how one is set up by an agent."""

import os
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network

from tests.netns.backend_harness import Agent, Host

from wgmesh_agent.wireguard.backend import BackendKind
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import (
    DesiredDevice,
    DesiredPeer,
    Endpoint,
    InterfaceSpec,
    Network,
)

NAME = "wgtest"
PORT = 51820
LINK_KIND = {BackendKind.KERNEL: "wireguard", BackendKind.USERSPACE: "tun"}
MESHES = {"IPv4": (4,), "IPv6": (6,), "dual-stack": (4, 6)}


@dataclass(frozen=True)
class Node:
    """A member of the test's mesh: number 1 or 2, as its host on the cable."""

    number: int
    key: PrivateKey
    versions: tuple[int, ...] = (4,)

    @property
    def public(self) -> PublicKey:
        return self.key.public()

    @property
    def mesh_addresses(self) -> list[str]:
        return [{4: f"10.232.1.{self.number}", 6: f"fd32::{self.number}"}[one] for one in self.versions]

    def spec(self, mtu: int = 1420) -> InterfaceSpec:
        ranges = {4: "10.232.0.0/16", 6: "fd32::/64"}
        return InterfaceSpec(
            NAME,
            tuple(ip_interface(one) for one in self.mesh_addresses),
            tuple(ip_network(ranges[one]) for one in self.versions),
            mtu,
        )

    def as_peer(self, underlay: str, *more_ranges: str) -> DesiredPeer:
        ranges: frozenset[Network] = frozenset(
            ip_network(one) for one in (*self.mesh_addresses, *more_ranges)
        )
        # Number 1 begins, and is set up last: two initiations that cross annul each other, and both wait 5 s.
        keepalive = 25 if self.number == 2 else 0
        return DesiredPeer(self.public, ranges, (Endpoint(ip_address(underlay), PORT),), keepalive)


def node(number: int, versions: tuple[int, ...] = (4,)) -> Node:
    return Node(number, PrivateKey.generate(os.urandom), versions)


def desired(own: Node, *peers: DesiredPeer) -> DesiredDevice:
    return DesiredDevice(own.key, PORT, peers)


async def member(agent: Agent, kind: BackendKind, own: Node, *peers: DesiredPeer, mtu: int = 1420) -> None:
    """Has `agent` set up `own` with these peers."""
    await agent.choose(kind.value, NAME)
    await agent.open(own.spec(mtu))
    await agent.converge(desired(own, *peers))


def answers(host: Host, address: str, *options: str) -> bool:
    return " 0% packet loss" in host.run("ping", "-c", "1", "-W", "1", *options, address, check=False)
