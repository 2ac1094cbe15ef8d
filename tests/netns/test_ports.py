"""Ports that another program has: said with whose they are, tunnels kept, and up by itself once they are free."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.netns.mesh_harness import eventually, has_interface, lab_mesh

from wgmesh_agent.lab.host import Host
from wgmesh_agent.lab.mesh import Mesh

pytestmark = [pytest.mark.netns, pytest.mark.slow]


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with lab_mesh(2) as mesh:
        yield mesh


@contextmanager
def held(host: Host, port: int, kind: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another program of the host has this port."""
    code = (
        f"import socket, time; s = socket.socket(type=socket.{kind}); s.setsockopt(1, 2, 1); s.bind(('', {port})); "
        "s.listen() if s.type == socket.SOCK_STREAM else 0; time.sleep(600)"
    )
    process = host.popen([sys.executable, "-c", code], subprocess.DEVNULL)
    try:
        flag = "-Hltn" if kind == "SOCK_STREAM" else "-Hlun"
        eventually(lambda: host.run(["ss", flag, "sport", str(port)]).stdout, 20, "the port is held")
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"])
def test_a_gossip_port_that_another_program_has_is_waited_for(mesh: Mesh, kind: str) -> None:
    agent = mesh.agents["n2"]
    agent.kill()
    agent.log.write_text("")
    with held(agent.host, 7946, kind):
        agent.start()
        eventually(lambda: "port 7946" in agent.said(), 20, "it is said")
        assert "is in use by python" in agent.said()
        assert "-gossip-port" in agent.said()
        assert has_interface(agent.host)
        address = mesh.mesh_address("n1")
        assert (
            agent.host.run(["ping", "-c", "3", "-i", "0.2", "-W", "2", address], check=False).returncode == 0
        )
        assert agent.runs()
    mesh.wait_until_full(seconds=20)
    assert agent.said(100_000).count("is in use by") == 1


def test_a_listen_port_that_another_program_has_is_waited_for(mesh: Mesh) -> None:
    host = mesh.network.reboot("n2")
    agent = mesh.agents["n2"]
    agent.log.write_text("")
    with held(host, 54540, "SOCK_DGRAM"):
        agent.start()
        eventually(lambda: "UDP port 54540" in agent.said(), 20, "it is said")
        assert "is in use by python" in agent.said()
        assert "-listen-port" in agent.said()
        assert agent.runs()
    mesh.wait_until_full(seconds=20)
    assert agent.said(100_000).count("is in use by") == 1


def test_a_port_for_joiners_that_another_program_has_hinders_joins_and_nothing_else() -> None:
    with lab_mesh(2) as mesh:
        agent = mesh.agents["n1"]
        agent.kill()
        agent.log.write_text("")
        with held(agent.host, mesh.service_port, "SOCK_STREAM"):
            agent.start()
            agent.wait_until_ready(20)
            mesh.wait_until_full(seconds=20)
            eventually(lambda: "is in use by python" in agent.said(100_000), 20, "it is said")
            assert f"TCP port {mesh.service_port}" in agent.said(100_000)
            assert "-grpc-bind-port" in agent.said(100_000)
            ping = ["ping", "-c", "3", "-i", "0.2", "-W", "2", mesh.mesh_address("n2")]
            assert agent.host.run(ping, check=False).returncode == 0
        eventually(lambda: "join service available again" in agent.said(100_000), 20, "it is served")
        assert agent.said(100_000).count("is in use by") == 1
        mesh.network.add_host("n3")
        mesh.join("n3")
        mesh.wait_until_full(seconds=20)
