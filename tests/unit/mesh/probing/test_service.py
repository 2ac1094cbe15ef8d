"""Probes through the tunnel: one that cannot be handled costs itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, TypeVar

from structlog.testing import capture_logs
from tests.unit.device import PlayedDevice
from tests.unit.factories import mesh_record
from tests.unit.local import local_node
from tests.unit.machine import PlayedMachine

from wgmesh_agent.gossip.serf.events import Member, QueryResult
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.membership.tags import PROBE_PORT
from wgmesh_agent.mesh.probing.service import ProbeService
from wgmesh_agent.runtime import borders
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.clock import SystemClock
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import Device, IPAddress

S = TypeVar("S", bound=ProbeService)


class UnforeseenError(Exception):
    """An exception that no module of the agent names."""


class Told:
    """Gossip that has these members."""

    def __init__(self, members: dict[str, Member]) -> None:
        self._members = members

    def members(self) -> dict[str, Member]:
        return self._members

    async def query(self, *_: Any, **__: Any) -> QueryResult:
        return QueryResult(frozenset(), frozenset(), {})


def probing(made: type[S], peers: Sequence[IPAddress] = ()) -> S:
    """A service that probes these peers."""
    local = local_node(mesh_record(addresses=(ip_address("10.232.0.1"),)), PrivateKey(bytes(32)))
    ledger, members = Ledger(local), {}
    for number, address in enumerate(peers, 1):
        name, tags = f"n{number}", {PROBE_PORT: str(local.probe_port)}
        ledger.accept(Claim(name, PublicKey(bytes([number]) * 32), (address,), ()), Origin.PEERS, 0.0)
        members[name] = Member(name, address, 7946, tags, MemberStatus.ALIVE, 1, b"", 0.0)
    view = MemberView(Told(members), ledger)
    return made(
        local,
        view,
        (),
        PlayedDevice(Device("wg0")),
        Signal(),
        Signal(),
        SystemClock(),
        random.Random(1),
        PlayedMachine().route,
    )


class Odd(ProbeService):
    """One that cannot handle the first datagram."""

    handled = 0

    def _received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.handled += 1
        if self.handled == 1:
            raise UnforeseenError("odd")
        super()._received(data, addr)


async def test_a_probe_that_raises_anything_is_counted_and_the_next_one_is_handled() -> None:
    prober = probing(Odd)
    before = borders.rejected().get(("probe", "UnforeseenError"), 0)
    with capture_logs():
        for payload in (b"first", b"second"):
            prober.datagram_received(payload, ("10.232.0.66", 7947))
    assert prober.handled == 2
    assert borders.rejected()[("probe", "UnforeseenError")] == before + 1


async def test_who_leaves_tells_its_peers_at_once_without_waiting_for_its_own_next_probes() -> None:
    sent: list[IPAddress] = []

    class Noted(ProbeService):
        def _send(self, address: IPAddress, payload: bytes) -> None:
            sent.append(address)

    peers = [ip_address(f"10.232.0.{number}") for number in (2, 3)]
    prober = probing(Noted, peers)
    work = asyncio.create_task(prober.run())
    async with asyncio.timeout(10):
        while len(sent) < len(peers):  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.01)
    sent.clear()
    prober.leave()
    assert sorted(sent) == sorted(peers)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
