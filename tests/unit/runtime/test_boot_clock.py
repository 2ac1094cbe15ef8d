"""A machine that was suspended: `time.monotonic` stood still, and its clock for sessions and links kept running."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from tests.unit.device import FixedPlan, PlayedDevice, device_cache
from tests.unit.factories import mesh_record
from tests.unit.local import LocalClaim, Tunnels, local_node
from tests.unit.machine import PlayedMachine

from wgmesh_agent.gossip.serf.events import Member, QueryResult
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.mesh.dataplane.reconciler import INTERVAL_SECONDS, Reconciler
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.membership.tags import PROBE_PORT
from wgmesh_agent.mesh.probing import liveness, path_mtu, service
from wgmesh_agent.mesh.probing.liveness import MAX_PROBES_PER_SECOND, LivenessProber
from wgmesh_agent.mesh.probing.service import MAX_PROBE_BYTES, ProbeService
from wgmesh_agent.runtime import boot_clock
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.clock import Clock, SystemClock
from wgmesh_agent.wireguard.diff import RemovePeer, SetPeer
from wgmesh_agent.wireguard.endpoint_candidates import STALE_AFTER_SECONDS
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.memory_backend import MemoryBackend
from wgmesh_agent.wireguard.model import DesiredDevice, Device, Endpoint, InterfaceSpec, IPAddress, Peer

OWN = ip_address("10.232.0.1")
PEERS: dict[IPAddress, str] = {
    ip_address(f"10.232.0.{number}"): f"n{number}" for number in range(2, 2 + int(MAX_PROBES_PER_SECOND))
}
FIRST = ip_address("10.232.0.2")
HOUR = 3600.0
DEADLINE_SECONDS = 10.0


def probe() -> bytes:
    """Of a peer that says it sends one each two seconds."""
    peer = LivenessProber(random.Random(1))
    peer.set_peers({OWN: "n1"}, 0.0)
    ((_, payload),) = peer.due(1.0)
    return payload


PROBE = probe()


def test_ages_are_counted_by_a_clock_that_goes_on_in_suspend() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= boot_clock.seconds() <= time.clock_gettime(time.CLOCK_BOOTTIME)


class Suspended(SystemClock):
    """Time since boot: `time.monotonic`, and what this machine was suspended, which it has been for long before."""

    def __init__(self) -> None:
        self.seconds = 1000 * HOUR

    def boot(self) -> float:
        return time.monotonic() + self.seconds


@pytest.fixture
def suspended() -> Suspended:
    return Suspended()


class Told:
    """Gossip that has these members."""

    def __init__(self, members: dict[str, Member]) -> None:
        self._members = members

    def members(self) -> dict[str, Member]:
        return self._members

    async def query(self, *_: Any, **__: Any) -> QueryResult:
        return QueryResult(frozenset(), frozenset(), {})


class Noted(ProbeService):
    """Sends nothing, and records the destinations."""

    def __init__(self, clock: Clock) -> None:
        local = local_node(mesh_record(node="own", addresses=(OWN,)), PrivateKey(bytes(32)))
        ledger = Ledger(local)
        members, keys = {}, {}
        for number, (address, name) in enumerate(PEERS.items(), 1):
            keys[name] = PublicKey(bytes([number]) * 32)
            ledger.accept(Claim(name, keys[name], (address,), ()), Origin.PEERS, 0.0)
            tags = {PROBE_PORT: str(local.probe_port)}
            members[name] = Member(name, address, 7946, tags, MemberStatus.ALIVE, 1, b"", 0.0)
        endpoint = Endpoint(ip_address("127.0.0.1"), 54540)
        device = Device("wg0", peers={key: Peer(key, endpoint) for key in keys.values()})
        super().__init__(
            local,
            MemberView(Told(members), ledger),
            (),
            PlayedDevice(device),
            Signal(),
            Signal(),
            clock,
            random.Random(1),
            PlayedMachine().route,
        )
        self.sent: list[tuple[IPAddress, bytes]] = []

    def _send(self, address: IPAddress, payload: bytes) -> None:
        self.sent.append((address, payload))

    def probed(self) -> set[IPAddress]:
        return {address for address, payload in self.sent if len(payload) <= MAX_PROBE_BYTES}

    def asked_what_passes(self) -> set[IPAddress]:
        return {address for address, payload in self.sent if len(payload) > MAX_PROBE_BYTES}

    def hear(self, address: IPAddress) -> None:
        """A probe of this peer comes in."""
        self.datagram_received(PROBE, (str(address), 0))

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Once all were probed."""
        task = asyncio.create_task(self.run())
        try:
            await self.until_all_are_probed()
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until_all_are_probed(self) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while self.probed() != PEERS.keys():  # noqa: ASYNC110 - nothing signals it
                await asyncio.sleep(0.01)


