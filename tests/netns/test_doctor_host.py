"""`wgmesh doctor` names what of the host's routing and firewall stands in the mesh's way."""

import sys
from collections.abc import Iterator

import pytest
from tests.netns.doctor_harness import doctor, finding_of, found
from tests.netns.mesh_harness import eventually, lab_network

from wgmesh_agent.lab.host import Host
from wgmesh_agent.lab.mesh import Mesh

pytestmark = pytest.mark.netns
SITE = "192.168.7.0/24"
LISTEN = (
    "import socket; s = socket.create_server(('', 7946)); print(flush=True); import signal; signal.pause()"
)


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """n2 is the gateway of a site."""
    with lab_network() as network:
        for name in ("n1", "n2"):
            network.add_host(name)
        gate = network.hosts["n2"]
        gate.run(["ip", "link", "add", "site0", "type", "bridge"])
        gate.run(["ip", "address", "add", "192.168.7.1/24", "dev", "site0"])
        gate.run(["ip", "link", "set", "site0", "up"])
        mesh = Mesh(network)
        mesh.bootstrap("n1", "-allow-routes", f"n2={SITE}")
        mesh.join("n2", "-routes", SITE)
        mesh.wait_until_full()
        eventually(lambda: is_well(network.hosts["n2"]), 30, "all is well")
        yield mesh


def is_well(host: Host) -> bool:
    return doctor(host)[0] == 0


def test_another_program_s_rule_that_comes_before_the_mesh_s(mesh: Mesh) -> None:
    """As of Tailscale: a table that takes all of 10.0.0.0/8 (tailscale/tailscale#6231)."""
    host, peer = mesh.network.hosts["n1"], mesh.mesh_address("n2")
    host.run(["ip", "link", "add", "ts0", "type", "bridge"])
    host.run(["ip", "link", "set", "ts0", "up"])
    host.run(["ip", "route", "add", "10.0.0.0/8", "dev", "ts0", "table", "52"])
    host.run(["ip", "rule", "add", "pref", "5270", "lookup", "52"])
    try:
        _, document = doctor(host)
    finally:
        host.run(["ip", "rule", "del", "pref", "5270"])
    finding = finding_of(document, peer, "route_taken")
    assert "by ts0, table 52, by the rule `5270: lookup 52`" in finding["seen"]


@pytest.mark.parametrize("program", ["iptables", "nft"])
def test_a_firewall_that_drops_what_a_gateway_forwards(mesh: Mesh, program: str) -> None:
    host = mesh.network.hosts["n2"]
    if program == "nft":
        host.run(
            ["nft", "-f", "-"],
            text="add table inet f\nadd chain inet f forward "
            "{ type filter hook forward priority 0; policy drop; }\n",
        )
        undo, where = ["nft", "delete", "table", "inet", "f"], "chain forward of nftables table inet f"
    else:
        host.run(["iptables", "-P", "FORWARD", "DROP"])
        undo, where = ["iptables", "-P", "FORWARD", "ACCEPT"], "chain FORWARD of "
    try:
        _, document = doctor(host)
        assert where in finding_of(document, "wglab", "forward_dropped")["seen"]
        if program == "iptables":
            host.run(["iptables", "-I", "FORWARD", "-i", "wglab", "-j", "ACCEPT"])
            assert "forward_dropped" not in found(doctor(host)[1], "wglab")
    finally:
        host.run(undo)


def test_strict_filtering_by_reverse_path(mesh: Mesh) -> None:
    host = mesh.network.hosts["n1"]
    host.run(["sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/wglab/rp_filter"])
    try:
        _, document = doctor(host)
    finally:
        host.run(["sh", "-c", "echo 0 >/proc/sys/net/ipv4/conf/wglab/rp_filter"])
    assert "is 1 (strict)" in finding_of(document, "wglab", "rp_filter")["seen"]


def test_the_port_of_docker_swarm(mesh: Mesh) -> None:
    """Swarm came first, so that the agent could not begin (moby/moby#31913)."""
    host = mesh.network.hosts["n2"]
    mesh.agents["n2"].stop()
    with (mesh.network.folder / "swarm.log").open("wb") as output:
        swarm = host.popen([sys.executable, "-c", LISTEN], output)
    try:
        eventually(lambda: ":7946" in host.run(["ss", "-ltn"]).stdout, 10, "somebody listens")
        _, document = doctor(host)
    finally:
        swarm.kill()
        swarm.wait()
    taken = [one for one in document["findings"] if one["code"] == "port_taken"]
    assert [one["what"][:13] for one in taken] == ["TCP port 7946"]
    assert "Docker Swarm" in taken[0]["do"]
