"""A node's address on the underlay changes: WireGuard follows it, and no component reverts that."""

from collections.abc import Iterator

import pytest
from tests.netns.mesh_harness import eventually, lab_mesh, stays, wireguard

from wgmesh_agent.lab.mesh import Mesh
from wgmesh_agent.mesh.dataplane.reconciler import INTERVAL_SECONDS

pytestmark = [pytest.mark.netns, pytest.mark.slow]
NODES = ["n1", "n2", "n3"]
REWRITTEN = """
table ip elsewhere {
  chain out {
    type filter hook postrouting priority 100;
    oifname eth0 udp sport 54540 ip saddr set 10.0.0.66 udp sport set 4711
  }
  chain in {
    type filter hook prerouting priority -300;
    iifname eth0 ip daddr 10.0.0.66 udp dport 4711 ip daddr set OWN udp dport set 54540
  }
}
"""
"""What a NAT does that has just forgotten the node's former mapping, without one's memory."""


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with lab_mesh(len(NODES)) as mesh:
        yield mesh


def seen_at(mesh: Mesh, node: str, endpoint: str, viewers: list[str]) -> bool:
    key = mesh.agents[node].info().pubkey
    return all(wireguard(mesh.network.hosts[v]).tunnels[key].endpoint == endpoint for v in viewers)


def wait_for_pings(mesh: Mesh) -> None:
    eventually(lambda: not any(p.lost for p in mesh.ping_matrix(NODES).values()), 10, "all pings answer")


def test_an_endpoint_learned_behind_a_nat_outlives_the_reconciler_and_a_restart(mesh: Mesh) -> None:
    host = mesh.network.hosts["n2"]
    host.run(["ip", "address", "add", "10.0.0.66/24", "dev", "eth0"])
    host.run(["nft", "-f", "-"], text=REWRITTEN.replace("OWN", mesh.network.address("n2")))
    eventually(lambda: seen_at(mesh, "n2", "10.0.0.66:4711", ["n1", "n3"]), 10, "both learn it")
    mesh.agents["n3"].kill()
    mesh.agents["n3"].start()
    mesh.agents["n3"].wait_until_ready()
    stays(
        lambda: seen_at(mesh, "n2", "10.0.0.66:4711", ["n1", "n3"]),
        INTERVAL_SECONDS + 2,
        "the learned endpoint is kept over a pass of the reconciler",
    )
    wait_for_pings(mesh)
    host.run(["nft", "delete", "table", "ip", "elsewhere"])
    back = f"{mesh.network.address('n2')}:54540"
    eventually(lambda: seen_at(mesh, "n2", back, ["n1", "n3"]), 10, "both learn where it is now")


def test_a_node_that_loses_its_address_for_another_is_back_in_10_s(mesh: Mesh) -> None:
    host = mesh.network.hosts["n3"]
    host.run(["ip", "address", "del", f"{mesh.network.address('n3')}/24", "dev", "eth0"])
    host.run(["ip", "address", "add", "10.0.0.77/24", "dev", "eth0"])
    eventually(lambda: seen_at(mesh, "n3", "10.0.0.77:54540", ["n1", "n2"]), 10, "both learn it")
    mesh.wait_until_full(seconds=10)
    wait_for_pings(mesh)


NOT_FIRST = """
table ip mute {{
  chain out {{
    type filter hook output priority 0;
    ip daddr {other} udp dport 54540 ct state new drop
  }}
}}
"""
"""The member sends nothing to the other one, which must search for it."""


def test_a_node_that_moved_four_times_is_looked_for_where_it_is_now_and_not_where_it_was(mesh: Mesh) -> None:
    host = mesh.network.hosts["n2"]
    host.run(["nft", "-f", "-"], text=NOT_FIRST.format(other=mesh.network.address("n1")))
    former = mesh.network.address("n2")
    for number in range(81, 85):
        address = f"10.0.0.{number}"
        host.run(["ip", "address", "del", f"{former}/24", "dev", "eth0"])
        host.run(["ip", "address", "add", f"{address}/24", "dev", "eth0"])
        former = address
        # Each dead candidate that is tried before takes six seconds.
        eventually(lambda: seen_at(mesh, "n2", f"{former}:54540", ["n1", "n3"]), 10, f"found at {address}")  # noqa: B023
        wait_for_pings(mesh)
    host.run(["nft", "delete", "table", "ip", "mute"])
