"""The query `_where`: answered truly, and what comes back is bounded, sorted and never inside the mesh."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from ipaddress import ip_address, ip_network

from structlog.testing import capture_logs
from tests.unit.device import PlayedDevice
from tests.unit.factories import mesh_record
from tests.unit.local import local_node
from tests.unit.members import PlayedGossip, PlayedProbing

from wgmesh_agent.gossip.serf.events import QueryReceived
from wgmesh_agent.mesh.dataplane.indirect_paths import IndirectPaths
from wgmesh_agent.mesh.discovery.endpoint_query import decode_endpoints, encode_endpoints
from wgmesh_agent.mesh.discovery.local_addresses import LocalAddresses
from wgmesh_agent.mesh.discovery.service import QUERIED_MEMBERS, RELAY_FACTOR, EndpointDiscovery
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.mesh.probing.liveness import LinkState
from wgmesh_agent.runtime import borders
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.clock import SystemClock
from wgmesh_agent.wireguard.errors import KernelError
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import DesiredDevice, DesiredPeer, Device, Endpoint, IPAddress, Peer

RANGES = (ip_network("10.232.0.0/16"),)
TOLD, SEEN, INSIDE, HOME = (
    Endpoint(ip_address(one), 54540) for one in ("192.0.2.1", "198.51.100.1", "10.232.1.1", "192.168.1.2")
)
KEY = PublicKey(bytes([2]) * 32)
OWN = PrivateKey(bytes([8]) + bytes(30) + bytes([64]))


class Cards:
    """This machine's addresses."""

    async def reachable(self) -> list[tuple[str, IPAddress]]:
        return [("eth0", HOME.address)]

    async def candidates(self) -> list[tuple[str, IPAddress]]:
        return [("eth0", TOLD.address)]


class Ground:
    is_open = False

    def __init__(self) -> None:
        self.device = PlayedDevice(Device("wgtest"))
        self.holds(Peer(KEY, SEEN, last_handshake=time.time() - 10))
        self.refusals = RejectionLog()
        record = mesh_record(node="me", addresses=(ip_address("10.232.0.1"),), ranges=RANGES)
        self.local = local_node(record, OWN, endpoint=HOME)
        ledger = Ledger(self.local)
        ledger.accept(Claim("b", KEY, (ip_address("10.232.0.2"),), (TOLD,)), Origin.PEERS, 0.0)
        names = ["me", "b", *(f"n{number}" for number in range(20))]
        self.gossip, self.prober = PlayedGossip(*names), PlayedProbing()
        self.relayed: dict[PublicKey, float | None] = {}
        self.ledger = ledger
        self.paths = EndpointDiscovery(
            MemberView(self.gossip, ledger),
            ledger,
            self.prober,
            self.refusals,
            self.device,
            self.local,
            LocalAddresses(Cards(), Signal()),
            Signal(),
            Signal(),
            IndirectPaths((self,)),
            SystemClock(),
            random.Random(1),
        )

    def relays_in_use(self) -> dict[PublicKey, str]:
        return dict.fromkeys(self.relayed, "relay")

    def untaken(self) -> dict[PublicKey, float | None]:
        return self.relayed

    def holds(self, peer: Peer) -> None:
        """WireGuard has this peer."""
        self.device.device = Device("wgtest", peers={KEY: peer})

    def answers(self, answers: Mapping[str, bytes]) -> None:
        """From now on these members answer so."""
        self.gossip.answers = [answers]

    async def asked(self, payload: bytes) -> tuple[Endpoint, ...]:
        return decode_endpoints(
            await self.paths.answer_query(QueryReceived(1, 1, "x", "_where", payload, 0.0)), RANGES
        )


async def test_of_itself_a_node_tells_all_its_addresses() -> None:
    assert await Ground().asked(b"me") == (HOME, TOLD)


async def test_of_another_it_tells_what_wireguard_learned_while_that_is_fresh() -> None:
    ground = Ground()
    assert await ground.asked(b"b") == (SEEN,)
    ground.holds(Peer(KEY, SEEN, last_handshake=time.time() - 200))
    assert await ground.asked(b"b") == ()
    ground.holds(Peer(KEY, None, last_handshake=time.time()))
    assert await ground.asked(b"b") == ()
    ground.device.fault = KernelError("gone")
    assert await ground.asked(b"b") == ()


async def test_of_who_is_not_heard_it_tells_nothing() -> None:
    """It may be there no more."""
    ground = Ground()
    ground.prober.heard = {"b": LinkState(30.0, False, None)}
    assert await ground.asked(b"b") == ()
    ground.prober.heard = {"b": LinkState(1.0, True, True)}
    assert await ground.asked(b"b") == (SEEN,)


async def test_of_who_is_heard_through_a_relay_alone_it_tells_nothing() -> None:
    """Its own tunnel may lead to where it was before it moved."""
    ground = Ground()
    ground.prober.heard = {"b": LinkState(1.0, True, True)}
    ground.relayed = {KEY: None}
    assert await ground.asked(b"b") == ()


