"""Nodes behind NAT: they join, are reachable, reach each other, and follow changes of their network."""

import time
from collections.abc import Iterator

import pytest
from tests.netns.mesh_harness import eventually, lab_network, wireguard

from wgmesh_agent.lab.mesh import Mesh

pytestmark = [pytest.mark.netns, pytest.mark.slow]
KEEPALIVE = "25"
KEEP_APART = """
    add table ip lab-apart
    add chain ip lab-apart forward { type filter hook forward priority 0; }
    add rule ip lab-apart forward ip saddr 192.168.0.0/16 ip daddr 192.168.0.0/16 drop
"""


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """n1 and n5 have addresses of their own; n2 and n3 are behind two routers that keep ports, n4 behind one that does
    not.
    """
    with lab_network() as network:
        mesh = Mesh(network, options=("-relays", "n1"))
        network.add_host("n1")
        network.add_host("n5")
        for number, random_ports in ((2, False), (3, False), (4, True)):
            network.add_router(f"nat{number}", random_ports=random_ports)
            network.add_host_behind(f"n{number}", f"nat{number}")
        mesh.bootstrap("n1")
        yield mesh


def heard(mesh: Mesh, *nodes: str) -> bool:
    """Whether the link is up in both directions, and each end knows it."""
    return all(
        (member := mesh.members(here).get(there)) is not None and member.receiving and member.peerReceiving
        for here in nodes
        for there in nodes
        if here != there
    )


def seconds_until_heard(mesh: Mesh, *nodes: str, within: float) -> float:
    began = time.monotonic()
    eventually(lambda: heard(mesh, *nodes), within, lambda: f"{nodes} hear each other")
    return time.monotonic() - began


def keepalives(mesh: Mesh, node: str) -> set[str]:
    lines = mesh.network.hosts[node].run(["wg", "show", "wglab", "persistent-keepalive"]).stdout.splitlines()
    return {line.split("\t")[1] for line in lines}


def test_a_node_behind_a_nat_joins_is_reached_and_keeps_its_way_open(mesh: Mesh) -> None:
    mesh.join("n2").wait_until_ready()
    print("behind a NAT, heard after", seconds_until_heard(mesh, "n1", "n2", within=20))
    eventually(lambda: keepalives(mesh, "n2") == {KEEPALIVE}, 10, "it finds out, and keeps the way open")
    outer = f"{mesh.network.address('nat2')}:54540"
    eventually(lambda: mesh.agents["n2"].info().endpoint == outer, 10, "it tells where others see it")
    assert mesh.agents["n2"].info().behindNat
    assert keepalives(mesh, "n1") == {"off"}
    assert not mesh.agents["n1"].info().behindNat
    assert not mesh.ping("n1", "n2").lost
    assert not mesh.ping("n2", "n1").lost


def test_two_nodes_behind_two_nats_reach_each_other(mesh: Mesh) -> None:
    mesh.join("n3").wait_until_ready()
    print("behind two NATs, heard after", seconds_until_heard(mesh, "n1", "n2", "n3", within=30))
    host = mesh.network.hosts["n2"]
    key = mesh.agents["n3"].info().pubkey
    assert wireguard(host).tunnels[key].endpoint == f"{mesh.network.address('nat3')}:54540"
    assert not mesh.ping("n2", "n3").lost
    assert not mesh.ping("n3", "n2").lost


def test_a_node_behind_a_nat_of_random_ports_is_reached(mesh: Mesh) -> None:
    for node in ("n4", "n5"):
        mesh.join(node).wait_until_ready()
    for node in ("n1", "n2", "n3", "n4"):
        print("n5 and", node, seconds_until_heard(mesh, "n5", node, within=30))
    assert not mesh.ping("n5", "n4").lost
    learned = wireguard(mesh.network.hosts["n5"]).tunnels[mesh.agents["n4"].info().pubkey].endpoint
    assert learned.startswith(f"{mesh.network.address('nat4')}:")
    assert not learned.endswith(":54540")


def test_where_no_hole_can_be_punched_a_relay_carries(mesh: Mesh) -> None:
    """n4's NAT maps n3 to a port that cannot be predicted, and n3's drops unsolicited packets."""
    print("n3 and n4, relayed", seconds_until_heard(mesh, "n3", "n4", within=60))
    assert mesh.members("n3")["n4"].relay == "n1"
    assert mesh.members("n4")["n3"].relay == "n1"
    assert mesh.members("n3")["n2"].relay == ""
    assert not mesh.ping("n3", "n4").lost


def back_after(mesh: Mesh, node: str, others: list[str], host: str) -> float:
    """Seconds until the node advertises its new endpoint, and pings from and to it are answered."""
    began = time.monotonic()
    eventually(
        lambda: all(not mesh.ping(node, one, wait=0.5).lost for one in others), 30, f"{node} reaches all"
    )
    eventually(
        lambda: all(not mesh.ping(one, node, wait=0.5).lost for one in others), 30, f"all reach {node}"
    )
    took = time.monotonic() - began
    eventually(lambda: mesh.agents[node].info().endpoint.startswith(host), 10, "it tells where it is now")
    eventually(lambda: all(heard(mesh, node, one) for one in others), 10, "both ends hear")
    return took


def test_a_node_that_moves_is_followed_by_those_behind_nats(mesh: Mesh) -> None:
    host = mesh.network.hosts["n5"]
    host.run(["ip", "address", "del", f"{mesh.network.address('n5')}/24", "dev", "eth0"])
    host.run(["ip", "address", "add", "10.0.0.88/24", "dev", "eth0"])
    others = ["n1", "n2", "n3", "n4"]
    print("n5 moved, and is back after", back_after(mesh, "n5", others, "10.0.0.88:"))
    eventually(
        lambda: not [one for one in others if mesh.members(one)["n5"].relay], 60, "all reach it directly"
    )


def test_a_node_that_moves_behind_another_nat_is_back(mesh: Mesh) -> None:
    """At first the router blocks traffic between the hosts behind it, so that a relay is used: their links are up, and
    they still search for a direct path, one that neither has ever used.
    """
    mesh.network.hosts["nat3"].run(["nft", "-f", "-"], text=KEEP_APART)
    mesh.network.plug_behind("n2", "nat3")
    took = back_after(mesh, "n2", ["n1", "n5", "n3"], f"{mesh.network.address('nat3')}:")
    print("n2 moved behind another NAT, and is back after", took)
    eventually(lambda: mesh.members("n2")["n3"].relay == "n1", 30, "they are relayed")
    host, key = mesh.network.hosts["n3"], mesh.agents["n2"].info().pubkey
    tried: set[str] = set()

    def tries_others() -> bool:
        tried.add(wireguard(host).tunnels[key].endpoint)
        return len(tried) > 1

    eventually(tries_others, 30, lambda: f"n3 tries one after the other, not only {tried}")
    mesh.network.hosts["nat3"].run(["nft", "delete", "table", "ip", "lab-apart"])
    began = time.monotonic()
    eventually(
        lambda: not mesh.members("n2")["n3"].relay, 30, "who is behind the same NAT is reached directly"
    )
    print("directly after", time.monotonic() - began)
