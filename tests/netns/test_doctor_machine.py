"""`wgmesh doctor` finds what is wrong with a machine, and with a member as such."""

import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.netns.doctor_harness import doctor, finding_of, found
from tests.netns.mesh_harness import eventually, lab_mesh, wgmesh, wireguard

from wgmesh_agent.lab.agent import PROGRAM, Agent
from wgmesh_agent.lab.mesh import Mesh
from wgmesh_api.certificates import CertificateAuthority, cert_to_pem, generate_key, issue, make_ca
from wgmesh_api.identity import NodeIdentity, Role

pytestmark = [pytest.mark.netns, pytest.mark.slow]
WRONG_CLOCK = Path(__file__).with_name("wrong_clock.py")
NODES = ["n1", "n2", "n3"]
ATTEMPTS = 6
PROVOKE_SECONDS = 0.1


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """Three members, and one behind NAT."""
    with lab_mesh(len(NODES)) as mesh:
        mesh.network.add_router("nat")
        mesh.network.add_host_behind("hidden", "nat")
        mesh.join("hidden")
        mesh.wait_until_full()
        eventually(lambda: is_whole(mesh), 20, "everybody hears everybody")
        yield mesh


def is_whole(mesh: Mesh) -> bool:
    return all(
        member.isLocalNode or (member.receiving and member.peerReceiving)
        for node in mesh.agents
        for member in mesh.members(node).values()
    )


