"""Networks behind nodes: a site is reached through its gateway, only with authorisation, and removed with the node.

The gateway may relay, too: it forwards for both, and no further.
"""

import json
from collections.abc import Iterator
from functools import partial

import pytest
from tests.netns.mesh_harness import cable, eventually, lab_network, wgmesh, wireguard

from wgmesh_agent.lab.host import Host
from wgmesh_agent.lab.mesh import Mesh
from wgmesh_agent.lab.network import Network
from wgmesh_agent.linux.policy_rules import first_priority_of, routing_table_of

pytestmark = [pytest.mark.netns, pytest.mark.slow]
SITE, OTHER = "192.168.7.0/24", "192.168.8.0/24"
PRINTER = "192.168.7.9"
TABLE = str(routing_table_of("wglab"))


def site(network: Network, gateway: str) -> None:
    """A machine with the address PRINTER on a cable of its own to the gateway, which does not forward yet."""
    printer = network.add_host("printer")
    printer.run(["ip", "link", "del", "eth0"])
    cable(network, (gateway, "site0", "192.168.7.1/24"), ("printer", "eth0", f"{PRINTER}/24"))
    printer.run(["ip", "route", "add", "10.232.0.0/16", "via", "192.168.7.1"])


def deaf(host: Host) -> None:
    """New hosts forward where this machine does."""
    host.run(["sh", "-c", "for f in /proc/sys/net/ipv4/conf/*/forwarding; do echo 0 >$f; done"])


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """n2 may announce its site, and asks for another network besides; n3 has one like it on its own cable."""
    with lab_network() as network:
        for name in ("n1", "n2", "n3"):
            deaf(network.add_host(name))
        site(network, "n2")
        deaf(network.hosts["n2"])
        network.hosts["n3"].run(["ip", "link", "add", "own0", "type", "bridge"])
        network.hosts["n3"].run(["ip", "address", "add", "192.168.9.1/24", "dev", "own0"])
        mesh = Mesh(network, options=("-relays", "n2"))
        mesh.bootstrap("n1", "-allow-routes", f"n2={SITE},n2=192.168.9.0/24")
        mesh.join("n2", "-routes", f"{SITE},192.168.9.0/25,{OTHER}")
        mesh.join("n3")
        mesh.wait_until_full({"n1", "n2", "n3"})
        yield mesh


def routed(host: Host) -> set[str]:
    """The destinations in the mesh's own table, each with its barrier behind it."""
    shown = json.loads(host.run(["ip", "-j", "route", "show", "table", TABLE], check=False).stdout or "[]")
    barriers = {route["dst"] for route in shown if route.get("type") == "unreachable"}
    destinations = {route["dst"] for route in shown if route.get("type") != "unreachable"}
    assert barriers == destinations
    return destinations


def rules(host: Host) -> list[str]:
    """Ours, without their priorities, in order."""
    lines = host.run(["ip", "rule", "show"]).stdout.splitlines()
    return [line.partition(":")[2].strip() for line in lines if line.endswith("proto 87")]


def allowed(mesh: Mesh, node: str) -> set[str]:
    found = wireguard(mesh.network.hosts[node])
    return {one for tunnel in found.tunnels.values() for one in tunnel.allowed_ips}


def reaches(mesh: Mesh, node: str) -> bool:
    return SITE in routed(mesh.network.hosts[node]) and not mesh.ping_address(node, PRINTER).lost


def is_clean(host: Host) -> bool:
    return not routed(host) and not rules(host)


def test_every_member_reaches_the_site_and_its_machines_answer(mesh: Mesh) -> None:
    for node in ("n1", "n3"):
        eventually(partial(reaches, mesh, node), 10.0, f"{node} reaches the site")


def test_a_network_the_node_was_not_given_is_no_peers_and_is_counted(mesh: Mesh) -> None:
    for node in ("n1", "n3"):
        assert OTHER not in allowed(mesh, node) | routed(mesh.network.hosts[node])
    assert mesh.agents["n1"].info().refusals["route_not_allowed"] >= 1
    assert "route not advertised" in mesh.agents["n2"].said(20000)


def test_a_network_like_one_s_own_is_refused_there_and_taken_elsewhere(mesh: Mesh) -> None:
    assert "192.168.9.0/25" in routed(mesh.network.hosts["n1"])
    assert "192.168.9.0/25" not in routed(mesh.network.hosts["n3"]) | allowed(mesh, "n3")
    assert mesh.agents["n3"].info().refusals == {"route_overlap": 1}
    assert "route_overlap 1" in wgmesh(mesh.network.hosts["n3"], "info").stdout


