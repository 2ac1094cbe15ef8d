"""Addresses of a node on a host with bridges, another mesh, and virtual addresses: only reachable ones are
advertised.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.netns.mesh_harness import eventually, lab_network, stays, wireguard

from wgmesh_agent.lab.command import run
from wgmesh_agent.lab.mesh import Mesh
from wgmesh_agent.lab.network import Network

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]
BRIDGES = 9


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    """n1 and n2 with nine bridges each, whose addresses are the same on both, made before anything else."""
    with lab_network() as network:
        for name in ("n1", "n2"):
            host = network.add_host(name)
            for number in range(BRIDGES):
                host.run(["ip", "link", "add", f"br-{number}", "type", "bridge"])
                host.run(["ip", "address", "add", f"172.16.{number}.1/24", "dev", f"br-{number}"])
                host.run(["ip", "link", "set", f"br-{number}", "up"])
        yield Mesh(network)


def plug_second(network: Network, name: str) -> None:
    """Another cable from the host to the same switch."""
    port = f"second-{name}"
    command = [
        "ip",
        "link",
        "add",
        port,
        "type",
        "veth",
        "peer",
        "name",
        "eth1",
        "netns",
        str(network.hosts[name].pid),
    ]
    run(["nsenter", f"--target={network.switch.pid}", "--net", "--", *command])
    network.switch.run(["ip", "link", "set", port, "master", "br0", "up"])


def test_a_second_card_is_found_behind_nine_bridges(mesh: Mesh) -> None:
    network = mesh.network
    for number, name in enumerate(("n1", "n2"), start=1):
        host = network.hosts[name]
        plug_second(network, name)
        host.run(["ip", "address", "add", f"192.168.7.{number}/24", "dev", "eth1"])
        host.run(["ip", "link", "set", "eth1", "up"])
    network.add_host("n3")
    mesh.bootstrap("n1").wait_until_ready()
    mesh.join("n3")
    mesh.wait_until_full()
    # The advertised path is cut, and the second remains; a third member forwards the gossip of both.
    for name, other in (("n1", "n2"), ("n2", "n1")):
        rule = f"ip saddr {network.address(other)} udp dport 54540 drop"
        drop = f"table ip cut {{\n chain in {{ type filter hook input priority 0; {rule}; }}\n}}\n"
        network.hosts[name].run(["nft", "-f", "-"], text=drop)
    info = mesh.join("n2").wait_until_ready()
    key, address = info.pubkey, info.meshIPs[0]
    eventually(lambda: not mesh.ping_address("n1", address).lost, 40, "they meet by the second card")
    assert wireguard(network.hosts["n1"]).tunnels[key].endpoint.startswith("192.168.7.")


@pytest.mark.slow
def test_a_mesh_never_runs_inside_another(mesh: Mesh) -> None:
    network = mesh.network
    red = Mesh(
        network,
        "red",
        socket="/run/red.sock",
        service_port=5001,
        options=("-listen-port", "54541"),
        bootstrap_options=("-cidr", "10.55.0.0/16", "-gossip-port", "7956"),
    )
    blue = Mesh(
        network,
        "blue",
        socket="/run/blue.sock",
        service_port=5002,
        options=("-listen-port", "54542"),
        bootstrap_options=("-cidr", "10.66.0.0/16", "-gossip-port", "7966"),
    )
    for one in (red, blue):
        one.bootstrap("n1").wait_until_ready()
        one.join("n2").wait_until_ready()
        one.wait_until_full()
    rule = "iifname eth0 udp dport 54542 drop"
    drop = f"table ip cut {{\n chain in {{ type filter hook input priority 0; {rule}; }}\n}}\n"
    for name in ("n1", "n2"):
        network.hosts[name].run(["nft", "-f", "-"], text=drop)

    def outside() -> bool:
        found = wireguard(network.hosts["n1"], "wgblue").tunnels.values()
        return not any(tunnel.endpoint.startswith("10.55.") for tunnel in found)

    stays(outside, 20, "blue's tunnel is not inside red's")


def test_a_virtual_address_by_which_others_enter_is_not_told(mesh: Mesh) -> None:
    network = mesh.network
    host = network.hosts["n1"]
    host.run(["ip", "address", "add", "10.0.0.100/24", "dev", "eth0"])
    mesh.bootstrap("n1", "-bootstrap-addr", f"10.0.0.100:{mesh.service_port}").wait_until_ready()
    mesh.join("n2").wait_until_ready()
    mesh.wait_until_full()
    told = mesh.members("n2")["n1"].endpoint
    assert told.startswith(f"{network.address('n1')}:")
    host.run(["ip", "address", "del", "10.0.0.100/24", "dev", "eth0"])
    pings = mesh.ping("n1", "n2", count=20, interval=0.2)
    assert pings.lost == 0
