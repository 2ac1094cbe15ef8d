"""Two members without a direct path communicate via a third that all of them configured, and directly as soon as
possible.
"""

import signal
import time
from collections.abc import Iterator

import pytest
from tests.netns.mesh_harness import PINGS_A_SECOND, eventually, lab_network, pinging, wireguard

from wgmesh_agent.lab.mesh import Mesh

pytestmark = [pytest.mark.netns, pytest.mark.slow]
NODES = ["n1", "n2", "n3"]


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """n1 may relay; its machine forwards nothing by itself."""
    with lab_network() as network:
        mesh = Mesh(network, options=("-relays", "n1"))
        for name in NODES:
            network.add_host(name).run(["sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward"])
        mesh.bootstrap("n1")
        for name in NODES[1:]:
            mesh.join(name)
        mesh.wait_until_full()
        yield mesh


def relay(mesh: Mesh, here: str, there: str) -> str | None:
    member = mesh.members(here).get(there)
    return member.relay if member else None


def allowed(mesh: Mesh, node: str) -> dict[str, frozenset[str]]:
    """Per peer by name; `wg` says (none) of a peer without any."""
    names = {mesh.agents[name].info().pubkey: name for name in NODES}
    return {names[key]: t.allowed_ips for key, t in wireguard(mesh.network.hosts[node]).tunnels.items()}


def ping_both(mesh: Mesh) -> bool:
    return not mesh.ping("n2", "n3").lost and not mesh.ping("n3", "n2").lost


def test_without_a_direct_path_the_relay_carries_and_both_ends_say_so(mesh: Mesh) -> None:
    mesh.network.cut("n2", "n3")
    began = time.monotonic()
    eventually(lambda: ping_both(mesh), 60, "n2 and n3 reach each other through n1")
    print("relayed after", time.monotonic() - began)
    assert (relay(mesh, "n2", "n3"), relay(mesh, "n3", "n2")) == ("n1", "n1")
    assert relay(mesh, "n1", "n2") == ""
    address = {node: f"{mesh.mesh_address(node)}/32" for node in NODES}
    for here, there in (("n2", "n3"), ("n3", "n2")):
        assert allowed(mesh, here) == {
            "n1": frozenset({address["n1"], address[there]}),
            there: frozenset({"(none)"}),
        }
    eventually(lambda: mesh.members("n2")["n3"].receiving, 10, "it is heard through the relay")


def test_the_relay_forwards_within_the_mesh_and_nowhere_else(mesh: Mesh) -> None:
    host = mesh.network.hosts["n1"]

    def way(target: str) -> str:
        done = host.run(
            ["ip", "route", "get", target, "from", mesh.mesh_address("n2"), "iif", "wglab"], check=False
        )
        return done.stdout + done.stderr

    assert "dev wglab" in way(mesh.mesh_address("n3"))
    assert "unreachable" in way(mesh.network.address("n3")).lower()
    assert "unreachable" in way("192.0.2.1").lower()


def test_relayed_traffic_goes_on_while_agents_are_killed_and_restart(mesh: Mesh) -> None:
    with pinging(mesh, ("n2", "n3")) as (ping,):
        for node in ("n2", "n3", "n1"):
            mesh.agents[node].kill()
            mesh.agents[node].start()
            mesh.agents[node].wait_until_ready()
            ping.go_on()
        assert ping.lost() == 0
    assert relay(mesh, "n2", "n3") == "n1"


def test_as_soon_as_a_direct_path_works_it_is_taken(mesh: Mesh) -> None:
    with pinging(mesh, ("n2", "n3")) as (ping,):
        mesh.network.heal("n2")
        mesh.network.heal("n3")
        began = time.monotonic()
        eventually(lambda: relay(mesh, "n2", "n3") == relay(mesh, "n3", "n2") == "", 60, "directly again")
        print("directly again after", time.monotonic() - began)
    print("pings lost on the way back", ping.lost())
    # Between the one end's change and the other's, packets come by a way that is not taken any more.
    assert ping.lost() <= PINGS_A_SECOND
    assert ping_both(mesh)
    address = {node: frozenset({f"{mesh.mesh_address(node)}/32"}) for node in NODES}
    assert allowed(mesh, "n2") == {node: address[node] for node in ("n1", "n3")}


def test_a_relay_that_leaves_takes_its_rules_along(mesh: Mesh) -> None:
    host = mesh.network.hosts["n1"]
    assert "iif wglab" in host.run(["ip", "rule"]).stdout
    assert mesh.agents["n1"].stop(signal.SIGINT) == 0
    assert "iif wglab" not in host.run(["ip", "rule"]).stdout
