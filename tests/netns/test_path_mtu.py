"""Two nodes, and between them a path of 1,280 bytes that neither of them sees at its own cable.

`open`: routers fragment what is too big, or say so. `no fragments`: fragments are dropped on the way, routers say what
is too big. `no word`: what is too big is dropped without a word. `nothing`: neither a word, nor fragments.
"""

import hashlib
import json
import random
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.netns.mesh_harness import cable, eventually, lab_network, wgmesh

from wgmesh_agent.lab.host import Host
from wgmesh_agent.lab.mesh import Mesh
from wgmesh_agent.lab.network import Network

pytestmark = [pytest.mark.netns, pytest.mark.slow]
NODES = {"n1", "n2"}
NARROW, INSIDE = 1280, 1216
"""1,280 less 60 of overhead, and no padding."""
MEGABYTES = 10
SEARCH_SECONDS = 60.0
TRANSFER_SECONDS = 40
NO_FRAGMENTS = "add rule ip path pass ip frag-off & 0x3fff != 0 drop\n"
NO_WORD = "add rule ip path say icmp type destination-unreachable drop\n"
CHAINS = """
add table ip path
add chain ip path pass { type filter hook forward priority -400; }
add chain ip path say { type filter hook output priority 0; }
"""
HIDE = """
add chain ip path out { type nat hook postrouting priority 90; }
add rule ip path out oifname wglab masquerade
"""
RULES = {"open": "", "no fragments": NO_FRAGMENTS, "no word": NO_WORD, "nothing": NO_FRAGMENTS + NO_WORD}


@dataclass(frozen=True)
class Ground:
    mesh: Mesh
    kind: str


