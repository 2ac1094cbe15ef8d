"""The query `_relay`: it is answered truthfully, and accepted only if this node would do the same itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network

import pytest
from structlog.testing import capture_logs
from tests.unit.clock import TestClock
from tests.unit.device import PlayedDevice
from tests.unit.local import LocalClaim
from tests.unit.members import PlayedGossip, PlayedProbing
from tests.unit.waiting import until

from wgmesh_agent.gossip.serf.events import QueryReceived
from wgmesh_agent.linux.ip_forwarding import ForwardingPurpose, IPForwarding
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.mesh.probing.liveness import LinkState
from wgmesh_agent.mesh.relay.relay_selector import RELAY_AFTER_SECONDS, RelayProposal
from wgmesh_agent.mesh.relay.service import NO, YES, RelayService
from wgmesh_agent.runtime import borders
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.wireguard.errors import KernelError
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import DesiredDevice, DesiredPeer, Device, Network
from wgmesh_api.meshservice_pb2 import RelayRequest

RANGE = ip_network("10.232.0.0/16")
NAMES = ("me", "a", "r")
KEYS = {name: PublicKey(bytes([number]) * 32) for number, name in enumerate(NAMES, 1)}


class Forwarding(IPForwarding):
    """Forwards, or refuses to."""

    def __init__(self) -> None:
        self.refuses = False

    def require(
        self, role: ForwardingPurpose, networks: Sequence[Network] = (), interfaces: Iterable[str] = ()
    ) -> None:
        assert role is ForwardingPurpose.RELAY
        if self.refuses:
            raise KernelError("no")

    def why_not(self, networks: Iterable[Network]) -> str | None:
        assert tuple(networks) == (RANGE,)
        return None


class Heard(PlayedProbing):
    """Whether each member's link is up, in both directions."""

    def __init__(self, heard: dict[str, bool]) -> None:
        super().__init__()
        self._both_ways = heard

    def links(self) -> dict[str, LinkState]:
        return {name: LinkState(1.0, heard, heard or None) for name, heard in self._both_ways.items()}


class Ground:
    def __init__(self, *names: str) -> None:
        self.clock = TestClock()
        self.forwarding = Forwarding()
        self.heard = {"a": False, "r": True}
        self.device = PlayedDevice(Device("wgtest"))
        self.refusals = RejectionLog()
        ledger = Ledger(LocalClaim("me", KEYS["me"], (ip_address("10.232.0.1"),), (RANGE,)))
        for number, name in enumerate(NAMES[1:], 2):
            claim = Claim(name, KEYS[name], (ip_address(f"10.232.0.{number}"),), ())
            assert ledger.accept(claim, Origin.PEERS, 0.0) is None
        self.gossip = PlayedGossip(*NAMES)
        self.relaying = RelayService(
            names,
            self.forwarding,
            MemberView(self.gossip, ledger),
            ledger,
            Heard(self.heard),
            self.refusals,
            Signal(),
            self.device,
            self.clock,
        )

    async def ask(self, payload: bytes, source: str = "a") -> bytes:
        return await self.relaying.answer_query(QueryReceived(1, 1, source, "_relay", payload, 0.0))


def request(asker: str = "a", peer: str = "me", relay: str = "r") -> bytes:
    return RelayRequest(asker=asker, peer=peer, relay=relay).SerializeToString()


async def test_the_other_end_of_a_dead_link_does_the_same_before_it_says_so() -> None:
    ground = Ground("r")
    assert await ground.ask(request()) == YES
    assert ground.device.passes == 1
    assert ground.relaying.relays_in_use() == {KEYS["a"]: "r"}
    assert await ground.ask(request(relay="")) == NO  # nothing came by the direct tunnel yet


@pytest.mark.parametrize(
    ("names", "heard", "payload", "source"),
    [
        ((), {"a": False, "r": True}, request(), "a"),
        (("r",), {"a": True, "r": True}, request(), "a"),
        (("r",), {"a": False, "r": False}, request(), "a"),
        (("r",), {"a": False, "r": True}, request(), "x"),
        (("r",), {"a": False, "r": True}, request(asker="x"), "x"),
        (("r",), {"a": False, "r": True}, request(peer="x"), "a"),
        (("r", "x"), {"a": False, "r": True}, request(relay="x"), "a"),
    ],
    ids=["not named", "works", "relay unheard", "forged", "stranger", "not for us", "unknown relay"],
)
async def test_whatever_else_is_asked_is_refused(
    names: tuple[str, ...], heard: dict[str, bool], payload: bytes, source: str
) -> None:
    ground = Ground(*names)
    ground.heard.update(heard)
    assert await ground.ask(payload, source) == NO
    assert ground.relaying.relays_in_use() == {}


