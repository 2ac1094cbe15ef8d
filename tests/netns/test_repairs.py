"""What others do to the mesh's interface is put right at once, said once, and ever more seldom if it is undone."""

import json
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from tests.netns.mesh_ground import eventually, has_interface, lab_network, wireguard

from wgmesh_agent.lab.command import LabError
from wgmesh_agent.lab.host import Host
from wgmesh_agent.lab.mesh import Mesh
from wgmesh_agent.wireguard.backends.rules import table_of

pytestmark = pytest.mark.netns
SITE = "192.168.7.0/24"
TABLE = str(table_of("wglab"))
AT_ONCE_SECONDS = 1.5
"""A second, and what the look itself takes."""


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """n2 is the gateway of a site, and its forwarding is its agent's."""
    with lab_network() as network:
        mesh = Mesh(network)
        for name in ("n1", "n2", "n3"):
            network.add_host(name)
        gate = network.hosts["n2"]
        gate.run(["sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward"])
        gate.run(["ip", "link", "add", "site0", "type", "bridge"])
        gate.run(["ip", "address", "add", "192.168.7.1/24", "dev", "site0"])
        gate.run(["ip", "link", "set", "site0", "up"])
        mesh.bootstrap("n1", "-allow-routes", f"n2={SITE}")
        mesh.join("n2", "-routes", SITE)
        mesh.join("n3")
        mesh.wait_until_full()
        eventually(lambda: SITE in routes(network.hosts["n3"]), 10, "n3 has the route")
        yield mesh


def routes(host: Host) -> str:
    return host.run(["ip", "route", "show", "table", TABLE, "type", "unicast"], check=False).stdout


def whole(host: Host) -> list[str]:
    """All of the interface that must be there."""
    link = json.loads(host.run(["ip", "-j", "link", "show", "wglab"], check=False).stdout or "[{}]")[0]
    shown = [
        host.run(["ip", *words.split()], check=False).stdout
        for words in (
            "-brief -4 address show dev wglab",
            "route show dev wglab",
            f"route show table {TABLE}",
            "rule show",
        )
    ]
    device = wireguard(host) if has_interface(host) else None
    return [
        str(("UP" in link.get("flags", ""), link.get("mtu"))),
        *shown,
        str(
            device
            and (
                device.public_key,
                device.port,
                sorted((k, v.allowed_ips) for k, v in device.tunnels.items()),
            )
        ),
    ]


DONE = {
    "set down": "ip link set wglab down",
    "addresses flushed": "ip address flush dev wglab",
    "routes flushed": "ip route flush dev wglab",
    "the mesh's table flushed": f"ip route flush table {TABLE}",
    "rules of ours flushed": "ip rule flush proto 87",
    "MTU": "ip link set wglab mtu 9000",
    "port": "wg set wglab listen-port 12345",
    "key": "wg set wglab private-key /run/key",
    "deleted": "ip link del wglab",
}


@pytest.mark.parametrize("what", DONE)
def test_what_others_do_is_put_right_within_a_second(mesh: Mesh, what: str) -> None:
    host = mesh.network.hosts["n3"]
    host.run(["sh", "-c", "wg genkey >/run/key"])
    before = whole(host)
    host.run(DONE[what].split())
    began = time.monotonic()
    eventually(lambda: whole(host) == before, AT_ONCE_SECONDS, f"{what}: put right")
    print(f"{what}: {time.monotonic() - began:.2f} s")
    said = mesh.agents["n3"].said(4000)
    assert "others changed the mesh's interface" in said or "again and again" in said


def test_a_peer_that_somebody_removes_is_back(mesh: Mesh) -> None:
    host = mesh.network.hosts["n3"]
    before = whole(host)
    host.run(["wg", "set", "wglab", "peer", next(iter(wireguard(host).tunnels)), "remove"])
    eventually(lambda: whole(host) == before, AT_ONCE_SECONDS, "the peer is back")


def test_what_must_not_leak_goes_nowhere_while_others_flush(mesh: Mesh) -> None:
    """The agent is dead, so that nobody repairs: packets to the site do not go by the default route."""
    host = mesh.network.hosts["n1"]
    eventually(lambda: SITE in routes(host), 10, "n1 has the route")
    mesh.agents["n1"].kill()
    host.run(["ip", "route", "add", "default", "via", mesh.network.address("n2")])
    for command in ("ip route flush table all dev wglab", "ip link set wglab down", "ip link del wglab"):
        host.run(command.split())
        done = host.run(["ip", "route", "get", "192.168.7.9"], check=False)
        assert "unreachable" in done.stderr.lower() + done.stdout.lower() or "No route to host" in done.stderr
    mesh.agents["n1"].start()
    mesh.wait_until_full()


def test_a_gateway_whose_confinement_somebody_takes_away_has_it_back(mesh: Mesh) -> None:
    host = mesh.network.hosts["n2"]

    def confined() -> bool:
        shown = host.run(["ip", "rule", "show"]).stdout
        return "iif wglab unreachable" in shown and f"to {SITE} iif wglab lookup main" in shown

    def forwards() -> bool:
        path = "/proc/sys/net/ipv4/conf/wglab/forwarding"
        return host.run(["cat", path], check=False).stdout.strip() == "1"

    eventually(confined, 5, "n2 is confined")
    host.run(["ip", "rule", "flush", "proto", "87"])
    eventually(confined, AT_ONCE_SECONDS, "it is confined again")
    host.run(["ip", "link", "del", "wglab"])
    eventually(lambda: confined() and forwards(), AT_ONCE_SECONDS, "an interface made anew forwards")


def downs(host: Host, condition: Callable[[], bool], seconds: float) -> int:
    """How often the interface came up, each time to be set down at once, until the condition holds."""
    count, deadline = 0, time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        if "UP" in json.loads(host.run(["ip", "-j", "link", "show", "wglab"]).stdout)[0]["flags"]:
            count += 1
            host.run(["ip", "link", "set", "wglab", "down"])
        time.sleep(0.02)
    return count


def test_what_is_undone_again_and_again_is_said_and_put_right_ever_more_seldom(mesh: Mesh) -> None:
    host, agent = mesh.network.hosts["n3"], mesh.agents["n3"]
    mesh.agents["n3"].stop()
    mesh.agents["n3"].start()
    mesh.wait_until_full()
    began = time.monotonic()
    said = partial(lambda: "undone again and again" in agent.said(20000))
    count = downs(host, said, 30)
    assert said()
    # Never more often than once a second, but for the first.
    assert count <= time.monotonic() - began + 2
    eventually(lambda: answers(mesh, "n3", "n2"), 30, "it is put right in the end")


def answers(mesh: Mesh, source: str, target: str) -> bool:
    """Whether a ping is answered; while there is no route `ping` says so, and counts nothing."""
    try:
        return not mesh.ping(source, target).lost
    except LabError:
        return False
