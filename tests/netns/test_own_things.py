"""Clearing up removes what wgmesh made, and nothing else."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.netns.mesh_harness import eventually, has_interface, lab_network, stays, wgmesh

from wgmesh_agent.lab.host import Host
from wgmesh_agent.lab.mesh import Mesh

pytestmark = [pytest.mark.netns, pytest.mark.slow]
FOREIGN_RULES = """
add table inet mine
add chain inet mine input { type filter hook input priority 0; }
add rule inet mine input tcp dport 22 accept
"""


@dataclass(frozen=True)
class Machine:
    """n2, and what was on it before the agent came."""

    mesh: Mesh
    host: Host
    before: dict[str, list[str]]

    def after_leaving(self) -> dict[str, list[str]]:
        assert self.mesh.agents["n2"].wait() == 0
        return things(self.host)


@pytest.fixture
def machine() -> Iterator[Machine]:
    """Its owner has interfaces, addresses, routes (one inside the mesh's range), nft rules, files beside the state."""
    with lab_network() as network:
        mesh = Mesh(network)
        network.add_host("n1")
        mesh.bootstrap("n1")
        host = network.add_host("n2")
        for command in (
            "ip link add mine type bridge",
            "ip link add wg0 type bridge",
            "ip address add 172.20.0.1/24 dev mine",
            "ip link set mine up",
            "ip route add 10.232.128.0/24 dev mine",
            "ip route add 198.51.100.0/24 dev mine proto 87",
        ):
            host.run(command.split())
        host.run(["nft", "-f", "-"], text=FOREIGN_RULES)
        (host.disk / "another").mkdir()
        (host.disk / "another" / "mesh.json").write_text("mine")
        (host.disk / "notes.txt").write_text("mine")
        before = things(host)
        mesh.join("n2").wait_until_ready()
        mesh.wait_until_full()
        yield Machine(mesh, host, before)


def things(host: Host) -> dict[str, list[str]]:
    """All that a machine's owner could miss."""
    return {
        "links": sorted(line.split()[0] for line in host.run(["ip", "-brief", "link"]).stdout.splitlines()),
        "addresses": host.run(
            ["ip", "-brief", "-4", "address", "show", "dev", "mine"], check=False
        ).stdout.split(),
        "routes": sorted(host.run(["ip", "-4", "route", "show", "table", "all"]).stdout.splitlines()),
        "rules": host.run(["nft", "list", "ruleset"]).stdout.splitlines(),
        "files": sorted(str(path.relative_to(host.disk)) for path in host.disk.rglob("*")),
        "sockets": sorted(host.run(["find", "/run", "-type", "s"]).stdout.split()),
    }


def test_leave_removes_its_own_things_only(machine: Machine) -> None:
    assert not machine.mesh.ping("n1", "n2").lost
    assert things(machine.host) != machine.before
    assert wgmesh(machine.host, "leave").returncode == 0
    assert machine.after_leaving() == machine.before


def test_ctrl_c_removes_its_own_things_only(machine: Machine) -> None:
    os.kill(machine.mesh.agents["n2"].pid, signal.SIGINT)
    assert machine.after_leaving() == machine.before


def test_sigterm_removes_nothing_but_the_agent_s_socket(machine: Machine) -> None:
    before = things(machine.host)
    machine.mesh.agents["n2"].stop()
    before["sockets"].remove("/run/wgmesh.sock")
    after = things(machine.host)
    assert set(after.pop("files")) >= set(before.pop("files"))
    assert after == before


MOMENTS = (0.0, 0.1, 0.25, 0.5, 0.9, 1.4)
"""Seconds after the interface is there, or after the agent was started where that is sooner."""


def test_nothing_is_left_whenever_a_node_leaves() -> None:
    """A gateway and relay, stopped by a leave while it is being set up: whatever is in progress, removal is last."""
    with lab_network() as network:
        mesh = Mesh(network, options=("-relays", "n2"))
        network.add_host("n1")
        mesh.bootstrap("n1", "-allow-routes", "n2=192.168.7.0/24")
        host = network.add_host("n2")
        host.run(["sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward"])
        host.run(["ip", "link", "add", "site0", "type", "bridge"])
        host.run(["ip", "address", "add", "192.168.7.1/24", "dev", "site0"])
        host.run(["ip", "link", "set", "site0", "up"])
        before = everything(host)
        for moment in MOMENTS:
            agent = mesh.join("n2", "-routes", "192.168.7.0/24")
            eventually(lambda: has_interface(host), 20, "the interface is made")
            time.sleep(moment)
            os.kill(agent.pid, signal.SIGINT)
            agent.wait()
            # Any process that kept running without its agent would have ended by then.
            stays(lambda: everything(host) == before, 0.5, f"nothing is left of who left after {moment} s")
            mesh.agents.pop("n2")


def everything(host: Host) -> dict[str, list[str]]:
    """What an agent makes, of all there is."""
    found = things(host)
    found.pop("files")
    found["routing rules"] = host.run(["ip", "rule", "show"]).stdout.splitlines()
    found["IPv6 rules"] = host.run(["ip", "-6", "rule", "show"]).stdout.splitlines()
    found["processes"] = host.run(["pidof", "wireguard-go"], check=False).stdout.split()
    found["forwarding"] = host.run(
        ["sh", "-c", "grep . /proc/sys/net/ipv4/conf/*/forwarding"]
    ).stdout.splitlines()
    return found


FOREIGN_INTERFACES = {
    "a bridge": ("ip link add wglab type bridge",),
    "a TUN device": ("ip tuntap add wglab mode tun",),
    "somebody's own WireGuard": ("wireguard-go wglab", "wg set wglab listen-port 51820 private-key /run/key"),
}


@pytest.mark.parametrize("kind", FOREIGN_INTERFACES)
def test_a_foreign_interface_of_the_mesh_s_name_is_refused_and_left_alone(kind: str) -> None:
    with lab_network() as network:
        mesh = Mesh(network)
        host = network.add_host("n1")
        host.run(["sh", "-c", "wg genkey >/run/key"])
        for command in FOREIGN_INTERFACES[kind]:
            host.run(command.split())
        before = host.run(["ip", "-details", "link", "show", "wglab"]).stdout
        done = wgmesh(host, "bootstrap", "-n", "lab", *mesh.bootstrap_tls("n1"))
        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert last.startswith("wgmesh: ")
        assert "interface wglab exists" in last
        assert "choose another mesh name" in last
        assert host.run(["ip", "-details", "link", "show", "wglab"]).stdout == before


def routes(host: Host) -> str:
    return host.run(["ip", "-4", "route"]).stdout


def test_a_range_that_another_interface_has_a_route_to_is_refused_and_left_alone() -> None:
    with lab_network() as network:
        mesh = Mesh(network)
        host = network.add_host("n1")
        host.run(["ip", "route", "add", "10.232.0.0/16", "dev", "eth0"])
        before = routes(host)
        done = wgmesh(host, "bootstrap", "-n", "lab", *mesh.bootstrap_tls("n1"))
        assert done.returncode == 1
        assert (
            "a route to 10.232.0.0/16 already exists and does not belong to wgmesh"
            in done.stderr.splitlines()[-1]
        )
        assert routes(host) == before
