"""What others on the wire get to see of a mesh."""

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.netns.mesh_harness import eventually, lab_network

from wgmesh_agent.lab.host import Host
from wgmesh_agent.lab.mesh import Mesh

pytestmark = [pytest.mark.netns, pytest.mark.slow]
NODES = ["n1", "n2", "n3"]
WATCH = """
table inet watch {
  counter wireguard {}
  counter join {}
  counter kernel {}
  counter other {}
  chain count {
    meta l4proto ipv6-icmp counter name kernel return
    ip protocol igmp counter name kernel return
    icmp type destination-unreachable counter name kernel return
    udp sport 54540 udp dport 54540 counter name wireguard return
    tcp dport 5000 counter name join return
    tcp sport 5000 counter name join return
    counter name other
  }
  chain input { type filter hook prerouting priority -400; iifname eth0 jump count; }
  chain output { type filter hook postrouting priority 400; oifname eth0 jump count; }
}
"""


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """Every host counts what passes its cable from before the first agent starts."""
    with lab_network() as network:
        mesh = Mesh(network)
        for node in NODES:
            network.add_host(node).run(["nft", "-f", "-"], text=WATCH)
        mesh.bootstrap("n1")
        mesh.join("n2")
        mesh.join("n3")
        mesh.wait_until_full()
        yield mesh


def counted(host: Host) -> dict[str, int]:
    document = json.loads(host.run(["nft", "--json", "list", "counters"]).stdout)
    counters = [entry["counter"] for entry in document["nftables"] if "counter" in entry]
    return {counter["name"]: counter["packets"] for counter in counters}


def test_every_node_reaches_every_other_through_the_tunnel(mesh: Mesh) -> None:
    found = mesh.ping_matrix(NODES)
    assert len(found) == 6
    assert not any(pings.lost for pings in found.values())


def test_the_wire_carries_nothing_but_wireguard_and_joins(mesh: Mesh) -> None:
    for node in NODES:
        counts = counted(mesh.network.hosts[node])
        assert counts["other"] == 0
        assert counts["wireguard"] > 20
        assert counts["join"] > 10


def test_once_all_have_joined_only_wireguard_goes_on(mesh: Mesh) -> None:
    hosts = [mesh.network.hosts[node] for node in NODES]
    before = [counted(host) for host in hosts]
    eventually(
        lambda: all(
            counted(h)["wireguard"] > b["wireguard"] + 10 for h, b in zip(hosts, before, strict=True)
        ),
        20,
        "gossip goes on",
    )
    assert [counted(host)["join"] for host in hosts] == [counts["join"] for counts in before]


def listening(host: Host) -> set[str]:
    """`proto address:port` of every socket that takes what comes from outside; WireGuard's own aside."""
    lines = host.run(["ss", "-Hlntu"]).stdout.splitlines()
    return {
        f"{line.split()[0]} {line.split()[4]}" for line in lines if not line.split()[4].endswith(":54540")
    }


def test_nothing_but_wireguard_and_the_mesh_service_listens_on_the_underlay(mesh: Mesh) -> None:
    for node in NODES:
        address = mesh.mesh_address(node)
        found = listening(mesh.network.hosts[node])
        assert found >= {f"tcp {address}:7946", f"udp {address}:7946"}
        outside = {one for one in found if not one.split()[1].startswith(f"{address}:")}
        assert outside == ({"tcp *:5000"} if node == "n1" else set())


def connects(host: Host, address: str, port: int) -> bool:
    return host.run(["bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}"], check=False).returncode == 0


def test_the_gossip_port_is_closed_on_the_underlay_and_open_in_the_mesh(mesh: Mesh) -> None:
    host = mesh.network.hosts["n2"]
    assert connects(host, mesh.mesh_address("n1"), 7946)
    assert not connects(host, mesh.network.address("n1"), 7946)


def packets(mesh: Mesh, interface: str, count: int) -> list[bytes]:
    script = Path(__file__).with_name("capture.py")
    done = mesh.network.hosts["n2"].run([sys.executable, str(script), interface, str(count)])
    return [bytes.fromhex(line) for line in done.stdout.split()]


def is_gossip(packet: bytes) -> bool:
    """IPv4 within the mesh, from or to the gossip port."""
    ports = {int.from_bytes(packet[20:22], "big"), int.from_bytes(packet[22:24], "big")}
    return socket.inet_ntoa(packet[12:16]).startswith("10.232.") and 7946 in ports


def test_gossip_inside_the_tunnel_is_encrypted_with_the_mesh_s_key(mesh: Mesh) -> None:
    assert mesh.agents["n2"].info().gossipEncrypted
    found = [packet for packet in packets(mesh, "wglab", 60) if is_gossip(packet)]
    assert len(found) > 10
    # Long enough not to occur in ciphertext.
    words = (b"Node", b"Payload", b"SourceNode")
    for packet in found:
        assert not any(word in packet[28:] for word in words)


def test_the_mesh_s_files_are_readable_by_root_only(mesh: Mesh) -> None:
    for node in NODES:
        folder = mesh.network.hosts[node].disk / mesh.name
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == {
            path.name: "0o600" for path in folder.iterdir()
        }
    socket_mode = mesh.network.hosts["n1"].run(["stat", "-c", "%a", "/run/wgmesh.sock"]).stdout
    assert socket_mode == "600\n"
