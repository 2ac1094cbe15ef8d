"""The small parts of a node: published tags, own endpoint, member refresh, and the address watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.unit.factories import mesh_record
from tests.unit.kube.harness import claim
from tests.unit.local import local_node
from tests.unit.members import PlayedGossip
from tests.unit.node import KEY, composed
from tests.unit.waiting import until

from wgmesh_agent.agent import member_refresh
from wgmesh_agent.agent.address_watch import AddressWatch
from wgmesh_agent.agent.member_refresh import MemberRefresh
from wgmesh_agent.agent.node import MeshNode
from wgmesh_agent.agent.own_endpoint import MAX_LOOKUPS, OwnEndpoint
from wgmesh_agent.agent.tag_publisher import TagPublisher
from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.linux.address_monitor import HostChange
from wgmesh_agent.mesh.discovery.local_addresses import LocalAddresses
from wgmesh_agent.mesh.join.bootstrap_directory import StaticBootstraps
from wgmesh_agent.mesh.join.client import JoinUnreachable
from wgmesh_agent.mesh.join.peers_client import BootstrapPeers
from wgmesh_agent.mesh.membership.claims import Origin
from wgmesh_agent.mesh.membership.tracker import MembershipTracker
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.settings.model import HostPort
from wgmesh_agent.wireguard.model import Endpoint, IPAddress


class Published(PlayedGossip):
    """Takes the tags, or refuses them."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[dict[str, str]] = []
        self.refuses = False

    def set_tags(self, tags: Mapping[str, str]) -> None:
        if self.refuses:
            raise GossipError("too large")
        self.published.append(dict(tags))


async def test_tags_are_published_when_they_are_others_and_again_after_a_fault() -> None:
    changed, gossip = Signal(), Published()
    local = local_node(mesh_record(), KEY, changed=changed)
    task = asyncio.create_task(TagPublisher(local, gossip, changed).run())
    await asyncio.sleep(0.01)
    assert gossip.published == [], "gossip began with them"
    gossip.refuses = True
    with capture_logs() as logs:
        local.set_user_tags({"rack": "7"})
        await until(lambda: logs)
    gossip.refuses = False
    changed.notify()
    await until(lambda: gossip.published)
    assert [tags["rack"] for tags in gossip.published] == ["7"]
    task.cancel()


async def test_own_endpoint_is_looked_up_towards_the_first_bootstrap_nodes_each_once() -> None:
    asked: list[Sequence[IPAddress]] = []

    async def lookup(towards: Sequence[IPAddress]) -> Endpoint:
        asked.append(towards)
        return Endpoint(ip_address("192.0.2.9"), 1)

    hosts = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]
    directory = StaticBootstraps(tuple(HostPort(host, 5000) for host in hosts))
    assert (await OwnEndpoint(lookup, directory, 5000).locate()).port == 1
    assert asked == [[ip_address("192.0.2.1"), ip_address("192.0.2.2")]]
    assert MAX_LOOKUPS == 3


async def test_members_are_looked_over_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Looked(MembershipTracker):
        """Counts how often."""

        def __init__(self) -> None:
            self.looks = 0

        async def refresh(self) -> None:
            self.looks += 1

    monkeypatch.setattr(member_refresh, "REFRESH_SECONDS", 0.001)
    tracker, changes = Looked(), Signal()
    task = asyncio.create_task(MemberRefresh(tracker, changes).run())
    await until(lambda: tracker.looks >= 2 and changes.generation >= 2)
    task.cancel()


async def test_a_bootstrap_node_that_does_not_serve_tells_no_members() -> None:
    peers = BootstrapPeers(local_node(mesh_record(), KEY), None)
    with pytest.raises(JoinUnreachable):
        await peers.peers_of(HostPort("127.0.0.1", 9))


@pytest.mark.parametrize(
    ("change", "reads"),
    [(HostChange(addresses=True), 2), (HostChange(routes=True), 2), (HostChange(links=True), 1)],
    ids=["address", "route", "link"],
)
async def test_addresses_are_read_anew_when_they_may_be_others(
    tmp_path: Path, change: HostChange, reads: int
) -> None:
    class Cards:
        """Counts how often it is read."""

        reads = 0

        async def reachable(self) -> list[tuple[str, IPAddress]]:
            self.reads += 1
            return [("eth0", ip_address("192.0.2.1"))]

        candidates = reachable

    async def changes() -> AsyncIterator[HostChange]:
        yield change

    node: MeshNode = composed(tmp_path)
    cards, changed = Cards(), Signal()
    addresses = LocalAddresses(cards, changed)
    await addresses.reachable()
    await AddressWatch(addresses, node.reconciler, changes).run()
    await addresses.reachable()
    assert cards.reads == reads
    assert changed.generation == reads - 1
    node.store.close()


async def test_what_a_node_is_to_program_has_its_addresses_and_the_networks_behind_members(
    tmp_path: Path,
) -> None:
    site = ip_network("192.168.7.0/24")
    node = composed(tmp_path)
    beta = replace(claim("beta", 2), routes=(site,))
    assert node.ledger.accept(beta, Origin.ROSTER, 1.0) is None
    await node.reconciler.reconcile()
    device = await node.backend.read()
    assert device.peers[beta.public_key].allowed_ips == {ip_network("10.232.0.2/32"), site}
    node.store.close()
