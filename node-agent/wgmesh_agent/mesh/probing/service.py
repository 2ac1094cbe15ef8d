"""Sends and receives the probes of `probing.liveness` and `probing.path_mtu`, on this node's mesh address."""

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
PROBES = border("probe", "UDP next to gossip on the mesh address, from peers with a tunnel")
MAX_PROBE_BYTES = 64
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PROBE = 10, 23, 3
RESUME_SECONDS = 5.0
"""Maximum delay of probes after a machine was suspended."""


class ProbeService(asyncio.DatagramProtocol):
    """Probe socket on the mesh address: WireGuard has authenticated what arrives, including its source address."""

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
            departing: members that gossip reports as left, while their tunnels are not known to be down.
            changes: notified when the set of members to probe may have changed.
            paths_changed: notified when `reduced_mtus` changes.
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
        # Probes are sent unfragmented, whatever path MTU a route states: they exist to find it.
        level, option = (
            (socket.IPPROTO_IP, _IP_MTU_DISCOVER)
            if family == socket.AF_INET
            else (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER)
        )
        self._transport.get_extra_info("socket").setsockopt(level, option, _PROBE)

    async def run(self) -> None:
        """Probes until cancelled."""
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
            # After a suspend all are due, and this timer does not notice: it was suspended too.
            await self._changes.wait_after(
                seen, min(max(0.0, min(dues) - now), RESUME_SECONDS) if dues else None
            )

    def probe_now(self, addresses: Iterable[IPAddress]) -> None:
        """Probes these peers at once, and requests immediate answers."""
        now = self._clock.boot()
        for address in addresses:
            self._hearing.probe_now(address, now)
        self._send_due(now)

    def leave(self) -> None:
        """Announces to the peers that this node leaves the mesh: to 20 now, to the others when they are probed or send
        a probe.
        """
        now = self._clock.boot()
        self._hearing.leave(now)
        self._send_due(now)

    def links(self) -> dict[str, LinkState]:
        """All probed peers by name."""
        return self._hearing.links(self._clock.boot())

    def path_mtus(self) -> dict[str, PathMTU]:
        """Path MTU of all probed peers, by name."""
        return self._mtus.paths()

    def reduced_mtus(self) -> Mapping[IPAddress, int]:
        """By mesh address: the peers with a reduced path MTU, and its value in bytes."""
        return self._reduced

    def on_member_change(self, address: IPAddress, *, failed: bool) -> None:
        """Gossip reports that a peer failed, or is alive again; the caller notifies `changes` after this."""
        self._hearing.on_change(address, self._clock.boot(), failed=failed)

    def hears(self, address: IPAddress) -> bool:
        """Whether the link from the member of this mesh address is up."""
        return self._hearing.is_receiving_from(address, self._clock.boot())

    def leaves(self, address: IPAddress) -> bool:
        """Whether the member of this mesh address announced through its tunnel that it leaves the mesh."""
        return self._hearing.leaves(address)

    def doubt(self, address: IPAddress) -> None:
        """Probes a member; its link counts as up from its next answer on."""
        self.on_member_change(address, failed=True)
        self.probe_now([address])

    def has_session(self, key: PublicKey) -> bool:
        """Whether the WireGuard session with the peer is recent enough that packets pass."""
        device = self._device.latest
        peer = device.peers.get(key) if device is not None else None
        return peer is not None and self._clock.unix() - peer.last_handshake < STALE_AFTER_SECONDS

    @property
    def period_seconds(self) -> float:
        """Period of the probes to each peer."""
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
        # Errors of a peer without a listener, or of the kernel while an interface changes, show as a link that is down.
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
        """Largest size that this machine's own routes allow, including a learned path MTU; None while the link
        is down.
        """
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
