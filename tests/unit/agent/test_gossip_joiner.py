"""Members that gossip does not know: a lone node tries them at once, one that knows others lets gossip tell first."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.unit.device import PlayedDevice
from tests.unit.local import LocalClaim

from wgmesh_agent.agent import gossip_joiner
from wgmesh_agent.agent.gossip_joiner import GossipJoiner
from wgmesh_agent.mesh.membership.claims import Binding, Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.runtime import borders
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Device, IPAddress

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
        self.tried: list[IPAddress] = []
        self.pauses: list[float] = []
        self.raises: list[Exception] = []
        gossip: Any = SimpleNamespace(join=self._join)
        self.meeting = GossipJoiner(gossip, 7946, self.ledger, self._absent, PlayedDevice(Device("wgtest")))

    def _absent(self) -> list[Binding]:
        return [binding for binding in self.ledger if binding.claim.node in self.absent]

    async def _join(self, addresses: list[tuple[IPAddress, int]]) -> int:
        self.tried += [address for address, _ in addresses]
        if self.raises:
            raise self.raises.pop()
        return 1


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `reconnect` of a ground for some pauses; `between` is done in each."""

    async def run(ground: Ground, pauses: int, between: Any = lambda: None) -> None:
        ended = asyncio.Event()

        async def sleep(seconds: float) -> None:
            ground.pauses.append(seconds)
            if len(ground.pauses) > pauses:
                ended.set()
                await asyncio.Event().wait()
            between()

        monkeypatch.setattr(gossip_joiner, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
        task = asyncio.create_task(ground.meeting.reconnect())
        async with asyncio.timeout(10):
            await ended.wait()
        task.cancel()

    return run


async def test_who_knows_nobody_tries_at_once(looks: Any) -> None:
    ground = Ground(1)
    await looks(ground, 1, lambda: ground.absent.add("n1"))
    assert not ground.tried
    ground = Ground(1)
    ground.absent = {"n1"}
    await looks(ground, 1)
    assert ground.tried == [ip_address("10.232.0.1")]


async def test_a_newcomer_of_whom_gossip_tells_in_time_is_not_tried(looks: Any) -> None:
    ground = Ground(9)
    ground.absent = {"n9"}
    await looks(ground, 3, ground.absent.clear)
    assert not ground.tried


async def test_one_of_whom_gossip_does_not_tell_is_tried(looks: Any) -> None:
    ground = Ground(9)
    await looks(ground, 3, lambda: ground.absent.add("n9"))
    assert ground.tried == [ip_address("10.232.0.9")] * 2


@pytest.mark.parametrize("members", [4, 200])
async def test_all_together_try_a_few_times_a_second_at_any_size(looks: Any, members: int) -> None:
    ground = Ground(members)
    ground.absent = {"n1"}
    await looks(ground, 50)
    everybodys = members * len(ground.tried) / sum(ground.pauses)
    assert everybodys < 6


class UnforeseenError(Exception):
    """An exception that no module of the agent names."""


async def test_an_answer_to_a_join_that_raises_anything_costs_that_try_alone(looks: Any) -> None:
    ground = Ground(1)
    ground.absent, ground.raises = {"n1"}, [UnforeseenError("odd")]
    before = borders.rejected().get(("gossip join", "UnforeseenError"), 0)
    with capture_logs():
        await looks(ground, 2)
    assert ground.tried == [ip_address("10.232.0.1")] * 2
    assert borders.rejected()[("gossip join", "UnforeseenError")] == before + 1
