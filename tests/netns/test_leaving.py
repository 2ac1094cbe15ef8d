"""Leaving: Ctrl-C and `wgmesh leave` permanently, `wgmesh leave NODE` for a failed member."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from tests.netns.mesh_harness import (
    eventually,
    has_interface,
    lab_mesh,
    state_file,
    status,
    wgmesh,
    wireguard,
)

from wgmesh_agent.lab.agent import PROGRAM, Agent
from wgmesh_agent.lab.mesh import Mesh

pytestmark = [pytest.mark.netns, pytest.mark.slow]
GONE_SECONDS = 3.0
"""A leave that comes by others counts after five gossip intervals, which is a second (ADR 030)."""
GOODBYE_LOST = """
add table inet test
add chain inet test output {{ type filter hook output priority 0; }}
add rule inet test output ip daddr {address} meta l4proto {{ tcp, udp }} th dport 7946 drop
"""
NODES = ["n1", "n2", "n3", "n4", "n5"]


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with lab_mesh(len(NODES)) as mesh:
        yield mesh


def is_gone(mesh: Mesh, node: str, key: str, others: list[str]) -> bool:
    return all(
        status(mesh, other, node) is None and key not in wireguard(mesh.network.hosts[other]).tunnels
        for other in others
    )


def looking_seconds(mesh: Mesh, node: str, others: list[str]) -> float:
    """What looking itself may add: seen by the second look that began after it was so. In a guest that is seconds."""
    began = time.monotonic()
    for other in others:
        status(mesh, other, node)
        wireguard(mesh.network.hosts[other])
    return 2 * (time.monotonic() - began)


def starting_seconds(mesh: Mesh, node: str) -> float:
    """What the command line may take before it asks anything of the agent: twice what it takes to ask for nothing."""
    began = time.monotonic()
    wgmesh(mesh.network.hosts[node], "info")
    return 2 * (time.monotonic() - began)


def seconds_of_leaving(mesh: Mesh, node: str, key: str, others: list[str]) -> float:
    """Until a node that received Ctrl-C is removed everywhere; its agent has ended without error by then."""
    agent, began = mesh.agents[node], time.monotonic()
    os.kill(agent.pid, signal.SIGINT)
    eventually(lambda: is_gone(mesh, node, key, others), 10, f"{node} is gone everywhere")
    took = time.monotonic() - began
    assert agent.wait() == 0
    return took


def running(mesh: Mesh) -> list[str]:
    return [node for node, agent in mesh.agents.items() if agent.runs()]


def forget(mesh: Mesh, node: str) -> Agent:
    """The lab no longer counts a node that left."""
    return mesh.agents.pop(node)


def test_ctrl_c_leaves_the_mesh_and_is_gone_everywhere(mesh: Mesh) -> None:
    agent = mesh.agents["n5"]
    key = agent.info().pubkey
    others = [node for node in running(mesh) if node != "n5"]
    spare = looking_seconds(mesh, "n5", others)
    took = seconds_of_leaving(mesh, "n5", key, others)
    assert not has_interface(agent.host)
    assert not (agent.host.disk / mesh.name).exists()
    assert agent.host.run(["pidof", "wireguard-go"], check=False).stdout == ""
    forget(mesh, "n5")
    assert took <= GONE_SECONDS + spare


def test_who_left_may_come_back_as_a_new_member(mesh: Mesh) -> None:
    mesh.join("n5").wait_until_ready()
    mesh.wait_until_full()


def test_leave_on_the_command_line_leaves_the_mesh(mesh: Mesh) -> None:
    agent = mesh.agents["n4"]
    key = agent.info().pubkey
    others = [node for node in running(mesh) if node != "n4"]
    spare = looking_seconds(mesh, "n4", others) + starting_seconds(mesh, "n4")
    began = time.monotonic()
    with (mesh.network.folder / "leave.log").open("wb") as output:
        command = agent.host.popen([*PROGRAM, "leave"], output)
    eventually(lambda: is_gone(mesh, "n4", key, others), 10, "n4 is gone everywhere")
    took = time.monotonic() - began
    assert command.wait(20) == 0
    assert (mesh.network.folder / "leave.log").read_text() == "This node has left the mesh.\n"
    assert agent.wait() == 0
    assert not has_interface(agent.host)
    forget(mesh, "n4")
    assert took <= GONE_SECONDS + spare


def test_who_hears_of_a_goodbye_from_others_only_lets_go_as_soon(mesh: Mesh) -> None:
    """A leave reported by others is verified through the tunnel, and a leaving member still answers there: it announces
    itself that it leaves.
    """
    agent = mesh.agents["n5"]
    key, others = agent.info().pubkey, [node for node in running(mesh) if node != "n5"]
    agent.host.run(["nft", "-f", "-"], text=GOODBYE_LOST.format(address=mesh.mesh_address("n2")))
    spare = looking_seconds(mesh, "n5", others)
    took = seconds_of_leaving(mesh, "n5", key, others)
    forget(mesh, "n5")
    assert took <= GONE_SECONDS + spare


def test_leave_with_a_name_takes_out_a_failed_member_and_no_living_one(mesh: Mesh) -> None:
    key = mesh.agents["n3"].info().pubkey
    living = wgmesh(mesh.network.hosts["n1"], "leave", "n3")
    assert living.returncode == 1
    assert "only a failed member can be removed" in living.stderr
    assert wgmesh(mesh.network.hosts["n1"], "leave", "n9").returncode == 1
    mesh.network.hosts["n3"].kill()
    agent = forget(mesh, "n3")
    others = running(mesh)
    eventually(lambda: all(status(mesh, other, "n3") == "failed" for other in others), 30, "n3 is noticed")
    assert all(key in wireguard(mesh.network.hosts[other]).tunnels for other in others)
    done = wgmesh(mesh.network.hosts["n2"], "leave", "n3")
    assert (done.returncode, done.stdout) == (0, "n3 has been removed from the mesh.\n")
    eventually(lambda: is_gone(mesh, "n3", key, others), 10, "n3 is gone everywhere")
    assert not agent.runs()


def test_a_member_that_was_taken_out_while_away_asks_to_be_let_in_again(mesh: Mesh) -> None:
    before = json.loads(state_file(mesh, "n3", "mesh.json").read_text())["content"]["addresses"][0]
    mesh.network.reboot("n3")
    agent = mesh.join("n3")
    agent.wait_until_ready()
    mesh.wait_until_full(seconds=40)
    assert mesh.mesh_address("n3") == before


def test_a_second_ctrl_c_does_not_wait_for_the_goodbye(mesh: Mesh) -> None:
    """The network is down, so that the leave takes its time."""
    agent = mesh.agents["n2"]
    mesh.network.cut_off("n2")
    os.kill(agent.pid, signal.SIGINT)
    os.kill(agent.pid, signal.SIGINT)
    began = time.monotonic()
    assert agent.wait() == 0
    assert time.monotonic() - began < 3
    mesh.network.heal("n2")


def test_leave_where_no_agent_runs_says_so_and_exits_1(mesh: Mesh) -> None:
    done: subprocess.CompletedProcess[str] = wgmesh(mesh.network.hosts["n4"], "leave")
    assert done.returncode == 1
    assert "no agent answers at /var/run/wgmesh.sock" in done.stderr