def test_who_moved_and_is_heard_through_a_relay_is_looked_for_as_one_that_is_not_heard() -> None:
    ground = Ground()
    ground.paths._update()
    links = {"b": LinkState(0.1, True, True)}
    ground.prober.heard = links
    moved = Claim("b", KEY, (ip_address("10.232.0.2"),), (HOME,))
    ground.ledger.accept(moved, Origin.RECORD, 1.0)
    ground.paths._update()
    desired = DesiredDevice(OWN, 0, (DesiredPeer(KEY, frozenset(), (HOME, TOLD)),))
    later = time.time() + 10.0
    peer = Peer(KEY, TOLD, last_handshake=time.time() - 20, endpoint_written=time.time() - 30)

    def tried() -> Endpoint | None:
        shaped = ground.paths.refine(desired, Device("wgtest", peers={KEY: peer}), later)
        return shaped.peers[0].try_now

    assert tried() is None
    assert ground.paths._unreachable_peers(0.0) == {}
    for silent in (None, 15.5):
        ground.relayed = {KEY: silent}
        assert tried() == HOME
        assert ground.paths._unreachable_peers(7.0) == {KEY: 7.0}


def test_it_is_looked_for_as_long_as_the_relay_carries() -> None:
    """However long ago it moved, and whatever WireGuard counted: its bytes arrived on the old path."""
    ground = Ground()
    ground.paths._update()
    ground.prober.heard = {"b": LinkState(0.1, True, True)}
    ground.relayed = {KEY: None}
    desired = DesiredDevice(OWN, 0, (DesiredPeer(KEY, frozenset(), (TOLD,)),))
    moved = Claim("b", KEY, (ip_address("10.232.0.2"),), (HOME,))
    ground.ledger.accept(moved, Origin.RECORD, 1.0)
    ground.paths._update()
    now = time.time()
    peer = Peer(KEY, HOME, last_handshake=now + 999, endpoint_written=now + 999)
    for tried in (TOLD, HOME, TOLD):
        now = peer.endpoint_written + 6.5
        shaped = ground.paths.refine(desired, Device("wgtest", peers={KEY: peer}), now)
        assert shaped.peers[0].try_now == tried
        peer = Peer(KEY, tried, last_handshake=peer.last_handshake, endpoint_written=now)


async def test_of_nobody_it_tells_nothing() -> None:
    for payload in (b"stranger", b"\xff\xfe", b"", bytes(400)):
        assert await Ground().asked(payload) == ()


async def test_a_few_members_are_asked_and_answers_come_through_others() -> None:
    ground = Ground()
    ground.answers({"b": encode_endpoints([TOLD, HOME]), "n1": encode_endpoints([SEEN, HOME, TOLD])})
    assert await ground.paths.observed_endpoints("b", "b") == ([SEEN], [TOLD, HOME])
    (query,) = ground.gossip.asked
    asked = list(query.nodes or ())
    assert len(asked) == QUERIED_MEMBERS + 1
    assert asked.count("b") == 1
    assert "me" not in asked
    assert (query.relay_factor, query.direct) == (RELAY_FACTOR, False)


async def test_who_is_heard_both_ways_is_asked_straight() -> None:
    ground = Ground()
    ground.answers({"n1": encode_endpoints([SEEN])})
    ground.prober.heard = {
        "n1": LinkState(1.0, True, True),
        "n2": LinkState(1.0, True, False),
        "n3": LinkState(9.0, False, None),
    }
    assert await ground.paths.observed_endpoints("b") == ([SEEN], [])
    (query,) = ground.gossip.asked
    assert (query.nodes, query.relay_factor, query.direct) == (["n1"], 0, True)


async def test_a_liar_names_nothing_inside_the_mesh_and_nonsense_is_counted() -> None:
    ground = Ground()
    ground.answers({"n1": encode_endpoints([INSIDE]), "n2": b"\xff", "n3": encode_endpoints([SEEN])})
    assert await ground.paths.observed_endpoints("b") == ([SEEN], [])
    assert ground.refusals.counts["malformed_endpoint_answer"] == 1


async def test_a_query_that_cannot_be_sent_finds_nothing() -> None:
    assert await Ground().paths.observed_endpoints("b") == ([], [])


async def test_what_others_saw_becomes_a_candidate_and_no_more() -> None:
    ground = Ground()
    ground.paths._update()
    ground.answers({"n1": encode_endpoints([SEEN])})
    await ground.paths._query(KEY, widely=False)
    desired = DesiredDevice(OWN, 0, (DesiredPeer(KEY, frozenset(), (TOLD,)),))

    def shaped(peer: Peer) -> DesiredPeer:
        return ground.paths.refine(desired, Device("wgtest", peers={KEY: peer}), time.time()).peers[0]

    never = shaped(Peer(KEY, TOLD))
    assert (never.endpoints, never.try_now) == ((TOLD, SEEN), SEEN)
    working = shaped(Peer(KEY, TOLD, last_handshake=time.time() - 10))
    assert working == desired.peers[0]


class UnforeseenError(Exception):
    """An exception that no module of the agent names."""


async def test_an_answer_that_raises_anything_costs_that_question_alone() -> None:
    ground = Ground()
    ground.paths._update()
    before = borders.rejected().get(("endpoint answers", "UnforeseenError"), 0)
    ground.gossip.answers = [UnforeseenError("odd")]
    with capture_logs():
        await ground.paths._query(KEY, widely=False)
    assert borders.rejected()[("endpoint answers", "UnforeseenError")] == before + 1
    ground.answers({"n1": encode_endpoints([SEEN])})
    await ground.paths._query(KEY, widely=False)
    desired = DesiredDevice(OWN, 0, (DesiredPeer(KEY, frozenset(), (TOLD,)),))
    shaped = ground.paths.refine(desired, Device("wgtest", peers={KEY: Peer(KEY, TOLD)}), time.time())
    assert shaped.peers[0].endpoints == (TOLD, SEEN)
