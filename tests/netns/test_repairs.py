"""Foreign changes to the mesh's interface are repaired at once, logged once, and with backoff if undone repeatedly."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.netns.mesh_harness import Pinging, eventually, has_interface, lab_network, wireguard

from wgmesh_agent.lab.command import LabError
from wgmesh_agent.lab.host import Host
from wgmesh_agent.lab.mesh import Mesh
from wgmesh_agent.linux.policy_rules import routing_table_of

pytestmark = pytest.mark.netns
SITE, GATE = "192.168.7.0/24", "192.168.7.1"
TABLE = str(routing_table_of("wglab"))
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
        gate.run(["ip", "address", "add", f"{GATE}/24", "dev", "site0"])
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
            "route show table local dev wglab",
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
    "the kernel's own route flushed": "ip route flush table local dev wglab",
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
    assert "interface changed by another program" in said or "are undone repeatedly" in said


def test_a_peer_that_somebody_removes_is_back(mesh: Mesh) -> None:
    host = mesh.network.hosts["n3"]
    before = whole(host)
    host.run(["wg", "set", "wglab", "peer", next(iter(wireguard(host).tunnels)), "remove"])
    eventually(lambda: whole(host) == before, AT_ONCE_SECONDS, "the peer is back")


@contextmanager
def to_the_site(host: Host, folder: Path) -> Iterator[tuple[Pinging, Callable[[], list[float]]]]:
    """Packets go from the host to the site all the while; which left by its card, not through the tunnel, by when."""
    log, script = folder / "in-clear", Path(__file__).with_name("in_clear.py")
    with log.open("wb") as output:
        tap = host.popen([sys.executable, str(script), "eth0", SITE], output)
    eventually(lambda: "ready" in log.read_text(), 10, "what leaves by the card is heard")
    pings = Pinging(host, GATE, folder / "to-the-site.log", 100)
    try:
        yield pings, lambda: [float(line) for line in log.read_text().split()[1:]]
    finally:
        pings.end()
        os.killpg(tap.pid, signal.SIGKILL)
        tap.wait()


@pytest.fixture
def site_or_default(mesh: Mesh) -> Iterator[Host]:
    """n1, which reaches the site through the tunnel, and has a default route, too."""
    host, way = mesh.network.hosts["n1"], ["default", "via", mesh.network.address("n3")]
    eventually(lambda: SITE in routes(host), 10, "n1 has the route")
    host.run(["ip", "route", "add", *way])
    yield host
    host.run(["ip", "route", "del", *way])


def test_what_must_not_leak_goes_nowhere_while_others_flush(mesh: Mesh, site_or_default: Host) -> None:
    """The agent is killed, so that nothing is repaired: packets to the site do not leave by the default route."""
    host = site_or_default
    mesh.agents["n1"].kill()
    for command in ("ip route flush table all dev wglab", "ip link set wglab down", "ip link del wglab"):
        host.run(command.split())
        done = host.run(["ip", "route", "get", "192.168.7.9"], check=False)
        assert "unreachable" in done.stderr.lower() + done.stdout.lower() or "No route to host" in done.stderr
    mesh.agents["n1"].start()
    mesh.wait_until_full()


@pytest.mark.parametrize(
    "command",
    ["ip link del wglab", "ip route flush table all proto 87 dev wglab"],
    ids=["the interface", "its routes"],
)
def test_no_packet_to_a_site_leaves_in_clear_while_interface_or_routes_are_missing(
    mesh: Mesh, site_or_default: Host, command: str
) -> None:
    before = whole(site_or_default)
    with to_the_site(site_or_default, mesh.network.folder) as (pings, left):
        pings.go_on()
        site_or_default.run(command.split())
        eventually(lambda: whole(site_or_default) == before, AT_ONCE_SECONDS, "put right")
        pings.go_on()
        assert not left()


@pytest.mark.parametrize(
    "commands",
    [
        "ip rule flush proto 87; ip route flush table all proto 87",
        "ip rule flush proto 87",
    ],
    ids=["rules and routes", "rules"],
)
def test_without_the_mesh_s_rules_packets_to_a_site_leave_in_clear_until_that_is_put_right(
    mesh: Mesh, site_or_default: Host, commands: str
) -> None:
    before = whole(site_or_default)
    with to_the_site(site_or_default, mesh.network.folder) as (pings, left):
        pings.go_on()
        assert not left()
        began = time.time()
        site_or_default.run(["sh", "-c", commands])
        eventually(lambda: whole(site_or_default) == before, AT_ONCE_SECONDS, "put right")
        mended = time.time()
        pings.go_on()
        found = left()
        print(f"{len(found)} packets, {(max(found, default=began) - began) * 1000:.0f} ms")
        assert all(began <= one <= mended for one in found)


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


@contextmanager
def local_rule_at(host: Host, priority: int) -> Iterator[None]:
    """As some programs have it, the rule for what is this machine's own is not the first."""
    host.run(["ip", "rule", "add", "pref", str(priority), "lookup", "local"])
    host.run(["ip", "rule", "del", "pref", "0"])
    try:
        yield
    finally:
        host.run(["ip", "rule", "add", "pref", "0", "lookup", "local"])
        host.run(["ip", "rule", "del", "pref", str(priority)])


def test_a_gateway_is_reached_itself_where_somebody_has_moved_the_rule_for_the_local_table(
    mesh: Mesh,
) -> None:
    host, others = mesh.network.hosts["n2"], ("n1", "n3")
    eventually(lambda: "iif wglab unreachable" in host.run(["ip", "rule"]).stdout, 5, "n2 is confined")
    eventually(lambda: all(answers(mesh, one, "n2") for one in others), 10, "n2 is reached")
    with local_rule_at(host, 32765):
        for one in others:
            assert not mesh.ping(one, "n2", count=3).lost
            assert not mesh.ping_address(one, GATE, count=3).lost


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
    said = partial(lambda: "are undone repeatedly" in agent.said(20000))
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
