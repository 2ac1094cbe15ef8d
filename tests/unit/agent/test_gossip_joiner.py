"""Members that gossip does not list: an isolated node dials them at once, a connected one waits for gossip first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_address, ip_network

import pytest
from structlog.testing import capture_logs
from tests.unit.device import PlayedDevice
from tests.unit.local import LocalClaim
from tests.unit.machine import PlayedMachine
from tests.unit.members import PlayedGossip

from wgmesh_agent.agent.gossip_joiner import GossipJoiner
from wgmesh_agent.mesh.membership.claims import Binding, Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.runtime import borders
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Device

OWN = LocalClaim(
    "me", PublicKey(bytes([99]) * 32), (ip_address("10.232.0.99"),), (ip_network("10.232.0.0/16"),)
)


class Ground:
    """A node that has bound members n1, n2 …; `absent` are those that gossip does not know."""

    def __init__(self, members: int) -> None:
        self.ledger = Ledger(OWN)
        for number in range(1, members + 1):
            key, address = PublicKey(bytes([number]) * 32), ip_address(f"10.232.0.{number}")
            self.ledger.accept(Claim(f"n{number}", key, (address,), ()), Origin.PEERS, 0.0)
        self.absent: set[str] = set()
        self.gossip = PlayedGossip()
        self.tried = self.gossip.joined
        self.pauses: list[float] = []
        self.between: Callable[[], object] = lambda: None
        """Done in each pause."""
        self.last_pause = 0
        self.ended = asyncio.Event()
        self.meeting = GossipJoiner(
            self.gossip,
            7946,
            self.ledger,
            self._absent,
            PlayedDevice(Device("wgtest")),
            PlayedMachine().trigger,
            self._pause,
        )

    def _absent(self) -> list[Binding]:
        return [binding for binding in self.ledger if binding.claim.node in self.absent]

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if len(self.pauses) > self.last_pause:
            self.ended.set()
            await asyncio.Event().wait()
        self.between()


async def looks(ground: Ground, pauses: int, between: Callable[[], object] = lambda: None) -> None:
    """Runs `reconnect` of a ground for some pauses; `between` is done in each."""
    ground.last_pause, ground.between = pauses, between
    task = asyncio.create_task(ground.meeting.reconnect())
    async with asyncio.timeout(10):
        await ground.ended.wait()
    task.cancel()


async def test_who_knows_nobody_tries_at_once() -> None:
    ground = Ground(1)
    await looks(ground, 1, lambda: ground.absent.add("n1"))
    assert not ground.tried
    ground = Ground(1)
    ground.absent = {"n1"}
    await looks(ground, 1)
    assert ground.tried == [ip_address("10.232.0.1")]


async def test_a_newcomer_of_whom_gossip_tells_in_time_is_not_tried() -> None:
    ground = Ground(9)
    ground.absent = {"n9"}
    await looks(ground, 3, ground.absent.clear)
    assert not ground.tried


async def test_one_of_whom_gossip_does_not_tell_is_tried() -> None:
    ground = Ground(9)
    await looks(ground, 3, lambda: ground.absent.add("n9"))
    assert ground.tried == [ip_address("10.232.0.9")] * 2


@pytest.mark.parametrize("members", [4, 200])
async def test_all_together_try_a_few_times_a_second_at_any_size(members: int) -> None:
    ground = Ground(members)
    ground.absent = {"n1"}
    await looks(ground, 50)
    everybodys = members * len(ground.tried) / sum(ground.pauses)
    assert everybodys < 6


class UnforeseenError(Exception):
    """An exception that no module of the agent names."""


async def test_an_answer_to_a_join_that_raises_anything_costs_that_try_alone() -> None:
    ground = Ground(1)
    ground.absent, ground.gossip.join_faults = {"n1"}, [UnforeseenError("odd")]
    before = borders.rejected().get(("gossip join", "UnforeseenError"), 0)
    with capture_logs():
        await looks(ground, 2)
    assert ground.tried == [ip_address("10.232.0.1")] * 2
    assert borders.rejected()[("gossip join", "UnforeseenError")] == before + 1
