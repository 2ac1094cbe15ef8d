"""WireGuard between machines in virtual time, indistinguishable from the real one for members of a mesh.

Peers and allowed ranges follow `wireguard.patch`. Handshakes follow the paper (section 6) and the kernel: an initiation
repeats every five seconds for ninety, and is accepted only if its timestamp, from the sender's wall clock, is later
than the last one accepted from that peer; initiations that cross invalidate each other; a session is renewed after 120
seconds and unusable after 180; without a response for 15 seconds a handshake starts again; endpoints are learned from
received packets.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import IPv4Address, ip_network
from typing import Protocol

from wgmesh_agent.wireguard.backend import BackendKind, OpenResult
from wgmesh_agent.wireguard.diff import Change
from wgmesh_agent.wireguard.errors import InterfaceGoneError
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Device, Endpoint, InterfaceSpec, IPAddress, Network
from wgmesh_agent.wireguard.patch import apply

REKEY_AFTER_SECONDS = 120.0
REJECT_AFTER_SECONDS = 180.0
REKEY_TIMEOUT_SECONDS = 5.0
ATTEMPTS = 18
UNANSWERED_SECONDS = 15.0
KEEPALIVE_SECONDS = 10.0
MOST_QUEUED = 1024
OVERHEAD_BYTES = 32


@dataclass(frozen=True, slots=True)
class Packet:
    """An IP packet inside the tunnel."""

    source: IPAddress
    target: IPAddress
    payload: object


@dataclass(frozen=True, slots=True)
class Initiation:
    sender: PublicKey
    target: PublicKey
    timestamp: float
    session: int


@dataclass(frozen=True, slots=True)
class Response:
    sender: PublicKey
    session: int


@dataclass(frozen=True, slots=True)
class Data:
    """One packet, or none: a keepalive."""

    sender: PublicKey
    session: int
    packet: Packet | None


@lru_cache(maxsize=1024)
def alone(address: IPAddress) -> Network:
    """The range of one address."""
    return ip_network(address)


class Wire(Protocol):
    """The underlay: sends a message to an endpoint, whether or not one listens there."""

    def __call__(self, endpoint: Endpoint, message: object) -> None: ...


@dataclass(slots=True)
class _Session:
    number: int
    since: float
    initiated: bool


@dataclass(slots=True)
class _Peer:
    """State that WireGuard keeps for a peer without showing it; removed with the peer."""

    current: _Session | None = None
    previous: _Session | None = None
    offered: _Session | None = None
    initiated: int | None = None
    initiated_at: float = -REKEY_TIMEOUT_SECONDS
    attempts: int = 0
    retry: asyncio.TimerHandle | None = None
    newest_timestamp: float = float("-inf")
    queue: deque[Packet] = field(default_factory=lambda: deque(maxlen=MOST_QUEUED))
    last_handshake: float = 0.0
    rx_bytes: int = 0
    tx_bytes: int = 0
    last_sent: float = 0.0
    unanswered: asyncio.TimerHandle | None = None
    keepalive: asyncio.TimerHandle | None = None


class Tunnel:
    """One machine's interface; `device` None: there is none. It outlives agents, not the machine's power."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        rng: random.Random,
        wall: Callable[[], float],
        wire: Wire,
        deliver: Callable[[Packet], None],
    ) -> None:
        self._loop = loop
        self._rng = rng
        self._wall = wall
        self._wire = wire
        self._deliver = deliver
        self._device: Device | None = None
        self._peers: dict[PublicKey, _Peer] = {}
        self._routes: dict[Network, PublicKey] = {}
        self.spec: InterfaceSpec | None = None
        self.deaf = False
        """Takes nothing in, for tests of who looks on."""
        self.changed: Callable[[Sequence[Change]], None] = lambda changes: None

    # What the back end does

    @property
    def is_up(self) -> bool:
        return self._device is not None

    def open(self, spec: InterfaceSpec) -> bool:
        """Whether it was there."""
        adopted = self._device is not None
        self._device = self._device or Device(spec.name)
        self.spec = spec
        return adopted

    def read(self) -> Device:
        """Raises InterfaceGoneError."""
        device = self._standing()
        peers = {
            key: replace(
                peer,
                last_handshake=self._peers[key].last_handshake,
                rx_bytes=self._peers[key].rx_bytes,
                tx_bytes=self._peers[key].tx_bytes,
            )
            for key, peer in device.peers.items()
        }
        return replace(device, peers=peers)

    def has_shaken_hands(self, key: PublicKey) -> bool:
        peer = self._peers.get(key)
        return peer is not None and peer.last_handshake > 0

    def apply(self, changes: Sequence[Change]) -> None:
        """Each change by itself: a peer removed and made again is a new one."""
        for change in changes:
            self._device = apply(self._standing(), [change], now_unix=self._wall())
            for key in self._peers.keys() - self._device.peers.keys():
                self._forget(self._peers.pop(key))
            for key in self._device.peers:
                self._peers.setdefault(key, _Peer())
        self._routes = {one: key for key, peer in self._standing().peers.items() for one in peer.allowed_ips}
        self.changed(changes)

    def destroy(self) -> None:
        """The interface goes, and with it all it knew."""
        for peer in self._peers.values():
            self._forget(peer)
        self._peers.clear()
        self._routes.clear()
        self._device = self.spec = None

    # What the machine does

    def send(self, packet: Packet) -> bool:
        """False if no peer has the target's address."""
        key = self._routes.get(alone(packet.target))
        if self._device is None or key is None:
            return False
        peer = self._peers[key]
        if self._usable(peer.current):
            self._transmit(key, peer, packet)
        else:
            peer.queue.append(packet)
            self._initiate(key, peer)
        return True

    def receive(self, message: object, endpoint: Endpoint) -> None:
        """A message came from an endpoint."""
        if self.deaf:
            return
        match message:
            case Initiation():
                self._initiated(message, endpoint)
            case Response():
                self._answered(message, endpoint)
            case Data():
                self._received(message, endpoint)

    # Inside

    def _standing(self) -> Device:
        if self._device is None:
            raise InterfaceGoneError("the interface is gone")
        return self._device

    def _own(self) -> PublicKey | None:
        return self._device.public_key if self._device is not None else None

    def _usable(self, session: _Session | None) -> bool:
        return session is not None and self._loop.time() - session.since < REJECT_AFTER_SECONDS

    def _initiate(self, key: PublicKey, peer: _Peer, *, again: bool = False) -> None:
        now, own = self._loop.time(), self._own()
        endpoint = self._standing().peers[key].endpoint
        if now - peer.initiated_at < REKEY_TIMEOUT_SECONDS or endpoint is None or own is None:
            return
        peer.attempts = peer.attempts + 1 if again else 1
        peer.initiated, peer.initiated_at = self._rng.getrandbits(32), now
        self._wire(endpoint, Initiation(own, key, self._wall(), peer.initiated))
        _cancel(peer.retry)
        pause = REKEY_TIMEOUT_SECONDS + self._rng.random() / 3
        peer.retry = self._loop.call_later(pause, self._retry, key, peer)

    def _retry(self, key: PublicKey, peer: _Peer) -> None:
        peer.retry = None
        if peer.attempts > ATTEMPTS:
            peer.queue.clear()
        else:
            self._initiate(key, peer, again=True)

    def _initiated(self, message: Initiation, endpoint: Endpoint) -> None:
        peer = self._peers.get(message.sender)
        own = self._own()
        if peer is None or own is None or own != message.target or message.timestamp <= peer.newest_timestamp:
            return
        peer.newest_timestamp = message.timestamp
        peer.initiated = None
        peer.offered = _Session(message.session, self._loop.time(), initiated=False)
        self._learn(message.sender, peer, endpoint)
        self._wire(endpoint, Response(own, message.session))

    def _answered(self, message: Response, endpoint: Endpoint) -> None:
        peer = self._peers.get(message.sender)
        if peer is None or peer.initiated != message.session:
            return
        peer.initiated = None
        self._established(
            message.sender, peer, _Session(message.session, self._loop.time(), initiated=True), endpoint
        )
        if peer.queue:
            self._flush(message.sender, peer)
        else:
            self._transmit(message.sender, peer, None)

    def _received(self, message: Data, endpoint: Endpoint) -> None:
        peer = self._peers.get(message.sender)
        if peer is None:
            return
        if peer.offered is not None and message.session == peer.offered.number:
            session, peer.offered = peer.offered, None
            self._established(message.sender, peer, session, endpoint)
            self._flush(message.sender, peer)
        elif not any(
            session is not None and session.number == message.session and self._usable(session)
            for session in (peer.current, peer.previous)
        ):
            return
        self._learn(message.sender, peer, endpoint)
        _cancel(peer.unanswered)
        peer.unanswered = None
        peer.rx_bytes += OVERHEAD_BYTES
        packet = message.packet
        if packet is None:
            return
        if peer.keepalive is None:
            peer.keepalive = self._loop.call_later(
                KEEPALIVE_SECONDS, self._keep_alive, message.sender, peer, peer.last_sent
            )
        if alone(packet.source) in self._standing().peers[message.sender].allowed_ips:
            self._deliver(packet)

    def _established(self, key: PublicKey, peer: _Peer, session: _Session, endpoint: Endpoint) -> None:
        peer.previous, peer.current = peer.current, session
        peer.last_handshake = self._wall()
        peer.attempts = 0
        _cancel(peer.retry)
        peer.retry = None
        self._learn(key, peer, endpoint)

    def _flush(self, key: PublicKey, peer: _Peer) -> None:
        while peer.queue:
            self._transmit(key, peer, peer.queue.popleft())

    def _transmit(self, key: PublicKey, peer: _Peer, packet: Packet | None) -> None:
        own, endpoint, session = self._own(), self._standing().peers[key].endpoint, peer.current
        if own is None or endpoint is None or session is None:
            return
        peer.tx_bytes += OVERHEAD_BYTES
        peer.last_sent = self._loop.time()
        self._wire(endpoint, Data(own, session.number, packet))
        if packet is not None and peer.unanswered is None:
            peer.unanswered = self._loop.call_later(UNANSWERED_SECONDS, self._unanswered, key, peer)
        if session.initiated and self._loop.time() - session.since > REKEY_AFTER_SECONDS:
            self._initiate(key, peer)

    def _unanswered(self, key: PublicKey, peer: _Peer) -> None:
        peer.unanswered = None
        self._initiate(key, peer)

    def _keep_alive(self, key: PublicKey, peer: _Peer, sent: float) -> None:
        peer.keepalive = None
        if peer.last_sent == sent and self._usable(peer.current):
            self._transmit(key, peer, None)

    def _learn(self, key: PublicKey, peer: _Peer, endpoint: Endpoint) -> None:
        device = self._standing()
        known = device.peers[key]
        if known.endpoint != endpoint:
            learnt = replace(known, endpoint=endpoint, endpoint_written=0.0)
            self._device = replace(device, peers={**device.peers, key: learnt})

    def _forget(self, peer: _Peer) -> None:
        for timer in (peer.retry, peer.unanswered, peer.keepalive):
            _cancel(timer)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


class TunnelBackend:
    """A machine's tunnel as one agent has it; an agent that was killed touches it no more."""

    kind = BackendKind.KERNEL

    def __init__(self, name: str, tunnel: Tunnel, is_dead: Callable[[], bool]) -> None:
        self.name = name
        self._tunnel = tunnel
        self._is_dead = is_dead

    async def open(self, spec: InterfaceSpec) -> OpenResult:
        return OpenResult(self._tunnel.open(spec) if not self._is_dead() else True)

    async def read(self) -> Device:
        return self._tunnel.read()

    async def fingerprint(self) -> int:
        device = self._tunnel.read()
        peers = ((key, peer.allowed_ips, peer.preshared_key.raw) for key, peer in device.peers.items())
        return hash((device.public_key, device.listen_port, frozenset(peers)))

    async def apply(self, changes: Sequence[Change]) -> None:
        if changes and not self._is_dead():
            self._tunnel.apply(changes)

    async def close(self) -> None:
        """Nothing to release."""

    async def destroy(self) -> None:
        if not self._is_dead():
            self._tunnel.destroy()


def underlay_address(number: int) -> IPv4Address:
    """Of the machine with this number."""
    return IPv4Address("192.0.2.0") + number
