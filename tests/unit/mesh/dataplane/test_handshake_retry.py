"""Peers without a first handshake: which are re-created, when, and how often; then by a running reconciler."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from tests.unit.clock import TestClock
from tests.unit.device import FixedPlan, device_cache
from tests.unit.local import LocalClaim, Tunnels
from tests.unit.machine import PlayedMachine

from wgmesh_agent.mesh.dataplane import handshake_retry, reconciler
from wgmesh_agent.mesh.dataplane.handshake_retry import BACKOFF, MAX_ATTEMPTS, HandshakeRetry
from wgmesh_agent.mesh.dataplane.reconciler import Reconciler
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.runtime.backoff import Backoff
from wgmesh_agent.runtime.clock import SystemClock
from wgmesh_agent.wireguard.diff import RemovePeer, SetPeer
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.memory_backend import MemoryBackend
from wgmesh_agent.wireguard.model import Address, Device, Endpoint, InterfaceSpec, Peer

LOW, MIDDLE, HIGH = (PublicKey(bytes([number]) * 32) for number in (1, 2, 255))
WHERE = Endpoint(ip_address("192.0.2.7"), 54540)
DEADLINE_SECONDS = 10.0


def device(*peers: Peer) -> Device:
    return Device("wg0", peers={peer.public_key: peer for peer in peers})


@pytest.fixture
def waiting() -> HandshakeRetry:
    found = HandshakeRetry(MIDDLE)
    found.peer_created([LOW, HIGH], 100.0)
    return found


def test_only_the_node_with_the_lower_key_begins_anew(waiting: HandshakeRetry) -> None:
    assert waiting.due(device(Peer(LOW), Peer(HIGH)), 200.0) == {HIGH}


def test_a_peer_gets_its_time_first(waiting: HandshakeRetry) -> None:
    assert waiting.next_deadline() == 100.0 + BACKOFF.first_seconds
    assert waiting.due(device(Peer(HIGH)), 100.0 + BACKOFF.first_seconds - 0.01) == frozenset()


@pytest.mark.parametrize("what_became_of_it", [device(Peer(HIGH, last_handshake=1.0)), device()])
def test_a_peer_with_a_handshake_or_gone_is_forgotten(
    waiting: HandshakeRetry, what_became_of_it: Device
) -> None:
    assert waiting.due(what_became_of_it, 200.0) == frozenset()
    assert waiting.next_deadline() is None


def test_attempts_come_further_and_further_apart_and_end(waiting: HandshakeRetry) -> None:
    found = []
    while (deadline := waiting.next_deadline()) is not None:
        assert waiting.due(device(Peer(HIGH)), deadline) == {HIGH}
        waiting.peer_created([HIGH], deadline)
        found.append(deadline - 100.0)
        assert len(found) <= MAX_ATTEMPTS
    assert found == pytest.approx([0.6, 1.8, 4.2, 9.0, 18.6])
    assert waiting.due(device(Peer(HIGH)), 1e6) == frozenset()


def test_making_a_peer_anew_starts_no_new_count(waiting: HandshakeRetry) -> None:
    waiting.due(device(Peer(HIGH)), 100.6)
    waiting.peer_created([HIGH], 100.7)
    assert waiting.next_deadline() == pytest.approx(101.8)


HERE, THERE = ip_address("192.0.2.1"), ip_address("192.0.2.2")


@pytest.mark.parametrize(
    ("before", "after", "anew"),
    [
        (None, HERE, True),  # a route, or an address, came
        (HERE, THERE, True),
        (HERE, HERE, False),
        (HERE, None, False),
    ],
)
def test_who_is_reached_by_another_way_now_is_made_anew_the_lower_key_first(
    before: Address | None, after: Address | None, anew: bool
) -> None:
    found = HandshakeRetry(MIDDLE)
    found.leave_from({LOW: before, HIGH: before})
    assert found.rerouted({LOW: after, HIGH: after}, 100.0) is anew
    both = device(Peer(LOW), Peer(HIGH))
    assert found.due(both, 100.0) == ({HIGH} if anew else frozenset())
    assert found.due(both, 100.0 + BACKOFF.first_seconds) == ({LOW} if anew else frozenset())
    assert not found.rerouted({LOW: after, HIGH: after}, 101.0)


def test_whoever_has_shaken_hands_is_left_alone_whatever_the_way() -> None:
    found = HandshakeRetry(MIDDLE)
    found.leave_from({HIGH: None})
    found.due(device(Peer(HIGH, last_handshake=1.0)), 100.0)
    assert found.silent() == frozenset()
    assert not found.rerouted({HIGH: HERE}, 100.0)


class Ground:
    """A reconciler on a back end in memory, with one peer to make."""

    def __init__(self, peer: PublicKey) -> None:
        self.key = PrivateKey.generate(lambda count: bytes(range(count)))
        self.peer = peer
        addresses = (ip_address("10.232.1.1"),)
        self.backend = MemoryBackend("wg0", time.time)
        own = LocalClaim("me", self.key.public(), addresses, (ip_network("10.232.0.0/16"),))
        ledger = Ledger(own)
        claim = Claim("other", peer, (ip_address("10.232.0.2"),), (WHERE,))
        assert ledger.accept(claim, Origin.PEERS, time.time()) is None
        spec = InterfaceSpec("wg0", (ip_interface("10.232.1.1"),), own.ranges, 1420)
        self.reconciler = Reconciler(
            self.backend,
            device_cache(self.backend),
            Tunnels(self.key),
            ledger,
            FixedPlan(spec),
            SystemClock(),
            PlayedMachine().trigger,
        )

    def told(self) -> list[str]:
        """The peer's changes on the back end, in order."""
        words = {RemovePeer: "remove", SetPeer: "make"}
        return [words[type(change)] for change in self.backend.changes if type(change) in words]

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        await self.reconciler.reconcile()
        task = asyncio.create_task(self.reconciler.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not condition():  # noqa: ASYNC110 - nothing signals the condition
                await asyncio.sleep(0.01)


async def test_a_peer_that_stays_silent_is_made_anew_within_a_second() -> None:
    ground = Ground(HIGH)
    begun = time.monotonic()
    async with ground.at_work():
        await ground.until(lambda: ground.told() == ["make", "remove", "make"])
        assert time.monotonic() - begun >= BACKOFF.first_seconds
        assert ground.backend.device is not None
        assert ground.backend.device.peers[HIGH].endpoint == WHERE


async def test_a_peer_that_speaks_from_elsewhere_is_left_to_finish() -> None:
    ground = Ground(HIGH)
    elsewhere = Endpoint(ip_address("198.51.100.1"), 1)
    async with ground.at_work():
        assert ground.backend.device is not None
        ground.backend.handshake(replace(ground.backend.device.peers[HIGH], endpoint=elsewhere))
        first = ground.reconciler.first_handshakes.next_deadline()
        await ground.until(lambda: ground.reconciler.first_handshakes.next_deadline() != first)
    assert ground.told() == ["make"]


async def test_the_node_with_the_higher_key_leaves_it_to_the_other() -> None:
    ground = Ground(PublicKey(bytes(32)))
    async with ground.at_work():
        assert ground.reconciler.first_handshakes.next_deadline() is None
    assert ground.told() == ["make"]


@pytest.mark.parametrize("peer", [HIGH, PublicKey(bytes(32))])
async def test_a_route_that_comes_has_silent_peers_made_anew(
    monkeypatch: pytest.MonkeyPatch, peer: PublicKey
) -> None:
    ground, sources = Ground(peer), list[Address]()
    monkeypatch.setattr(reconciler, "sources_of", lambda _: sources)
    monkeypatch.setattr(handshake_retry, "BACKOFF", Backoff(0.2))
    async with ground.at_work():
        ground.reconciler.first_handshakes.due(device(Peer(peer)), time.monotonic() + 100)
        await ground.reconciler.network_changed()
        assert ground.told() == ["make"]
        sources.append(HERE)
        await ground.reconciler.network_changed()
        await ground.until(lambda: ground.told() == ["make", "remove", "make"])


async def test_a_peer_that_a_clock_set_back_has_silenced_is_made_anew_where_it_was() -> None:
    own_key = PrivateKey(bytes(32))
    spec = InterfaceSpec("wgtest", (ip_interface("10.232.1.1"),), (ip_network("10.232.0.0/16"),), 1420)
    clock = TestClock(1000.0, 5000.0, 1000.0)
    backend = MemoryBackend("wgtest", clock.unix)
    ledger = Ledger(LocalClaim("me", own_key.public(), (ip_address("10.232.1.1"),), spec.ranges))
    ledger.accept(Claim("high", HIGH, (ip_address("10.232.0.7"),), (WHERE,)), Origin.GOSSIP, 0.0)
    own = Reconciler(
        backend,
        device_cache(backend),
        Tunnels(own_key),
        ledger,
        FixedPlan(spec),
        clock,
        PlayedMachine().trigger,
    )
    await own.reconcile()
    elsewhere = Endpoint(ip_address("192.0.2.99"), 1024)
    assert backend.device is not None
    backend.handshake(
        replace(backend.device.peers[HIGH], last_handshake=clock.unix_seconds, endpoint=elsewhere)
    )
    await own.reconcile()
    clock.unix_seconds -= 3600
    for passed in (170, 185):
        clock.seconds = clock.boot_seconds = 1000.0 + passed
        clock.unix_seconds = 1400.0 + passed
        backend.changes.clear()
        await own.reconcile()
        assert (RemovePeer(HIGH) in backend.changes) == (passed > 180)
    assert backend.device.peers[HIGH].endpoint == elsewhere