def narrow_path(network: Network, rules: str) -> None:
    """lan - n1 - r1 = r2 - n2, 1,500 bytes at both ends and 1,280 between the routers. n1 hides lan, and says nothing
    to it of what is too big."""
    for name in ("n1", "r1", "r2", "n2"):
        network.add_host(name)
    for name in ("r2", "n2"):
        network.hosts[name].run(["ip", "link", "del", "eth0"])
    cable(network, ("r1", "mid", "10.1.0.1/24"), ("r2", "mid", "10.1.0.2/24"), NARROW)
    cable(network, ("r2", "out", "10.2.0.1/24"), ("n2", "eth0", "10.2.0.2/24"), 1500)
    for router in ("r1", "r2"):
        network.hosts[router].run(["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])
        network.hosts[router].run(["nft", "-f", "-"], text=CHAINS + rules)
    # Where this machine itself routes, its new hosts do too.
    network.hosts["n2"].run(["sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward"])
    network.hosts["n2"].run(["sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/all/forwarding"])
    network.hosts["n1"].run(["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])
    network.add_host_behind("lan", "n1")
    network.hosts["n1"].run(["nft", "-f", "-"], text=CHAINS + NO_WORD + HIDE)
    for name, via in (
        ("n1", network.address("r1")),
        ("r1", "10.1.0.2"),
        ("r2", "10.1.0.1"),
        ("n2", "10.2.0.1"),
    ):
        network.hosts[name].run(["ip", "route", "add", "default", "via", via])


def tcp_probing(network: Network, value: int) -> None:
    for name in NODES:
        network.hosts[name].run(["sh", "-c", f"echo {value} >/proc/sys/net/ipv4/tcp_mtu_probing"])


@pytest.fixture(scope="module", params=list(RULES))
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    with lab_network() as network:
        narrow_path(network, RULES[request.param])
        # Joining uses TCP on the underlay, which can be configured to probe its path MTU; the tunnel gets no such help.
        tcp_probing(network, 2)
        mesh = Mesh(network)
        mesh.bootstrap("n1")
        mesh.join("n2")
        mesh.wait_until_full(NODES)
        tcp_probing(network, 0)
        yield Ground(mesh, request.param)


def path_mtu(mesh: Mesh, here: str, there: str) -> int:
    return mesh.members(here)[there].pathMTU


def route_mtu(mesh: Mesh, here: str, there: str) -> int | None:
    """What the kernel takes packets from `here` to be allowed; None: the interface's own."""
    shown = mesh.network.hosts[here].run(["ip", "-j", "route", "show", mesh.mesh_address(there)]).stdout
    routes = json.loads(shown or "[]")
    metrics = routes[0].get("metrics", [{}])[0] if routes else {}
    return metrics.get("mtu")


def transferred(mesh: Mesh, here: str, there: str) -> float:
    """10 MB each way at once; the seconds it took. What arrived is what was sent."""
    script, count = str(Path(__file__).with_name("transfer.py")), MEGABYTES * 1_000_000
    common = [mesh.mesh_address(there), "4711", str(count)]

    def side(host: Host, role: str, seed: int) -> tuple[str, float]:
        command = [sys.executable, script, role, *common, str(seed), str(TRANSFER_SECONDS)]
        digest, seconds = host.run(command, seconds=3 * TRANSFER_SECONDS).stdout.split()
        return digest, float(seconds)

    with ThreadPoolExecutor(2) as pool:
        listening = pool.submit(side, mesh.network.hosts[there], "listen", 1)
        connecting = pool.submit(side, mesh.network.hosts[here], "connect", 2)
        came_there, came_here = listening.result(), connecting.result()
    expected = {seed: hashlib.sha256(random.Random(seed).randbytes(count)).hexdigest() for seed in (1, 2)}
    assert (came_there[0], came_here[0]) == (expected[2], expected[1])
    return max(came_there[1], came_here[1])


def test_ten_megabytes_pass_each_way_at_once(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    eventually(
        lambda: all(path_mtu(ground.mesh, *pair) for pair in (("n1", "n2"), ("n2", "n1"))),
        SEARCH_SECONDS,
        "both paths are known",
    )
    seconds = transferred(ground.mesh, "n1", "n2")
    found = [path_mtu(ground.mesh, *pair) for pair in (("n1", "n2"), ("n2", "n1"))]
    with capsys.disabled():
        print(f"\n  path of 1,280, {ground.kind}: path MTUs {found}, 2 x 10 MB in {seconds:.1f} s")


def test_ten_megabytes_pass_each_way_at_once_for_a_machine_routed_through_a_node(ground: Ground) -> None:
    """Its TCP does not know of the tunnel, and receives no ICMP: the node corrects the segment size."""
    if ground.kind == "nothing":
        transferred(ground.mesh, "lan", "n2")


def test_the_table_that_clamps_segments_is_there_where_packets_are_routed_and_only_there(
    ground: Ground,
) -> None:
    def tables(node: str) -> list[str]:
        return ground.mesh.network.hosts[node].run(["nft", "list", "tables"]).stdout.splitlines()

    eventually(lambda: "table inet wgmesh-wglab" in tables("n1"), 5.0, "n1 has the table")
    assert not [line for line in tables("n2") if "wgmesh" in line]


def test_where_only_whole_small_packets_pass_no_others_are_sent(ground: Ground) -> None:
    if "fragments" in ground.kind or ground.kind == "nothing":
        pairs = (("n1", "n2"), ("n2", "n1"))
        eventually(
            lambda: all(path_mtu(ground.mesh, *pair) == INSIDE for pair in pairs),
            SEARCH_SECONDS,
            "both are narrow",
        )
        eventually(
            lambda: all(route_mtu(ground.mesh, *pair) == INSIDE for pair in pairs), 5.0, "routes say so"
        )
    else:
        # Either all of a packet passes in fragments, or the kernel has learned not to make any.
        for pair in (("n1", "n2"), ("n2", "n1")):
            assert path_mtu(ground.mesh, *pair) in (INSIDE, ground.mesh.agents[pair[0]].info().mtu)


def test_info_says_which_paths_are_narrow(ground: Ground) -> None:
    if "fragments" in ground.kind or ground.kind == "nothing":
        shown = wgmesh(ground.mesh.network.hosts["n1"], "info").stdout
        assert f"MTUMismatch: the path MTU is below the interface's 1440 bytes: n2 {INSIDE}" in shown


def test_the_interface_keeps_its_mtu_for_all_other_peers(ground: Ground) -> None:
    link = json.loads(ground.mesh.network.hosts["n1"].run(["ip", "-j", "link", "show", "wglab"]).stdout)
    assert link[0]["mtu"] == 1440


def test_a_node_that_leaves_takes_its_table_and_routes_along(ground: Ground) -> None:
    host = ground.mesh.network.hosts["n1"]
    assert wgmesh(host, "leave").returncode == 0
    ground.mesh.agents["n1"].wait()
    assert "wgmesh" not in host.run(["nft", "list", "tables"]).stdout
    assert "table ip path" in host.run(["nft", "list", "tables"]).stdout
    assert "proto 87" not in host.run(["ip", "route", "show"]).stdout
