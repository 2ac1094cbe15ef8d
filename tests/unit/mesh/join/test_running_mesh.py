"""What a registrar learns of the running mesh, and what its admissions change there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

from tests.unit.device import PlayedDevice
from tests.unit.factories import mesh_record
from tests.unit.kube.harness import claim
from tests.unit.machine import PlayedMachine
from tests.unit.members import PlayedGossip, gossip_member
from tests.unit.node import composed
from tests.unit.policies import ScriptedPolicy

from wgmesh_agent.gossip.serf.events import QueryResult
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.mesh.join.address_claims import ADDRESS_FREE, ADDRESS_TAKEN, CLAIM_QUERY, AddressClaimQuery
from wgmesh_agent.mesh.join.running_mesh import RunningMesh
from wgmesh_agent.mesh.membership.announcements import Announcer
from wgmesh_agent.mesh.membership.claims import Binding, Claim, Origin
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.wireguard.errors import KernelError
from wgmesh_agent.wireguard.model import Device
from wgmesh_agent.wireguard.model import Peer as WireGuardPeer
from wgmesh_api.meshservice_pb2 import Peer

SITE, OTHER = ip_network("192.168.7.0/24"), ip_network("192.168.8.0/24")
BETA = claim("beta", 2)
BOOT = replace(claim("boot2", 3), bootstrap=True)


class Pinged(PlayedGossip):
    """Members in `acks` answer a ping; `meanwhile` happens before that."""

    def __init__(self, *names: str) -> None:
        super().__init__(*names)
        self.acks: set[str] = set()
        self.meanwhile: Callable[[], object] = lambda: None

    async def query(
        self,
        name: str,
        payload: bytes = b"",
        *,
        nodes: Sequence[str] | None = None,
        tags: Mapping[str, str] | None = None,
        ack: bool = False,
        relay_factor: int = 0,
        timeout: float | None = None,
        enough: Callable[[bytes], bool] | None = None,
        direct: bool = False,
    ) -> QueryResult:
        if not ack:
            return await super().query(name, payload, nodes=nodes, direct=direct)
        self.meanwhile()
        return QueryResult(frozenset(nodes or ()), frozenset(self.acks), {})


class MeshHarness:
    """The bootstrap node n9, its gossip and WireGuard played."""

    def __init__(self, folder: Path) -> None:
        self.machine, self.policy = PlayedMachine(), ScriptedPolicy(signed_routes=(SITE,))
        self.node = composed(folder, mesh_record(bootstrap=True))
        self.gossip = Pinged("n9", "beta")
        self.device = PlayedDevice(Device("wgblue"))
        view = MemberView(self.gossip, self.node.ledger)
        self.mesh = RunningMesh(
            ledger=self.node.ledger,
            members=view,
            device=self.device,
            policy=self.policy,
            admissions=self.node.admissions,
            rejections=self.node.rejections,
            address_claims=AddressClaimQuery(view, self.node.admissions),
            announcer=Announcer(self.gossip),
            reconciler=self.node.reconciler,
            snapshot=self.node.snapshot,
            changes=self.node.changes,
        )

    def bind(self, told: Claim) -> Binding:
        assert self.node.ledger.accept(told, Origin.ADMITTED, 1.0) is None
        binding = self.node.ledger.by_key(told.public_key)
        assert binding is not None
        return binding

    def received(self, count: int) -> None:
        """So many bytes have come through beta's tunnel."""
        self.device.device = Device(
            "wgblue", peers={BETA.public_key: WireGuardPeer(BETA.public_key, rx_bytes=count)}
        )

    def announced(self) -> list[Peer]:
        return [Peer.FromString(payload) for _, payload in self.gossip.events_sent]


async def test_a_member_is_alive_while_gossip_has_not_given_it_up(tmp_path: Path) -> None:
    harness = MeshHarness(tmp_path)
    found = {}
    for status in MemberStatus:
        harness.gossip.table["beta"] = gossip_member("beta", status=status)
        found[status] = harness.mesh.is_alive("beta")
    assert {status for status, alive in found.items() if alive} == {MemberStatus.ALIVE, MemberStatus.LEAVING}
    assert not harness.mesh.is_alive("nobody")


async def test_a_member_is_reachable_if_it_answers_through_its_own_tunnel(tmp_path: Path) -> None:
    harness = MeshHarness(tmp_path)
    binding = harness.bind(BETA)
    harness.received(100)
    assert not await harness.mesh.is_reachable(binding), "it does not answer"
    harness.gossip.acks = {"beta"}
    assert not await harness.mesh.is_reachable(binding), "somebody answers in its name"
    harness.gossip.meanwhile = lambda: harness.received(101)
    assert await harness.mesh.is_reachable(binding)
    harness.gossip.acks = {"gamma"}
    harness.gossip.meanwhile = lambda: harness.received(102)
    assert not await harness.mesh.is_reachable(binding), "another answers"


async def test_what_cannot_be_asked_is_not_reachable(tmp_path: Path) -> None:
    harness = MeshHarness(tmp_path)
    binding = harness.bind(BETA)
    assert not await harness.mesh.is_reachable(binding)
    harness.device.fault = KernelError("no netlink")
    assert not await harness.mesh.is_reachable(binding)


async def test_routes_that_are_not_allowed_are_counted(tmp_path: Path) -> None:
    harness = MeshHarness(tmp_path)
    assert harness.mesh.allowed_routes("beta", (SITE, OTHER)) == (SITE,)
    assert harness.node.rejections.counts == {"route_not_allowed": 1}
    assert harness.mesh.allowed_routes("beta", (SITE,)) == (SITE,)
    assert harness.node.rejections.counts == {"route_not_allowed": 1}


async def test_of_the_other_bootstrap_nodes_those_alive_are_asked_for_an_address(tmp_path: Path) -> None:
    harness = MeshHarness(tmp_path)
    harness.bind(BOOT)
    assert harness.mesh.bootstraps() == ("n9", "boot2")
    harness.gossip.answers = [{"boot2": ADDRESS_TAKEN}]
    assert await harness.mesh.claim_elsewhere(BETA)
    assert harness.gossip.asked == []
    harness.gossip.table["boot2"] = gossip_member("boot2")
    assert not await harness.mesh.claim_elsewhere(BETA)
    harness.gossip.answers = [{"boot2": ADDRESS_FREE}]
    assert await harness.mesh.claim_elsewhere(BETA)
    assert {(question.name, tuple(question.nodes or ())) for question in harness.gossip.asked} == {
        (CLAIM_QUERY, ("boot2",))
    }


async def test_an_admission_is_programmed_kept_and_announced(tmp_path: Path) -> None:
    harness = MeshHarness(tmp_path)
    generation = harness.node.changes.generation
    await harness.mesh.on_admitted(harness.bind(BETA), None)
    assert BETA.public_key in (await harness.node.backend.read()).peers
    assert [binding.claim.node for binding in harness.node.store.members()] == ["beta"]
    ((told),) = harness.announced()
    assert (told.type, told.nodeName, told.pubkey) == (Peer.JOIN, "beta", str(BETA.public_key))
    assert harness.node.changes.generation > generation


async def test_a_joiner_that_never_came_is_announced_to_leave(tmp_path: Path) -> None:
    harness = MeshHarness(tmp_path)
    generation = harness.node.changes.generation
    await harness.mesh.on_reservation_expired(harness.bind(BETA))
    (told,) = harness.announced()
    assert (told.type, told.pubkey) == (Peer.LEAVE, str(BETA.public_key))
    assert harness.node.changes.generation > generation
