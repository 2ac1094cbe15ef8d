"""Routes beyond nodes at work: which are taken, what this node announces, and forwarding for that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from wgmesh_agent.linux.ip_forwarding import Forwarding, Role
from wgmesh_agent.linux.route_lookup import connected_networks, leaving_interface
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.rejections import Refusals
from wgmesh_agent.mesh.routing.route_selection import Granted, Own, RouteRefusal, granted
from wgmesh_agent.wireguard.errors import KernelError
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import IPAddress, Network, Route
from wgmesh_agent.wireguard.mtu import path_route, path_routes

log = structlog.get_logger()
LOOK_SECONDS = 15.0


class Beyond:
    """One instance a node."""

    def __init__(
        self,
        interface: str,
        ledger: Ledger,
        refusals: Refusals,
        announced: tuple[Network, ...],
        forwarding: Forwarding,
        changed: Callable[[], None],
    ) -> None:
        """
        Args:
            announced: the networks behind this node that the mesh gave it.
            changed: called when `granted` answers differently for another reason than the ledger.
        """
        self._interface = interface
        self._ledger = ledger
        self._refusals = refusals
        self._forwarding = forwarding
        self._changed = changed
        self._connected: tuple[Network, ...] = ()
        self._complaints: set[str] = set()
        self._known: frozenset[RouteRefusal] = frozenset()
        self.announced = announced
        self.refused: tuple[RouteRefusal, ...] = ()
        self.taken: Mapping[PublicKey, Sequence[Network]] = {}
        """What was answered to `granted` last."""

    def announce(self, routes: tuple[Network, ...]) -> None:
        """The mesh gives this node other networks than before."""
        if routes != self.announced:
            log.info("routes of this node", routes=[str(route) for route in routes])
            self.announced = routes
            self._changed()

    def granted(self) -> Mapping[PublicKey, Sequence[Network]]:
        """The routes to program by member's key. What is refused for the first time is counted and logged."""
        found = self._granted()
        self.refused = found.refusals
        for refusal in found.refusals:
            if refusal not in self._known:
                self._refusals.count("route_overlap", str(refusal))
        self._known = frozenset(found.refusals)
        self.taken = found.by_key
        return found.by_key

    def paths(self, reduced: Mapping[IPAddress, int]) -> tuple[Route, ...]:
        """The routes to members whose path carries less. `reduced`: how much, by primary mesh address."""
        bindings = ((address, self._ledger.by_address(address)) for address in reduced)
        return path_routes(reduced, {a: binding.claim.addresses for a, binding in bindings if binding})

    def routes(self, reduced: Mapping[IPAddress, int]) -> tuple[Route, ...]:
        """What belongs into the routing table. `reduced`: what passes to a peer, by its primary mesh address."""
        routes = []
        for key, networks in self._granted().by_key.items():
            binding = self._ledger.by_key(key)
            mtu = reduced.get(binding.claim.addresses[0]) if binding is not None else None
            routes += [Route(network) if mtu is None else path_route(network, mtu) for network in networks]
        return tuple(sorted(routes, key=lambda one: (one.destination.version, one.destination[0].packed)))

    async def start(self) -> None:
        """Learns what this machine is connected to."""
        self._connected = await self._look()

    async def run(self) -> None:
        """Looks now and then what this machine is connected to, and keeps forwarding as announced routes need it."""
        while True:
            await asyncio.to_thread(self._settle_forwarding)
            await asyncio.sleep(LOOK_SECONDS)
            connected = await self._look()
            if connected != self._connected:
                self._connected = connected
                self._changed()

    def _granted(self) -> Granted:
        return granted(self._ledger, Own(self._ledger.own.ranges, self._connected, self.announced))

    async def _look(self) -> tuple[Network, ...]:
        try:
            return await connected_networks(without=self._interface)
        except KernelError as error:
            log.warning("connected networks not known", why=str(error))
            return self._connected

    def _settle_forwarding(self) -> None:
        interfaces = set()
        for network in self.announced:
            try:
                interface = leaving_interface(network)
            except KernelError as error:
                log.warning("announced, and not reached from here", route=str(network), why=str(error))
            else:
                if network.version == 4:
                    interfaces.add(interface)
        self._complain(self._forwarding.unable(self.announced))
        self._forward(self.announced, interfaces)

    def _forward(self, networks: Sequence[Network], interfaces: Iterable[str]) -> None:
        try:
            self._forwarding.need(Role.GATEWAY, networks, interfaces)
        except (KernelError, OSError) as error:
            self._complain(str(error))

    def _complain(self, what: str | None) -> None:
        """Once."""
        if what is not None and what not in self._complaints:
            self._complaints.add(what)
            log.warning("not all that this node announces is forwarded", why=what)
