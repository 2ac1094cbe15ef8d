"""`wgmesh doctor` finds what is wrong with a machine, and with a member as such."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.netns.doctor_ground import block, doctor, found, unblock
from tests.netns.mesh_ground import eventually, has_interface, lab_mesh, wgmesh, wireguard

from wgmesh_agent.lab.mesh import Mesh
from wgmesh_api.certificates import cert_to_pem, generate_key, issue
from wgmesh_api.identity import NodeIdentity, Role

pytestmark = pytest.mark.netns
WRONG_CLOCK = Path(__file__).with_name("wrong_clock.py")
NODES = ["n1", "n2", "n3"]
ATTEMPTS = 4


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """Three members, and one behind an address translator on n3."""
    with lab_mesh(len(NODES)) as mesh:
        mesh.network.add_host_behind("hidden", "n3")
        mesh.join("hidden")
        mesh.wait_until_full()
        eventually(lambda: is_whole(mesh), 20, "everybody hears everybody")
        yield mesh


def is_whole(mesh: Mesh) -> bool:
    return all(
        member.isLocalNode or (member.heard and member.hearsUs)
        for node in mesh.agents
        for member in mesh.members(node).values()
    )


def at_once(
    mesh: Mesh, node: str, provoke: Callable[[], object], about: str, code: str, *arguments: str
) -> dict[str, str]:
    """The finding that a run right after `provoke` makes. The agent repairs such things every 15 s: if it does just
    then, they are provoked anew."""
    for _ in range(ATTEMPTS):
        provoke()
        status, document = doctor(mesh.network.hosts[node], *arguments)
        finding = found(document, about).get(code)
        if finding is not None:
            assert status == 1
            return finding
    raise AssertionError(f"{code} was not found about {about!r}: {document['findings']}")


def test_a_well_machine_has_no_findings(mesh: Mesh) -> None:
    status, document = doctor(mesh.network.hosts["n1"])
    assert (status, document["findings"]) == (0, [])
    assert document["well"]
    assert (document["mesh"], document["node"]) == ("lab", "n1")


def test_an_address_translator_that_nothing_keeps_open(mesh: Mesh) -> None:
    status, document = doctor(mesh.network.hosts["hidden"])
    finding = found(document, "")["nat"]
    assert status == 1
    assert "192.168.4.2:54540" in finding["seen"]
    assert "at 10.0.0.3:" in finding["seen"]


def test_an_interface_that_somebody_switched_off(mesh: Mesh) -> None:
    host = mesh.network.hosts["n2"]
    at_once(mesh, "n2", lambda: host.run(["ip", "link", "set", "wglab", "down"]), "wglab", "interface_down")
    host.run(["ip", "link", "set", "wglab", "up"])


def test_an_interface_that_lost_its_route(mesh: Mesh) -> None:
    host = mesh.network.hosts["n2"]
    eventually(lambda: is_whole(mesh), 30, "everybody hears everybody")
    finding = at_once(
        mesh,
        "n2",
        lambda: host.run(["ip", "route", "del", "10.232.0.0/16"], check=False),
        "wglab",
        "interface_changed",
    )
    assert "lacks the route to 10.232.0.0/16" in finding["what"]


def test_an_interface_that_somebody_removed(mesh: Mesh) -> None:
    host = mesh.network.hosts["n2"]
    mesh.agents["n2"].stop()
    host.run(["ip", "link", "del", "wglab"])
    status, document = doctor(host)
    assert status == 1
    assert "interface_gone" in found(document, "wglab")
    assert "agent_down" in found(document, "")
    mesh.join("n2")
    mesh.wait_until_full()


def test_mesh_addresses_that_a_local_network_has_too(mesh: Mesh) -> None:
    host = mesh.network.hosts["n3"]
    host.run(["ip", "address", "add", "10.232.77.1/24", "dev", "eth0"])
    try:
        status, document = doctor(host)
    finally:
        host.run(["ip", "address", "del", "10.232.77.1/24", "dev", "eth0"])
    assert status == 1
    assert "10.232.77.0/24" in found(document, "eth0")["address_overlap"]["what"]


def certificate(mesh: Mesh, name: str, begins: timedelta, life: timedelta) -> list[str]:
    """The options with a certificate of n3 that begins so long from now."""
    _, _, authority = mesh.certificate("n3", Role.NODE)
    path = mesh.network.folder / f"{name}.pem"
    own = generate_key()
    made = issue(
        mesh.authority, NodeIdentity(mesh.name, "n3", Role.NODE), own.public_key(),
        now=datetime.now(UTC) + begins, lifetime=life, serial=7,
    )  # fmt: skip
    path.write_bytes(cert_to_pem(made))
    return ["-client-cert", str(path), "-ca-cert", str(authority)]


@pytest.mark.parametrize(
    ("name", "begins", "life", "said"),
    [
        ("ended", timedelta(days=-9), timedelta(days=1), "has ended"),
        ("later", timedelta(days=1), timedelta(days=1), "is not valid yet"),
        ("soon", timedelta(days=-9), timedelta(days=10), "ends soon"),
    ],
)
def test_a_certificate_file_out_of_its_time(
    mesh: Mesh, name: str, begins: timedelta, life: timedelta, said: str
) -> None:
    options = certificate(mesh, name, begins, life)
    status, document = doctor(mesh.network.hosts["n3"], *options)
    assert status == 1
    finding = found(document, options[1])["certificate"]
    assert finding["what"] == f"The certificate {options[1]} {said}."


def test_the_certificate_that_an_agent_was_started_with_and_that_has_ended_since(mesh: Mesh) -> None:
    """Seen by the agent itself, and by others who ask it; an hour ahead is enough for one that ends in minutes."""
    key, _, authority = mesh.certificate("n3", Role.NODE)
    status, document = doctor(
        mesh.network.hosts["n3"], "-client-key", str(key), "-client-cert", str(authority)
    )
    assert status == 1
    assert "is not the private key of" in found(document, str(authority))["certificate"]["seen"]


def test_a_clock_that_is_wrong(mesh: Mesh) -> None:
    agent = mesh.agents["n3"]
    agent.stop()
    with agent.log.open("ab") as output:
        mesh.network.hosts["n3"].popen([sys.executable, str(WRONG_CLOCK), "3600", *agent.arguments], output)
    eventually(lambda: "n1" in mesh.members("n3"), 20, "n3 runs again")
    try:
        status, document = doctor(mesh.network.hosts["n1"], "n3")
        assert status == 1
        assert found(document, "n3")["clock"]["what"] == "The clock of n3 is 60 min ahead of this machine's."
        _, document = doctor(mesh.network.hosts["n3"])
        assert (
            found(document, "")["clock"]["what"]
            == "The clock of this machine is 60 min ahead of the others'."
        )
    finally:
        mesh.network.hosts["n3"].run(["pkill", "-TERM", "-f", WRONG_CLOCK.name])
        eventually(lambda: not mesh.members("n3"), 20, "n3 ended")
        agent.start()
        mesh.wait_until_full()


def test_a_peer_whose_interface_has_another_key(mesh: Mesh) -> None:
    host = mesh.network.hosts["n2"]
    other = host.run(["wg", "genkey"]).stdout

    def change() -> None:
        host.run(["wg", "set", "wglab", "private-key", "/dev/stdin"], text=other)

    finding = at_once(mesh, "n1", change, "n2", "key_mismatch", "n2")
    assert "its interface has the key" in finding["seen"]
    at_once(mesh, "n2", change, "wglab", "key_mismatch")
    eventually(lambda: is_whole(mesh), 60, "everybody hears everybody again")


def test_a_peer_that_somebody_removed(mesh: Mesh) -> None:
    host = mesh.network.hosts["n1"]
    key = wireguard(mesh.network.hosts["n2"]).public_key
    finding = at_once(
        mesh, "n1", lambda: host.run(["wg", "set", "wglab", "peer", key, "remove"]), "n2", "not_a_peer", "n2"
    )
    assert "n2 is no peer of wglab" in finding["seen"]
    eventually(lambda: is_whole(mesh), 60, "everybody hears everybody again")


def test_gossip_over_udp_that_is_blocked_inside_the_tunnel(mesh: Mesh) -> None:
    """TCP too, so that it fails; probes pass."""
    host = mesh.network.hosts["n2"]
    block(host, "iifname wglab udp dport 7946 drop")
    block(host, "iifname wglab tcp dport 7946 reject")
    try:
        eventually(lambda: mesh.members("n1")["n2"].status == "failed", 40, "n2 is failed")
        _, document = doctor(mesh.network.hosts["n1"], "n2")
        assert "gossip_blocked" in found(document, "n2")
    finally:
        unblock(host)
    mesh.wait_until_full()


def test_a_machine_without_wireguard(mesh: Mesh) -> None:
    """Where the kernel has none, and wireguard-go is not on the path."""
    host = mesh.network.hosts["n3"]
    _, document = doctor(host, "--backend", "userspace")
    assert "no_wireguard" not in found(document, "")
    done = wgmesh(host, "doctor", "--backend", "userspace", env={"PATH": "/nowhere"})
    assert done.returncode == 1
    assert "This machine has no WireGuard that could be used." in done.stdout


def test_two_agents_with_one_identity(mesh: Mesh) -> None:
    """A machine whose state folder was copied to another."""
    network = mesh.network
    twin = network.add_host("twin")
    shutil.copytree(network.hosts["n2"].disk, twin.disk, dirs_exist_ok=True)
    original = mesh.agents["n2"]
    mesh.network.hosts["n2"] = twin
    copy = mesh.join("n2")
    mesh.agents["n2"] = original
    try:
        copy.wait_until_ready()

        def findings() -> dict[str, Any]:
            return doctor(network.hosts["n1"], "n2")[1]

        eventually(lambda: "two_agents" in found(findings(), "n2"), 60, "n1 sees two of n2")
    finally:
        copy.stop()


def test_no_agent(mesh: Mesh) -> None:
    host = mesh.network.hosts["n1"]
    agent = mesh.agents["n1"]
    agent.stop()
    done = wgmesh(host, "doctor")
    assert done.returncode == 1
    assert done.stdout.startswith("No agent answers on this machine: tunnels that stand go on")
    assert done.stdout.endswith("Links were not looked at, as no agent answers.\n")
    assert has_interface(host)
    agent.start()
    agent.wait_until_ready()


def test_a_port_that_another_program_has(mesh: Mesh) -> None:
    host = mesh.network.add_host("bare")
    hold = (
        "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 54540)); time.sleep(60)"
    )
    with (mesh.network.folder / "hold.log").open("wb") as output:
        host.popen([sys.executable, "-c", hold], output)
    deadline = time.monotonic() + 20
    codes: set[str] = set()
    while "port_taken" not in codes and time.monotonic() < deadline:
        codes = {one["code"] for one in doctor(host)[1]["findings"]}
    assert codes == {"agent_down", "port_taken"}
