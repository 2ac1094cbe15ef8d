"""The machine of a node in memory: what it is asked for, and what is done to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from ipaddress import ip_address
from pathlib import Path
from random import Random

from tests.unit.clock import TestClock

from wgmesh_agent.agent.platform import Platform
from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.linux.address_monitor import HostChange
from wgmesh_agent.linux.route_lookup import UnderlayRoute
from wgmesh_agent.runtime.clock import Clock
from wgmesh_agent.wireguard.errors import KernelError
from wgmesh_agent.wireguard.model import IPAddress, Network


class PlayedMachine:
    """Routes nothing, unless a test sets it.

    Attributes:
        triggered: targets of handshake triggers.
        host_news, interface_news: the kernel's next notifications.
        networks: those it is connected to; an exception, if they cannot be read.
        allowed: permitted destinations of traffic from the tunnel; None: anywhere.
        tables: the texts passed to nft; `nft_error` is its error.
    """

    def __init__(self, net: Path = Path("/nonexistent")) -> None:
        self.net = net
        self.triggered: list[IPAddress] = []
        self.host_news: asyncio.Queue[HostChange] = asyncio.Queue()
        self.interface_news: asyncio.Queue[None] = asyncio.Queue()
        self.held: list[tuple[str, IPAddress]] = [("eth0", ip_address("192.0.2.1"))]
        self.networks: tuple[Network, ...] | KernelError = ()
        self.allowed: set[Network] | None = None
        self.tables: list[str] = []
        self.listed: list[str] = []
        self.nft_error = ""
        self.has_nft = True
        self.has_table = True

    # Addresses and routes

    async def reachable(self) -> list[tuple[str, IPAddress]]:
        return self.held

    async def candidates(self) -> list[tuple[str, IPAddress]]:
        return self.held

    def route(self, destination: IPAddress, /) -> UnderlayRoute:
        return UnderlayRoute(self.held[0][1], 1500)

    async def connected_networks(self, *, without: str) -> tuple[Network, ...]:
        if isinstance(self.networks, KernelError):
            raise self.networks
        return self.networks

    async def host_changes(self) -> AsyncIterator[HostChange]:
        while True:
            yield await self.host_news.get()

    async def interface_changes(self, interface: str, /) -> AsyncIterator[None]:
        while True:
            await self.interface_news.get()
            yield

    # WireGuard

    def trigger(self, addresses: Iterable[IPAddress], /) -> None:
        self.triggered += addresses

    # Forwarding

    def is_restricted(self, name: str, /) -> bool:
        return self.allowed is not None

    def restrict_forwarding(self, name: str, networks: Iterable[Network], /, *, only_add: bool) -> None:
        self.allowed = set(networks) | ((self.allowed or set()) if only_add else set())

    def lift_restriction(self, name: str, /) -> None:
        self.allowed = None

    # nft

    def is_installed(self) -> bool:
        return self.has_nft

    async def run(self, *arguments: str, text: str = "") -> str:
        if arguments[0] == "list":
            self.listed.append(arguments[-1])
            return "" if self.has_table else "No such file or directory"
        if not self.nft_error:
            self.tables.append(text)
        return self.nft_error


def played_platform(machine: PlayedMachine | None = None, clock: Clock | None = None) -> Platform:
    """Of `machine`, with real gossip and a time that stands still unless `clock` is another."""
    machine = machine or PlayedMachine()
    return Platform(
        clock=clock or TestClock(),
        rng=lambda: Random(1),
        gossip=GossipNode,
        addresses=machine,
        host_changes=machine.host_changes,
        interface_monitor=machine.interface_changes,
        route=machine.route,
        connected_networks=machine.connected_networks,
        trigger_handshakes=machine.trigger,
        forwarding_rules=machine,
        nft=machine,
        net=machine.net,
    )
