"""Sends and takes in the probes of `probing.liveness` and `probing.path_mtu`, on this node's mesh address."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

import structlog

from wgmesh_agent.gossip.serf.events import Member
from wgmesh_agent.linux.route_lookup import RouteLookup
from wgmesh_agent.mesh.dataplane.device_cache import DeviceCache
from wgmesh_agent.mesh.membership.local_node import LocalNode
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.probing.liveness import LinkState, LivenessProber
from wgmesh_agent.mesh.probing.padded_prober import PaddedProber
from wgmesh_agent.mesh.probing.path_mtu import PathMTU, PathMTUDiscovery
from wgmesh_agent.runtime.borders import border
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.clock import Clock
from wgmesh_agent.wireguard.endpoint_candidates import STALE_AFTER_SECONDS
from wgmesh_agent.wireguard.errors import KernelError
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Device, Endpoint, IPAddress
from wgmesh_agent.wireguard.mtu import OVERHEAD_BYTES

log = structlog.get_logger()
PROBES = border("probe", "UDP beside gossip on the mesh address, from whoever has a tunnel")
MAX_PROBE_BYTES = 64
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PROBE = 10, 23, 3
RESUME_SECONDS = 5.0
"""At most so long after a machine was suspended, peers are probed."""


class ProbeService(asyncio.DatagramProtocol):
    """Bound to the mesh address: what comes in was authenticated by WireGuard, its source address too."""

    def __init__(
        self,
        local: LocalNode,
        members: MemberView,
        departing: Iterable[Member],
        device: DeviceCache,
        changes: Signal,
        paths_changed: Signal,
        clock: Clock,
        rng: random.Random,
        route: RouteLookup,
    ) -> None:
        """
        Args:
            departing: members that others say have left, while their tunnels are not known to be silent.
            changes: when other members may have to be probed.
            paths_changed: notified when `reduced_mtus` answers differently.
        """
        self._local = local
        self._members = members
        self._departing = departing
        self._device = device
        self._changes = changes
        self._paths_changed = paths_changed
        self._clock = clock
        self._route = route
        self._hearing = LivenessProber(rng)
        self._mtus = PathMTUDiscovery(local.config.mtu, rng)
        self._read: Device | None = None
        self._ways: dict[IPAddress, Endpoint] = {}
        self._reduced: Mapping[IPAddress, int] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self.padded = PaddedProber(self._send)
        self.unsent = 0

    async def start(self) -> None:
        """Binds the port. Raises OSError if it is taken."""
        address, port = self._local.addresses[0], self._local.probe_port
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=(str(address), port), family=family
        )
        # Probes are sent whole, whatever a route says of its path: to find that out is what they are for.
        level, option = (
            (socket.IPPROTO_IP, _IP_MTU_DISCOVER)
            if family == socket.AF_INET
            else (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER)
        )
        self._transport.get_extra_info("socket").setsockopt(level, option, _PROBE)

    async def run(self) -> None:
        """Probes until it is cancelled."""
        seen = -1
        while True:
            now = self._clock.boot()
            if seen != self._changes.generation:
                seen = self._changes.generation
                peers = self._members.probe_targets(self._local.probe_port, self._departing)
                self._hearing.set_peers(peers, now)
                self._mtus.set_peers(peers, now)
                self._read = None
            self._send_due(now)
            self._search(now)
            dues = [due for due in (self._hearing.next_due(), self._mtus.next_due()) if due is not None]
            # After suspend all are due, and this timer does not know it: it stood still.
            await self._changes.wait_after(
                seen, min(max(0.0, min(dues) - now), RESUME_SECONDS) if dues else None
            )

    def probe_now(self, addresses: Iterable[IPAddress]) -> None:
        """Probes these peers at once, and has them answer at once."""
        now = self._clock.boot()
        for address in addresses:
            self._hearing.probe_now(address, now)
        self._send_due(now)

    def leave(self) -> None:
        """Tells the peers that this node leaves the mesh: 20 now, the others when they are probed or ask."""
        now = self._clock.boot()
        self._hearing.leave(now)
        self._send_due(now)

    def links(self) -> dict[str, LinkState]:
        """Every probed peer by name."""
        return self._hearing.links(self._clock.boot())

    def path_mtus(self) -> dict[str, PathMTU]:
        """What passes to every probed peer, by name."""
        return self._mtus.paths()

    def reduced_mtus(self) -> Mapping[IPAddress, int]:
        """By mesh address: the peers whose path carries less than the interface sends, and how many bytes."""
        return self._reduced

    def on_member_change(self, address: IPAddress, *, failed: bool) -> None:
        """Gossip says that a peer failed, or is back; `changes` is to tell of it after this."""
        self._hearing.on_change(address, self._clock.boot(), failed=failed)

    def hears(self, address: IPAddress) -> bool:
        """Whether the member of this mesh address is heard now."""
        return self._hearing.is_receiving_from(address, self._clock.boot())

    def leaves(self, address: IPAddress) -> bool:
        """Whether the member of this mesh address said last, through its tunnel, that it leaves the mesh."""
        return self._hearing.leaves(address)

    def doubt(self, address: IPAddress) -> None:
        """Probes a member, and takes it for heard from its next answer on."""
        self.on_member_change(address, failed=True)
        self.probe_now([address])

    def has_session(self, key: PublicKey) -> bool:
        """Whether WireGuard has shaken hands with the peer so lately that packets pass."""
        device = self._device.latest
        peer = device.peers.get(key) if device is not None else None
        return peer is not None and self._clock.unix() - peer.last_handshake < STALE_AFTER_SECONDS

    @property
    def period_seconds(self) -> float:
        """How often each peer is probed."""
        return self._hearing.period_seconds

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        with PROBES.fence(addr[0]):
            self._received(data, addr)

    def _received(self, data: bytes, addr: tuple[str, int]) -> None:
        source, now = ip_address(addr[0].partition("%")[0]), self._clock.boot()
        probe = data[:MAX_PROBE_BYTES]
        if self._hearing.received(source, probe, now):
            answer = self._hearing.answer(source, probe, now)
        else:
            answer = self._mtus.received(source, data, now)
            self._update_reduced()
            self.padded.received(source, data)
        if answer is not None:
            self._send(source, answer)

    def error_received(self, exc: Exception) -> None:
        # What a peer without a listener answers, or the kernel while an interface changes: shows as a silent link.
        self.unsent += 1
        log.debug("probe not sent", error=str(exc))

    def _send_due(self, now: float) -> None:
        for address, payload in self._hearing.due(now):
            self._send(address, payload)

    def _search(self, now: float) -> None:
        if self._read is not self._device.latest:
            self._update_endpoints(now)
        found = self._mtus.due(now, self._max_probe_size)
        if found is not None:
            self._send(*found)
        self._update_reduced()

    def _update_endpoints(self, now: float) -> None:
        self._read = device = self._device.latest
        assert device is not None
        found = (
            (address, self._members.peer_endpoint(device, address)) for address in self._mtus.addresses()
        )
        ways = {address: endpoint for address, endpoint in found if endpoint is not None}
        for address, endpoint in ways.items():
            if self._ways.get(address, endpoint) != endpoint:
                self._mtus.path_changed(address, now)
        self._ways = ways

    def _max_probe_size(self, address: IPAddress) -> int | None:
        """What this machine's own routes leave, a path MTU they have learned included; None while nothing is heard."""
        endpoint = self._ways.get(address)
        if endpoint is None or not self.hears(address):
            return None
        try:
            return self._route(endpoint.address).mtu - OVERHEAD_BYTES[endpoint.address.version]
        except KernelError:
            return None

    def _update_reduced(self) -> None:
        reduced = self._mtus.reduced()
        if reduced != self._reduced:
            for address in reduced.keys() | self._reduced.keys():
                if reduced.get(address) != self._reduced.get(address):
                    log.info("path MTU", address=str(address), bytes=reduced.get(address, "full"))
            self._reduced = dict(reduced)
            self._paths_changed.notify()

    def _send(self, address: IPAddress, payload: bytes) -> None:
        if self._transport is not None:
            self._transport.sendto(payload, (str(address), self._local.probe_port))
