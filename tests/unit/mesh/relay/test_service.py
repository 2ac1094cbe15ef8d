"""The query `_relay`: it is answered truthfully, and accepted only if this node would do the same itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network

import pytest
from structlog.testing import capture_logs
from tests.unit.clock import TestClock
from tests.unit.device import PlayedDevice
from tests.unit.local import LocalClaim
from tests.unit.members import PlayedGossip, PlayedProbing

from wgmesh_agent.gossip.serf.events import QueryReceived
from wgmesh_agent.linux.ip_forwarding import ForwardingPurpose, IPForwarding
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.mesh.probing.liveness import LinkState
from wgmesh_agent.mesh.relay.relay_selector import RelayProposal
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
            TestClock(),
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
