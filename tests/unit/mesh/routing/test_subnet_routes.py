"""Networks behind members: which are programmed, and what this machine forwards for its own."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.unit.factories import mesh_record
from tests.unit.local import local_node
from tests.unit.machine import PlayedMachine
from tests.unit.waiting import until

from wgmesh_agent.linux.ip_forwarding import ForwardingPurpose, IPForwarding
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.mesh.routing.subnet_routes import SubnetRoutes
from wgmesh_agent.wireguard.errors import KernelError
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import Network

RANGES = (ip_network("10.232.0.0/16"),)
SITE, OTHER = ip_network("192.168.7.0/24"), ip_network("192.168.8.0/24")
BETA, GAMMA = PublicKey(bytes([2]) * 32), PublicKey(bytes([3]) * 32)


class RoutesHarness:
    """The node alpha; beta is the gateway to `SITE`."""

    def __init__(self, folder: Path, *own: Network) -> None:
        self.machine, self.rejections = PlayedMachine(folder), RejectionLog()
        self.changes = 0
        record = mesh_record(addresses=(ip_address("10.232.0.1"),), ranges=RANGES, routes=own)
        local = local_node(record, PrivateKey(bytes(32)))
        self.ledger = Ledger(local)
        self.bind("beta", 2, BETA, SITE)
        self.forwarding = IPForwarding(folder, "wgblue", self.machine, folder)
        self.routes = SubnetRoutes(
            "wgblue",
            self.ledger,
            self.rejections,
            local,
            self.forwarding,
            self.machine.connected_networks,
            self._changed,
        )

    def bind(self, node: str, number: int, key: PublicKey, *routes: Network) -> None:
        claim = Claim(node, key, (ip_address(f"10.232.0.{number}"),), (), routes=routes)
        assert self.ledger.accept(claim, Origin.PEERS, float(number)) is None

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture
def harness(tmp_path: Path) -> RoutesHarness:
    return RoutesHarness(tmp_path)


async def test_the_network_behind_a_member_goes_to_it(harness: RoutesHarness) -> None:
    await harness.routes.start()
    assert harness.routes.allowed_ips() == {BETA: (SITE,)}
    assert harness.routes.installed == {BETA: (SITE,)}
    assert [route.destination for route in harness.routes.device_routes({})] == [SITE]


async def test_a_network_that_this_machine_is_connected_to_is_not_routed_and_that_is_counted_once(
    harness: RoutesHarness,
) -> None:
    harness.machine.networks = (SITE,)
    await harness.routes.start()
    for _ in range(2):
        assert harness.routes.allowed_ips() == {}
    (refused,) = harness.routes.rejected
    assert str(SITE) in str(refused)
    assert harness.rejections.counts == {"route_overlap": 1}


async def test_of_two_gateways_to_one_network_one_is_used(harness: RoutesHarness) -> None:
    harness.bind("gamma", 3, GAMMA, SITE, OTHER)
    found = harness.routes.allowed_ips()
    assert found == {BETA: (SITE,), GAMMA: (OTHER,)}
    assert harness.rejections.counts == {"route_overlap": 1}


async def test_the_route_through_a_narrow_path_carries_less(harness: RoutesHarness) -> None:
    (wide,) = harness.routes.device_routes({})
    (narrow,) = harness.routes.device_routes({ip_address("10.232.0.2"): 1300})
    assert (wide.mtu, narrow.mtu) == (None, 1300)
    (to_peer,) = harness.routes.peer_routes({ip_address("10.232.0.2"): 1300, ip_address("10.232.9.9"): 1200})
    assert (to_peer.destination, to_peer.mtu) == (ip_network("10.232.0.2/32"), 1300)


async def test_networks_that_cannot_be_read_are_those_read_before(harness: RoutesHarness) -> None:
    harness.machine.networks = (SITE,)
    await harness.routes.start()
    harness.machine.networks = KernelError("no netlink")
    with capture_logs() as logs:
        await harness.routes.start()
    assert [line["error"] for line in logs] == ["no netlink"]
    assert harness.routes.allowed_ips() == {}


async def test_another_network_on_this_machine_is_told_of(
    harness: RoutesHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wgmesh_agent.mesh.routing.subnet_routes.POLL_INTERVAL_SECONDS", 0.001)
    await harness.routes.start()
    task = asyncio.create_task(harness.routes.run())
    harness.machine.networks = (SITE,)
    await until(lambda: harness.changes)
    task.cancel()
    assert harness.routes.allowed_ips() == {}


async def test_a_gateway_has_its_networks_forwarded_to(tmp_path: Path) -> None:
    folder = tmp_path / "ipv4/conf/wgblue"
    folder.mkdir(parents=True)
    (folder / "forwarding").write_text("0\n")
    harness = RoutesHarness(tmp_path, ip_network("127.0.0.0/8"))
    harness.forwarding.require(ForwardingPurpose.RELAY)
    task = asyncio.create_task(harness.routes.run())
    await until(lambda: (folder / "forwarding").read_text().strip() == "1")
    task.cancel()
    assert harness.machine.allowed == {ip_network("127.0.0.0/8")}