@pytest.mark.parametrize("payload", [b"\xff\xff", bytes(513)])
async def test_nonsense_is_counted(payload: bytes) -> None:
    ground = Ground("r")
    assert await ground.ask(payload) == NO
    assert ground.refusals.counts["malformed_relay_request"] == 1


async def test_a_relay_says_yes_only_if_it_forwards_and_hears_both() -> None:
    ground = Ground("me")
    asked = request(peer="r", relay="me")
    ground.heard["a"] = True
    assert await ground.ask(asked) == NO
    await ground.relaying.enable_forwarding()
    assert await ground.ask(asked) == YES
    ground.heard["r"] = False
    assert await ground.ask(asked) == NO
    ground.heard["r"] = True
    ground.forwarding.refuses = True
    await ground.relaying.enable_forwarding()
    assert await ground.ask(asked) == NO


def test_without_names_nothing_is_taken_up() -> None:
    desired = DesiredDevice(PrivateKey(bytes(32)), 0, (DesiredPeer(KEYS["a"], frozenset()),))
    assert Ground().relaying.refine(desired, Device("wgtest"), 0.0) is desired


class UnforeseenError(Exception):
    """An exception that no module of the agent names."""


async def test_an_answer_that_raises_anything_costs_that_question_alone() -> None:
    ground = Ground("r")
    ground.gossip.answers = [UnforeseenError("odd"), {"a": YES, "r": YES}]
    question = RelayProposal(KEYS["a"], KEYS["r"])
    before = borders.rejected().get(("relay answers", "UnforeseenError"), 0)
    with capture_logs():
        await ground.relaying._fenced(question)
    assert borders.rejected()[("relay answers", "UnforeseenError")] == before + 1
    assert ground.relaying.relays_in_use() == {}
    await ground.relaying._fenced(question)
    assert ground.relaying.relays_in_use() == {KEYS["a"]: "r"}


async def passes(service: RelayService, seconds: float, clock: TestClock) -> None:
    """One tick of the service after so many seconds, and what it asks."""
    clock.seconds += seconds
    for question in await service._update(clock.monotonic()):
        await service._propose(question)


@pytest.mark.parametrize("answer", [YES, NO], ids=["agreed", "refused"])
async def test_a_dead_link_goes_through_the_relay_once_both_ends_and_it_agree(answer: bytes) -> None:
    ground = Ground("r")
    ground.gossip.answers = [{"a": YES, "r": answer}]
    await passes(ground.relaying, 0.0, ground.clock)
    assert ground.gossip.asked == []
    await passes(ground.relaying, RELAY_AFTER_SECONDS + 1, ground.clock)
    (asked,) = ground.gossip.asked
    assert asked.name == "_relay"
    assert set(asked.nodes or ()) == {"a", "r"}
    assert RelayRequest.FromString(asked.payload) == RelayRequest(asker="me", peer="a", relay="r")
    assert ground.relaying.relays_in_use() == ({KEYS["a"]: "r"} if answer == YES else {})
    assert ground.device.passes == (1 if answer == YES else 0)


async def test_a_query_that_fails_changes_nothing() -> None:
    ground = Ground("r")
    await passes(ground.relaying, 0.0, ground.clock)
    with capture_logs() as logs:
        await passes(ground.relaying, RELAY_AFTER_SECONDS + 1, ground.clock)
    assert [line["event"] for line in logs] == ["relay query failed"]
    assert ground.relaying.relays_in_use() == {}


async def test_a_device_that_cannot_be_read_is_looked_at_with_the_next_tick() -> None:
    ground = Ground("r")
    assert await ground.ask(request()) == YES
    ground.device.fault = KernelError("no netlink")
    assert await ground.relaying._update(ground.clock.monotonic() + 100) == []
    assert ground.relaying.relays_in_use() == {KEYS["a"]: "r"}


async def test_what_hinders_a_relay_is_said_once_and_it_is_open_again_after() -> None:
    ground = Ground("me")
    ground.forwarding.refuses = True
    with capture_logs() as logs:
        for _ in range(2):
            await ground.relaying.enable_forwarding()
        await ground.relaying.disable_forwarding()
    assert [line["event"] for line in logs] == [
        "this node cannot relay",
        "cannot disable relay forwarding",
    ]
    assert not ground.relaying.is_open
    ground.forwarding.refuses = False
    await ground.relaying.enable_forwarding()
    assert ground.relaying.is_open


async def test_a_node_that_is_named_forwards_while_it_runs() -> None:
    ground = Ground("me")
    task = asyncio.create_task(ground.relaying.run())
    await until(lambda: ground.relaying.is_open)
    task.cancel()
    plain = Ground("r")
    task = asyncio.create_task(plain.relaying.run())
    await asyncio.sleep(0.05)
    assert not plain.relaying.is_open
    task.cancel()