@pytest.fixture
async def noted(suspended: Suspended, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Noted]:
    """At work; each peer's next probe, and all else that would wake it but for a resume, is hours away."""
    made = Noted(suspended)
    monkeypatch.setattr(liveness, "PROBES_PER_SECOND", len(PEERS) / (100 * HOUR))
    monkeypatch.setattr(path_mtu, "NOT_READY_SECONDS", HOUR)
    monkeypatch.setattr(service, "RESUME_SECONDS", 0.2)
    async with made.at_work():
        yield made


async def test_all_peers_are_probed_within_seconds_after_a_suspend(
    noted: Noted, suspended: Suspended
) -> None:
    noted.sent.clear()
    suspended.seconds += 200 * HOUR
    await noted.until_all_are_probed()


async def test_a_link_that_was_heard_before_a_suspend_is_not_heard_after_it(
    noted: Noted, suspended: Suspended
) -> None:
    noted.hear(FIRST)
    assert noted.links()["n2"].receiving
    suspended.seconds += 200 * HOUR
    link = noted.links()["n2"]
    assert not link.receiving
    assert (link.last_received_seconds_ago or 0) >= 200 * HOUR


async def test_what_passes_is_not_asked_of_a_link_that_slept(noted: Noted, suspended: Suspended) -> None:
    suspended.seconds += 2 * HOUR
    noted.hear(FIRST)
    async with asyncio.timeout(DEADLINE_SECONDS):
        while noted.asked_what_passes() != {FIRST}:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.01)
    suspended.seconds += 200 * HOUR
    noted.sent.clear()
    await noted.until_all_are_probed()
    assert not noted.asked_what_passes()


async def test_who_is_asked_or_back_after_a_suspend_is_probed_at_once(
    noted: Noted, suspended: Suspended
) -> None:
    noted.hear(FIRST)
    noted.probe_now([FIRST])
    suspended.seconds += HOUR
    noted.sent.clear()
    noted.probe_now([FIRST])
    assert noted.probed() == {FIRST}
    noted.sent.clear()
    noted.on_member_change(FIRST, failed=False)
    noted.probe_now([])
    assert noted.probed() == {FIRST}


KEY = PublicKey(bytes([255]) * 32)


class Ground:
    """A reconciler on a back end in memory, and one peer; `ages` is what it takes for the handshake's."""

    def __init__(self, clock: Clock) -> None:
        ranges = (ip_network("10.232.0.0/16"),)
        own_key = PrivateKey(bytes(32))
        ledger = Ledger(LocalClaim("me", own_key.public(), (OWN,), ranges))
        where = Endpoint(ip_address("192.0.2.7"), 54540)
        assert ledger.accept(Claim("n2", KEY, (FIRST,), (where,)), Origin.PEERS, time.time()) is None
        spec = InterfaceSpec("wg0", (ip_interface(OWN),), ranges, 1420)
        self.backend = MemoryBackend("wg0", time.time)
        self.ages: list[float] = []
        self.reconciler = Reconciler(
            self.backend,
            device_cache(self.backend),
            Tunnels(own_key),
            ledger,
            FixedPlan(spec),
            clock,
            PlayedMachine().trigger,
            transforms=(self,),
        )

    def refine(self, desired: DesiredDevice, actual: Device, now_unix: float) -> DesiredDevice:
        self.ages += [now_unix - peer.last_handshake for peer in actual.peers.values()]
        return desired

    async def shake_hands(self, stamp: float) -> None:
        """And have it seen."""
        await self.reconciler.reconcile()
        assert self.backend.device is not None
        self.backend.handshake(replace(self.backend.device.peers[KEY], last_handshake=stamp))
        await self.reconciler.reconcile()
        self.backend.changes.clear()

    def is_made_anew(self) -> bool:
        kinds = [type(change) for change in self.backend.changes]
        return kinds == [RemovePeer, SetPeer]


async def test_a_session_is_as_old_as_the_suspend_though_the_wall_clock_stood_still(
    suspended: Suspended,
) -> None:
    ground = Ground(suspended)
    await ground.shake_hands(time.time() - 10)
    suspended.seconds += 8 * HOUR
    await ground.reconciler.reconcile()
    assert ground.ages[-1] >= 8 * HOUR


async def test_a_session_that_ended_in_a_suspend_is_made_anew_where_the_clock_was_set_back(
    suspended: Suspended,
) -> None:
    ground = Ground(suspended)
    await ground.shake_hands(time.time() + HOUR)
    await ground.reconciler.reconcile()
    assert not ground.is_made_anew()
    suspended.seconds += STALE_AFTER_SECONDS
    await ground.reconciler.reconcile()
    assert ground.is_made_anew()


async def test_it_is_made_anew_when_it_ends_and_not_only_at_the_next_look(suspended: Suspended) -> None:
    ground = Ground(suspended)
    assert DEADLINE_SECONDS < INTERVAL_SECONDS
    await ground.shake_hands(time.time() + HOUR)
    suspended.seconds += STALE_AFTER_SECONDS - 1.0
    task = asyncio.create_task(ground.reconciler.run())
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not ground.is_made_anew():  # noqa: ASYNC110 - nothing signals it
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