def test_the_main_table_holds_none_of_it_and_rules_lead_to_ours(mesh: Mesh) -> None:
    host = mesh.network.hosts["n1"]
    assert SITE not in host.run(["ip", "route", "show"]).stdout
    first = first_priority_of("wglab")
    assert rules(host) == [
        f"from all ipproto udp sport 54540 lookup {TABLE} goto {first + 2} proto 87",
        f"from {mesh.mesh_address('n1')} lookup {TABLE} proto 87",
        f"from all lookup {TABLE} nop proto 87",
        f"from all ipproto udp sport 54540 lookup {TABLE} goto 32766 proto 87",
        f"from 0.0.0.0 iif lo lookup main suppress_prefixlength 0 suppress_ifgroup {TABLE} proto 87",
        f"from 0.0.0.0 iif lo lookup {TABLE} proto 87",
        f"from all lookup {TABLE} nop proto 87",
    ]


def test_what_comes_out_of_the_gateway_s_tunnel_goes_to_its_networks_and_to_members_and_nowhere_else(
    mesh: Mesh,
) -> None:
    host = mesh.network.hosts["n2"]

    def way(target: str) -> str:
        done = host.run(
            ["ip", "route", "get", target, "from", mesh.mesh_address("n3"), "iif", "wglab"], check=False
        )
        return done.stdout + done.stderr

    assert "dev site0" in way(PRINTER)
    assert "dev wglab" in way(mesh.mesh_address("n1"))
    assert "unreachable" in way(mesh.network.address("n1")).lower()


def relayed(mesh: Mesh, by: str) -> bool:
    """Whether n1 and n3 have each other through that node; "" is none."""
    pairs = (("n1", "n3"), ("n3", "n1"))
    return all(
        (member := mesh.members(here).get(there)) is not None and member.relay == by for here, there in pairs
    )


def test_a_gateway_that_is_a_relay_carries_for_members_and_for_its_site_at_once(mesh: Mesh) -> None:
    mesh.network.cut("n1", "n3")
    eventually(lambda: relayed(mesh, "n2") and not mesh.ping("n1", "n3").lost, 60, "n1 reaches n3 through n2")
    for node in ("n1", "n3"):
        eventually(partial(reaches, mesh, node), 10.0, f"{node} reaches the site")
    for node in ("n1", "n3"):
        mesh.network.heal(node)
    eventually(lambda: relayed(mesh, ""), 60, "n1 and n3 have each other directly")


def test_what_the_main_table_has_by_another_way_stays_there_for_the_machine_itself(mesh: Mesh) -> None:
    """As with pods whose network plugin has routes: who asked this machine at its own address is answered there."""
    host, way = mesh.network.hosts["n3"], mesh.network.address("n1")
    host.run(["ip", "route", "add", SITE, "via", way])
    try:
        assert f"via {way}" in host.run(["ip", "route", "get", PRINTER]).stdout
        own = mesh.network.address("n3")
        assert f"via {way}" in host.run(["ip", "route", "get", PRINTER, "from", own]).stdout
        assert (
            "dev wglab" in host.run(["ip", "route", "get", PRINTER, "from", mesh.mesh_address("n3")]).stdout
        )
    finally:
        host.run(["ip", "route", "del", SITE])


def test_a_tunnel_never_runs_through_itself(mesh: Mesh) -> None:
    shown = mesh.network.hosts["n3"].run(
        ["ip", "route", "get", PRINTER, "ipproto", "udp", "sport", "54540"], check=False
    )
    assert "wglab" not in shown.stdout


def test_only_the_interfaces_that_must_forward(mesh: Mesh) -> None:
    def forwarding(interface: str) -> str:
        path = f"/proc/sys/net/ipv4/conf/{interface}/forwarding"
        return mesh.network.hosts["n2"].run(["cat", path]).stdout.strip()

    assert {name: forwarding(name) for name in ("wglab", "site0", "eth0", "all")} == {
        "wglab": "1",
        "site0": "1",
        "eth0": "0",
        "all": "0",
    }


def test_info_says_who_announces_what(mesh: Mesh) -> None:
    document = json.loads(wgmesh(mesh.network.hosts["n3"], "info", "-o", "json").stdout)
    routes = {member["name"]: member["routes"] for member in document["members"]}
    assert routes == {"n1": [], "n2": [SITE], "n3": []}


def test_routes_stay_while_agents_are_killed_and_start_again(mesh: Mesh) -> None:
    for node in ("n1", "n2", "n3"):
        mesh.agents[node].kill()
    assert not mesh.ping_address("n3", PRINTER).lost
    for node in ("n1", "n2", "n3"):
        mesh.agents[node].start()
    mesh.wait_until_full()
    assert not mesh.ping_address("n3", PRINTER).lost
    assert SITE in routed(mesh.network.hosts["n3"])


def test_routes_go_with_the_node_and_all_is_as_it_was(mesh: Mesh) -> None:
    gateway = mesh.network.hosts["n2"]
    assert wgmesh(gateway, "leave").returncode == 0
    for node in ("n1", "n3"):
        host = mesh.network.hosts[node]
        eventually(partial(is_clean, host), 10.0, f"{node} lets the routes go")
        assert SITE not in allowed(mesh, node)
    assert gateway.run(["cat", "/proc/sys/net/ipv4/conf/site0/forwarding"]).stdout.strip() == "0"
    assert not rules(gateway)
