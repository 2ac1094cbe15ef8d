"""IPv6 below and inside the mesh, both families at once, and the MTU that fits each."""

import time
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address

import pytest
from tests.netns.mesh_harness import Tunnel, eventually, lab_mesh, wireguard

from wgmesh_agent.lab.mesh import Mesh

pytestmark = pytest.mark.netns
NODES = ["n1", "n2", "n3"]
UNDERLAY_4, UNDERLAY_6 = IPv4Network("10.0.0.0/24"), IPv6Network("fd01::/64")
DUAL = ("-cidr", "10.232.0.0/16,fd00:232::/64", "-ip", "10.232.1.1,fd00:232::101")


@pytest.fixture(scope="module")
def on_ipv6() -> Iterator[Mesh]:
    """IPv6 alone below, both families inside."""
    options = (*DUAL, "-grpc-bind-addr", "::")
    with lab_mesh(len(NODES), network={"subnets": (UNDERLAY_6,)}, bootstrap_options=options) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def on_ipv4() -> Iterator[Mesh]:
    """IPv4 below, IPv6 alone inside, and less room for packets than usual."""
    inside = ("-cidr", "fd00:232::/64", "-ip", "fd00:232::1")
    with lab_mesh(2, network={"subnets": (UNDERLAY_4,), "mtu": 1450}, bootstrap_options=inside) as mesh:
        yield mesh


def addresses(mesh: Mesh, node: str) -> list[str]:
    return list(mesh.agents[node].info().meshIPs)


def unanswered(mesh: Mesh, nodes: list[str]) -> list[str]:
    """Every address of every node, asked from every other."""
    return [
        f"{source} to {address}"
        for source in nodes
        for target in nodes
        if source != target
        for address in addresses(mesh, target)
        if mesh.ping_address(source, address).lost
    ]


def mtu(mesh: Mesh, node: str) -> int:
    words = mesh.network.hosts[node].run(["ip", "link", "show", "wglab"]).stdout.split()
    return int(words[words.index("mtu") + 1])


def test_a_mesh_of_both_families_on_an_ipv6_underlay_answers_in_both(on_ipv6: Mesh) -> None:
    for node in NODES:
        assert [ip_address(a).version for a in addresses(on_ipv6, node)] == [4, 6]
    eventually(lambda: not unanswered(on_ipv6, NODES), 10, lambda: str(unanswered(on_ipv6, NODES)))


def test_endpoints_on_an_ipv6_underlay_are_ipv6(on_ipv6: Mesh) -> None:
    tunnels: dict[str, Tunnel] = wireguard(on_ipv6.network.hosts["n2"]).tunnels
    found = {tunnel.endpoint for tunnel in tunnels.values()}
    assert found == {f"[{on_ipv6.network.address(node, 6)}]:54540" for node in ("n1", "n3")}
    allowed = {len(tunnel.allowed_ips) for tunnel in tunnels.values()}
    assert allowed == {2}


def test_the_tunnel_is_80_bytes_thinner_than_an_ipv6_underlay(on_ipv6: Mesh) -> None:
    assert [mtu(on_ipv6, node) for node in NODES] == [1420] * 3
    assert on_ipv6.agents["n2"].info().mtu == 1420


def test_the_tunnel_is_60_bytes_thinner_than_an_ipv4_underlay(on_ipv4: Mesh) -> None:
    assert [mtu(on_ipv4, node) for node in ("n1", "n2")] == [1390] * 2


@pytest.mark.parametrize("family", [4, 6])
def test_a_packet_that_fills_the_tunnel_passes_the_underlay_whole(
    on_ipv4: Mesh, on_ipv6: Mesh, family: int
) -> None:
    mesh, inner = (on_ipv4, 6) if family == 4 else (on_ipv6, 4)
    address = next(a for a in addresses(mesh, "n2") if ip_address(a).version == inner)
    headers = 28 if inner == 4 else 48
    host = mesh.network.hosts["n1"]
    size = mtu(mesh, "n1") - headers

    def passes(payload: int) -> bool:
        command = ["ping", "-c", "1", "-W", "2", "-M", "do", "-s", str(payload), address]
        return host.run(command, check=False).returncode == 0

    assert passes(size)
    assert not passes(size + 1)


def test_a_mesh_of_ipv6_alone_on_an_ipv4_underlay_is_whole(on_ipv4: Mesh) -> None:
    assert [ip_address(a).version for a in addresses(on_ipv4, "n2")] == [6]
    eventually(
        lambda: not unanswered(on_ipv4, ["n1", "n2"]), 10, lambda: str(unanswered(on_ipv4, ["n1", "n2"]))
    )


def test_a_node_of_ipv6_alone_that_moves_is_back_in_10_s_and_says_where_it_is(on_ipv6: Mesh) -> None:
    host, former = on_ipv6.network.hosts["n2"], on_ipv6.network.address("n2", 6)
    host.run(["ip", "address", "del", f"{former}/64", "dev", "eth0"])
    host.run(["ip", "address", "add", "fd01::77/64", "dev", "eth0", "nodad"])
    began = time.monotonic()
    eventually(lambda: not unanswered(on_ipv6, NODES), 10, lambda: str(unanswered(on_ipv6, NODES)))
    print("an IPv6 node moved, and is back after", time.monotonic() - began)
    eventually(lambda: on_ipv6.agents["n2"].info().endpoint == "[fd01::77]:54540", 10, "it says where it is")
    for viewer in ("n1", "n3"):
        key = on_ipv6.agents["n2"].info().pubkey
        assert wireguard(on_ipv6.network.hosts[viewer]).tunnels[key].endpoint == "[fd01::77]:54540"


def test_a_dual_stack_member_comes_back_with_both_addresses_after_a_power_cut(on_ipv6: Mesh) -> None:
    before = addresses(on_ipv6, "n3")
    on_ipv6.network.reboot("n3")
    on_ipv6.agents["n3"].start()
    on_ipv6.agents["n3"].wait_until_ready()
    on_ipv6.wait_until_full()
    assert addresses(on_ipv6, "n3") == before
    eventually(lambda: not unanswered(on_ipv6, NODES), 10, lambda: str(unanswered(on_ipv6, NODES)))
