"""Machines without any IPv4, not even on the loopback: a mesh is made, joined, examined, and survives a power cut."""

import json
from collections.abc import Iterator
from ipaddress import IPv6Network

import pytest
from tests.netns.mesh_harness import eventually, lab_network, wireguard

from wgmesh_agent.lab.agent import PROGRAM
from wgmesh_agent.lab.host import Host
from wgmesh_agent.lab.mesh import Mesh

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]
NODES = ["n1", "n2", "n3"]


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with lab_network(subnets=(IPv6Network("fd01::/64"),)) as network:
        mesh = Mesh(network, bootstrap_options=("-cidr", "fd00:232::/64", "-ip", "fd00:232::1"))
        for name in NODES:
            without_ipv4(network.add_host(name))
        mesh.bootstrap("n1")
        for name in NODES[1:]:
            mesh.join(name)
        mesh.wait_until_full()
        yield mesh


def without_ipv4(host: Host) -> None:
    host.run(["ip", "-4", "address", "flush", "dev", "lo"])
    assert not host.run(["ip", "-4", "address"]).stdout


def test_all_members_answer_and_are_reached_by_ipv6(mesh: Mesh) -> None:
    for source in NODES:
        for target in NODES:
            if source != target:
                eventually(lambda: not mesh.ping(source, target).lost, 10, "a ping")  # noqa: B023
    for node in NODES:
        found = wireguard(mesh.network.hosts[node]).tunnels.values()
        assert all(tunnel.endpoint.startswith("[fd01::") for tunnel in found)


def test_doctor_finds_nothing(mesh: Mesh) -> None:
    for node in NODES:
        host = mesh.network.hosts[node]

        def findings() -> list[dict[str, str]]:
            document = json.loads(host.run([*PROGRAM, "doctor", "-json"], check=False, seconds=60).stdout)  # noqa: B023
            return list(document["findings"])

        eventually(lambda: not findings(), 20, lambda: str(findings()))


def test_a_member_comes_back_after_a_power_cut(mesh: Mesh) -> None:
    agent = mesh.agents["n2"]
    before = agent.info()
    without_ipv4(mesh.network.reboot("n2"))
    agent.start()
    after = agent.wait_until_ready()
    mesh.wait_until_full()
    assert (after.pubkey, after.meshIPs) == (before.pubkey, before.meshIPs)
    assert not mesh.ping("n1", "n2", count=5).lost
