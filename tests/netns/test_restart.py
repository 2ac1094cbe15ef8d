"""Agents die and start again; traffic and membership do not notice."""

import signal
from collections.abc import Iterator

import pytest
from tests.netns.mesh_harness import Pinging, eventually, lab_mesh, pinging, saved_members, wgmesh, wireguard

from wgmesh_agent.lab.mesh import Mesh

pytestmark = [pytest.mark.netns, pytest.mark.slow]
BOTH_WAYS = (("n1", "n3"), ("n3", "n1"))


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with lab_mesh(3) as mesh:
        yield mesh


def restart(mesh: Mesh, node: str, how: signal.Signals) -> None:
    agent = mesh.agents[node]
    agent.stop(how)
    agent.start()
    agent.wait_until_ready()
    mesh.wait_until_full()


def data_plane(mesh: Mesh, node: str) -> str:
    """Properties that would change if the interface, or its process, were re-created."""
    host = mesh.network.hosts[node]
    link = host.run(["ip", "-oneline", "link", "show", f"wg{mesh.name}"]).stdout.split(":")[0]
    if mesh.agents[node].info().backend == "kernel":
        return link
    return link + host.run(["pidof", "wireguard-go"]).stdout


def lost(pings: list[Pinging]) -> list[int]:
    return [ping.lost() for ping in pings]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["sigkill", "sigterm"])
def test_no_packet_is_lost_while_an_agent_ends_and_starts_again(mesh: Mesh, how: signal.Signals) -> None:
    before = data_plane(mesh, "n3")
    with pinging(mesh, *BOTH_WAYS) as pings:
        restart(mesh, "n3", how)
    assert lost(pings) == [0, 0]
    assert data_plane(mesh, "n3") == before


def test_no_packet_is_lost_while_the_bootstrap_node_s_agent_is_killed_and_starts_again(mesh: Mesh) -> None:
    with pinging(mesh, *BOTH_WAYS) as pings:
        restart(mesh, "n1", signal.SIGKILL)
    assert lost(pings) == [0, 0]


def test_sigterm_ends_the_agent_with_status_0_and_the_member_stays(mesh: Mesh) -> None:
    agent = mesh.agents["n2"]
    key = agent.info().pubkey
    assert agent.stop(signal.SIGTERM) == 0
    assert key in wireguard(mesh.network.hosts["n1"]).tunnels
    assert "n2" in mesh.members("n1")
    agent.start()
    agent.wait_until_ready()
    mesh.wait_until_full()


def test_a_plain_node_restarts_as_the_same_member_while_no_bootstrap_node_is_alive(mesh: Mesh) -> None:
    host = mesh.network.hosts["n3"]
    assert wgmesh(host, "tags", "-set", "rack=7").returncode == 0
    eventually(lambda: saved_members(mesh, "n3") == {"n1", "n2"}, 10, "n3 remembers its peers")
    info, tunnels = mesh.agents["n3"].info(), wireguard(host).tunnels
    mesh.agents["n1"].kill()
    with pinging(mesh, ("n2", "n3")) as pings:
        mesh.agents["n3"].kill()
        mesh.agents["n3"].start()
        mesh.agents["n3"].wait_until_ready()
        mesh.wait_until_full({"n2", "n3"})
    again = mesh.agents["n3"].info()
    assert (again.pubkey, list(again.meshIPs), again.nodeName) == (info.pubkey, list(info.meshIPs), "n3")
    assert (again.meshCeationTS, again.nodeJoinTS) == (info.meshCeationTS, info.nodeJoinTS)
    assert wireguard(host).tunnels.keys() == tunnels.keys()
    assert {t.key: t.value for t in mesh.members("n2")["n3"].tags} == {"rack": "7"}
    assert lost(pings) == [0]
    mesh.agents["n1"].start()
    mesh.agents["n1"].wait_until_ready()
    mesh.wait_until_full()