@contextmanager
def again_and_again(provoke: Callable[[], object]) -> Iterator[None]:
    """Provokes at once, and until the block ends."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(PROVOKE_SECONDS):
            provoke()

    provoke()
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def at_once(
    mesh: Mesh, node: str, provoke: Callable[[], object], about: str, code: str, *arguments: str
) -> dict[str, str]:
    """The finding of a run while the fault is provoked repeatedly: agents repair such faults within a second."""
    for _ in range(ATTEMPTS):
        with again_and_again(provoke):
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
    host = mesh.network.hosts["hidden"]

    def forget() -> None:
        for key in wireguard(host).tunnels:
            host.run(["wg", "set", "wglab", "peer", key, "persistent-keepalive", "off"])

    finding = at_once(mesh, "hidden", forget, "", "nat")
    assert f" at {mesh.network.address('nat')}:" in finding["seen"]
    assert "no keepalive is set" in finding["seen"]


def test_mesh_addresses_that_a_local_network_has_too(mesh: Mesh) -> None:
    host = mesh.network.hosts["n3"]
    host.run(["ip", "address", "add", "10.232.77.1/24", "dev", "eth0"])
    try:
        status, document = doctor(host)
    finally:
        host.run(["ip", "address", "del", "10.232.77.1/24", "dev", "eth0"])
    assert status == 1
    assert "10.232.77.0/24" in finding_of(document, "eth0", "address_overlap")["what"]


def certificate(mesh: Mesh, name: str, begins: timedelta, life: timedelta) -> str:
    """A certificate file that begins so long from now."""
    now, key, path = datetime.now(UTC), generate_key(), mesh.network.folder / f"{name}.pem"
    authority = CertificateAuthority(
        make_ca("lab", key, now=now - timedelta(days=20), lifetime=timedelta(days=60), serial=1), key
    )
    made = issue(
        authority,
        NodeIdentity("lab", "n3", Role.NODE),
        generate_key().public_key(),
        now=now + begins,
        lifetime=life,
        serial=2,
    )
    path.write_bytes(cert_to_pem(made))
    return str(path)


@pytest.mark.parametrize(
    ("name", "begins", "life", "said"),
    [
        ("ended", timedelta(days=-9), timedelta(days=1), "has expired"),
        ("later", timedelta(days=1), timedelta(days=1), "is not valid yet"),
        ("soon", timedelta(days=-9), timedelta(days=10), "expires soon"),
    ],
)
def test_a_certificate_file_out_of_its_time(
    mesh: Mesh, name: str, begins: timedelta, life: timedelta, said: str
) -> None:
    path = certificate(mesh, name, begins, life)
    status, document = doctor(mesh.network.hosts["n3"], "-client-cert", path)
    assert status == 1
    assert finding_of(document, path, "certificate")["what"] == f"The certificate {path} {said}."


def test_a_key_file_that_is_not_the_certificates(mesh: Mesh) -> None:
    key, _, authority = mesh.certificate("n3", Role.NODE)
    _, document = doctor(mesh.network.hosts["n3"], "-client-key", str(key), "-client-cert", str(authority))
    assert "is not the private key of" in finding_of(document, str(authority), "certificate")["seen"]


def test_a_clock_that_is_wrong_and_a_certificate_that_has_ended_by_it(mesh: Mesh) -> None:
    agent, host = mesh.agents["n3"], mesh.network.hosts["n3"]
    agent.stop()
    with agent.log.open("ab") as output:
        host.popen([sys.executable, str(WRONG_CLOCK), str(2 * 86400), *agent.arguments], output)
    eventually(lambda: is_alive(mesh, "n3"), 20, "n3 runs again")
    try:
        status, document = doctor(mesh.network.hosts["n1"], "n3")
        assert status == 1
        assert (
            finding_of(document, "n3", "clock")["what"]
            == "The clock of n3 is 2 days ahead of this machine's."
        )
        _, document = doctor(host)
        mine = found(document, "")
        assert mine["clock"]["what"] == "The clock of this machine is 2 days ahead of the others'."
        assert mine["certificate"]["what"].endswith("has expired.")
    finally:
        host.run(["pkill", "-TERM", "-f", WRONG_CLOCK.name])
        eventually(lambda: not mesh.members("n3"), 20, "n3 ended")
        agent.start()
        agent.wait_until_ready()


def is_alive(mesh: Mesh, node: str) -> bool:
    return all(
        member is not None and member.status == "alive"
        for member in (mesh.members(node).get(other) for other in NODES)
    )


def test_an_interface_that_lost_its_route(mesh: Mesh) -> None:
    host = mesh.network.hosts["n2"]
    remove = ["ip", "route", "del", "10.232.0.0/16"]
    finding = at_once(mesh, "n2", lambda: host.run(remove, check=False), "wglab", "interface_changed", "n1")
    assert "lacks the route to 10.232.0.0/16" in finding["what"]


def test_an_interface_that_somebody_switched_off(mesh: Mesh) -> None:
    host = mesh.network.hosts["n2"]
    at_once(
        mesh, "n2", lambda: host.run(["ip", "link", "set", "wglab", "down"]), "wglab", "interface_down", "n1"
    )


def test_an_interface_with_another_key(mesh: Mesh) -> None:
    host = mesh.network.hosts["n2"]
    other = host.run(["wg", "genkey"]).stdout

    def change() -> None:
        host.run(["wg", "set", "wglab", "private-key", "/dev/stdin"], text=other)

    at_once(mesh, "n2", change, "wglab", "key_mismatch", "n1")


def test_no_agent_and_an_interface_that_somebody_removed(mesh: Mesh) -> None:
    host, agent = mesh.network.hosts["n2"], mesh.agents["n2"]
    agent.stop()
    done = wgmesh(host, "doctor")
    assert done.returncode == 1
    assert done.stdout.startswith("No agent is running on this machine: existing tunnels keep working")
    assert done.stdout.endswith("Links were not checked: the agent did not report their state.\n")
    host.run(["ip", "link", "del", "wglab"])
    _, document = doctor(host)
    assert {one["code"] for one in document["findings"]} == {"agent_down", "interface_gone"}
    agent.start()
    mesh.wait_until_full()


def test_an_agent_that_runs_and_does_not_answer(mesh: Mesh) -> None:
    agent = mesh.agents["n2"]
    pid = agent.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        status, document = doctor(mesh.network.hosts["n2"])
    finally:
        # nsenter stops with its child, and is in the same group.
        os.killpg(os.getpgid(pid), signal.SIGCONT)
    assert status == 1
    assert {one["code"] for one in document["findings"]} == {"agent_silent"}
    mesh.wait_until_full()


def test_a_peer_that_somebody_removed_here_or_there(mesh: Mesh) -> None:
    here, there = mesh.network.hosts["n1"], mesh.network.hosts["n2"]
    key, own = wireguard(there).public_key, wireguard(here).public_key
    gone = at_once(
        mesh, "n1", lambda: here.run(["wg", "set", "wglab", "peer", key, "remove"]), "n2", "not_a_peer", "n2"
    )
    assert "n2 is not a peer of wglab" in gone["seen"]
    eventually(lambda: key in wireguard(here).tunnels, 20, "it is repaired")
    gone = at_once(
        mesh, "n1", lambda: there.run(["wg", "set", "wglab", "peer", own, "remove"]), "n2", "not_a_peer", "n2"
    )
    assert "n2 does not have this node as a WireGuard peer" in gone["what"]


@pytest.mark.parametrize("says", ["its own endpoint", "the original's"])
def test_two_agents_with_one_identity(mesh: Mesh, says: str) -> None:
    """A machine whose state folder was copied to another that cannot be distinguished from it. If both advertise the
    same endpoint, only WireGuard sees that their key sends from two.
    """
    network, original = mesh.network, mesh.network.hosts["n2"]
    twin = network.add_host(f"twin{len(network.hosts)}")
    shutil.copytree(original.disk, twin.disk, dirs_exist_ok=True)
    arguments = mesh.agents["n2"].arguments
    if says == "the original's":
        address = network.address("n2")
        twin.run(["ip", "link", "add", "d0", "type", "bridge"])
        twin.run(["ip", "address", "add", f"{address}/32", "dev", "d0"])
        arguments = (*arguments, "-listen-addr", address)
    copy = Agent(twin, arguments)
    copy.start()
    copy.wait_until_ready()
    # WireGuard's view is sampled each 15 s, and each of the two starts a handshake when it gets no response for as
    # long.
    seconds = 60 if says == "its own endpoint" else 150
    for one, about in ((network.hosts["n1"], "n2"), (original, ""), (twin, "")):
        arguments = (about,) if about else ()
        eventually(
            lambda: "two_agents" in found(doctor(one, *arguments)[1], about),  # noqa: B023
            seconds,
            f"two are seen from {one.name}",
        )
    copy.stop()


def test_a_machine_without_wireguard_whose_port_another_program_has(mesh: Mesh) -> None:
    host = mesh.network.add_host("bare")
    hold = (
        "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 54540)); time.sleep(60)"
    )
    with (mesh.network.folder / "hold.log").open("wb") as output:
        host.popen([sys.executable, "-c", hold], output)
    eventually(lambda: host.run(["ss", "-Hlun", "sport", "54540"]).stdout, 20, "the port is held")
    command = ["env", "PATH=/nowhere", *PROGRAM, "doctor", "--backend", "userspace", "-json"]
    document = json.loads(host.run(command, check=False).stdout)
    assert {one["code"] for one in document["findings"]} == {"agent_down", "no_wireguard", "port_taken"}
