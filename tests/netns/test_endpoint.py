"""A node's advertised endpoint: as configured, as observed by a STUN server, or by the route to a bootstrap node."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.netns.lying_stun import LIES
from tests.netns.mesh_harness import eventually, has_interface, lab_network, wgmesh, wireguard

from wgmesh_agent.lab.mesh import Mesh

pytestmark = [pytest.mark.netns, pytest.mark.slow]
STUN_PORT = 3478
CLEAR_ERROR_SECONDS = 15.0


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """n1 bootstraps; n2 tries this and that; n3 is behind the router nat; stun runs a STUN server."""
    with lab_network() as network:
        mesh = Mesh(network)
        for name in ("n1", "n2", "stun"):
            network.add_host(name)
        network.add_router("nat")
        network.add_host_behind("n3", "nat")
        mesh.bootstrap("n1")
        host = network.hosts["stun"]
        command = [
            "turnserver",
            "--stun-only",
            "--no-cli",
            "--no-tls",
            "--no-dtls",
            "--no-stdout-log",
            "--log-file",
            "/dev/null",
            "--pidfile",
            "/run/turn.pid",
            "--db",
            "/run/turn.db",
            "--listening-ip",
            network.address("stun"),
            "--listening-port",
            str(STUN_PORT),
        ]
        with (network.folder / "turnserver.log").open("wb") as output:
            process = host.popen(command, output)
        eventually(lambda: f":{STUN_PORT}" in host.run(["ss", "-Hlun"]).stdout, 20, "the STUN server listens")
        yield mesh
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def announced(mesh: Mesh, *options: str) -> str:
    """The endpoint that n2 gives when it joins with these options, as n1 has it in its WireGuard; n2 leaves again."""
    agent = mesh.join("n2", *options)
    try:
        info = agent.wait_until_ready()
        mesh.wait_until_full({"n1", "n2"})
        claimed = mesh.members("n1")["n2"].endpoint
        assert wireguard(mesh.network.hosts["n1"]).tunnels[info.pubkey].endpoint == claimed
        return info.endpoint
    finally:
        assert agent.stop(signal.SIGINT) == 0
        del mesh.agents["n2"]


def refused(mesh: Mesh, *options: str) -> str:
    """The error of n2's join when it does not even send a request."""
    arguments = ["join", "-n", "lab", *mesh.join_tls("n2"), "-bootstrap-addr", mesh.service_address("n1")]
    done: subprocess.CompletedProcess[str] = wgmesh(
        mesh.network.hosts["n2"], *arguments, "--join-timeout", "1", *options
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not has_interface(mesh.network.hosts["n2"])
    return done.stderr.splitlines()[-1]


def test_without_any_option_it_is_the_source_address_towards_the_bootstrap_node(mesh: Mesh) -> None:
    assert announced(mesh) == f"{mesh.network.address('n2')}:54540"


def test_a_listen_address_is_taken_as_it_stands(mesh: Mesh) -> None:
    host = mesh.network.hosts["n2"]
    host.run(["ip", "address", "add", "10.0.0.99/24", "dev", "eth0"])
    assert announced(mesh, "-listen-addr", "10.0.0.99") == "10.0.0.99:54540"
    assert (
        announced(mesh, "-listen-addr", "eth0", "-listen-port", "4711")
        == f"{mesh.network.address('n2')}:4711"
    )
    assert announced(mesh, "-listen-addr", "eth0%1") == "10.0.0.99:54540"
    assert announced(mesh, "-listen-addr", "eth0%0") == f"{mesh.network.address('n2')}:54540"
    host.run(["ip", "address", "del", "10.0.0.99/24", "dev", "eth0"])


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("10.232.7.7", "it lies inside the mesh (10.232.0.0/16)"),
        ("eth7", "there is no interface 'eth7'"),
        ("eth0%5", "eth0%5 requires one more"),
        ("lo", "has no address that peers can reach"),
    ],
)
def test_a_listen_address_where_nobody_can_reach_the_node_is_refused(
    mesh: Mesh, value: str, complaint: str
) -> None:
    assert complaint in refused(mesh, "-listen-addr", value)


def test_a_loopback_listen_address_is_wrong_use(mesh: Mesh) -> None:
    arguments = ["join", "-n", "lab", "-dev", "-bootstrap-addr", "10.0.0.1:5000", "-listen-addr", "127.0.0.1"]
    done = wgmesh(mesh.network.hosts["n2"], *arguments)
    assert done.returncode == 2
    assert '"127.0.0.1" is not an address that other nodes can reach' in done.stderr


def test_a_founder_s_listen_address_inside_its_own_mesh_is_refused(mesh: Mesh) -> None:
    arguments = [
        "bootstrap",
        "-n",
        "two",
        "-dev",
        "-listen-addr",
        "10.232.3.3",
        "-agent-grpc-bind-socket",
        "/run/two",
    ]
    done = wgmesh(mesh.network.hosts["n2"], *arguments)
    assert done.returncode == 1
    assert (
        "-listen-addr gives 10.232.3.3, which lies inside the mesh's own range"
        in done.stderr.splitlines()[-1]
    )
    assert not has_interface(mesh.network.hosts["n2"], "wgtwo")


def test_a_node_behind_a_nat_announces_the_address_that_a_stun_server_saw(mesh: Mesh) -> None:
    agent = mesh.join("n3", "--stun-server", f"{mesh.network.address('stun')}:{STUN_PORT}")
    info = agent.wait_until_ready()
    assert info.endpoint == f"{mesh.network.address('nat')}:54540"
    mesh.wait_until_full()
    # The NAT may have given the tunnel another port than it gave the question: WireGuard learns that by itself.
    learned = wireguard(mesh.network.hosts["n1"]).tunnels[info.pubkey].endpoint
    assert learned.startswith(f"{mesh.network.address('nat')}:")
    eventually(
        lambda: not mesh.ping("n1", "n3").lost and not mesh.ping("n3", "n1").lost, 10, "both ways answer"
    )


def test_a_restarted_node_behind_a_nat_still_knows_its_outer_address(mesh: Mesh) -> None:
    """Its WireGuard runs on and has the port that it would ask from."""
    agent = mesh.agents["n3"]
    agent.kill()
    agent.start()
    assert agent.wait_until_ready().endpoint == f"{mesh.network.address('nat')}:54540"
    mesh.wait_until_full()


@pytest.mark.parametrize("lie", ["garbage", "a thousand empty attributes", "inside the mesh", "nowhere"])
def test_a_stun_server_that_lies_ends_in_a_clear_error_and_not_in_a_hang(mesh: Mesh, lie: str) -> None:
    host = mesh.network.hosts["stun"]
    port = 4000 + list(LIES).index(lie)
    with (mesh.network.folder / "liar.log").open("wb") as output:
        script = Path(__file__).with_name("lying_stun.py")
        process = host.popen([sys.executable, str(script), lie, str(port)], output)
    try:
        eventually(lambda: f":{port}" in host.run(["ss", "-Hlun"]).stdout, 10, "the liar listens")
        began = time.monotonic()
        said = refused(mesh, "--stun-server", f"{mesh.network.address('stun')}:{port}")
        assert time.monotonic() - began < CLEAR_ERROR_SECONDS
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert "STUN server" in said or "it lies inside the mesh" in said


def test_a_stun_server_that_is_not_there_is_said(mesh: Mesh) -> None:
    said = refused(mesh, "--stun-server", f"{mesh.network.address('stun')}:9")
    assert "no valid response" in said
    assert "set -listen-addr, or another --stun-server" in said
