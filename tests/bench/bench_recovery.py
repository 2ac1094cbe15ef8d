"""How soon a mesh is whole again after a healed partition, a reboot, a move; and what a restart of an agent loses."""

from __future__ import annotations

import statistics
import time
from ipaddress import ip_address

from tests.bench.measurement import CannotRun, Measurement
from tests.netns.mesh_harness import eventually, pinging, saved_members, status

from wgmesh_agent.lab.agent import until
from wgmesh_agent.lab.mesh import Mesh
from wgmesh_agent.lab.network import Network
from wgmesh_agent.wireguard.model import IPAddress

TITLE = "ten nodes: a partition of a minute, reboots, moves, restarts of agents"
NODES = 10
CUT_SECONDS, QUICK_CUT_SECONDS = 60.0, 30.0
PARTITIONS, REBOOTS, MOVES, RESTARTS = 2, 5, 3, 5
LONGEST_SECONDS = 120.0
REACH_PARTITION_SECONDS = 10.0
REACH_REBOOT_SECONDS = 5.0
REACH_MOVE_SECONDS = 10.0


def measure(quick: bool) -> list[Measurement]:
    """One mesh after the other; each event is waited out before the next."""
    with Network() as network:
        mesh = Mesh(network, "heal")
        for number in range(1, NODES + 1):
            network.add_host(f"n{number}")
        mesh.bootstrap()
        for number in range(2, NODES + 1):
            mesh.join(f"n{number}")
        mesh.wait_until_full(seconds=LONGEST_SECONDS)
        everybody = set(mesh.agents)
        for node in everybody:
            eventually(
                lambda: saved_members(mesh, node) == everybody - {node},  # noqa: B023
                LONGEST_SECONDS,
                f"{node} remembers all",
            )
        lost = [
            _lost_at_restart(mesh, f"n{number % NODES + 1}") for number in range(1 if quick else RESTARTS)
        ]
        reboots = [
            _reboot(mesh, f"n{number % NODES + 1}") for number in range(1, 2 if quick else REBOOTS + 1)
        ]
        moves = [
            seconds
            for number in range(1, 2 if quick else MOVES + 1)
            for seconds in _moves(mesh, f"n{number + 5}")
        ]
        partitions = [
            _partition(mesh, QUICK_CUT_SECONDS if quick else CUT_SECONDS)
            for _ in range(1 if quick else PARTITIONS)
        ]
    return [
        Measurement(
            "a healed partition (5 and 5 nodes): to the full mesh, all pings answered",
            "s",
            partitions,
            reach=f"≤ {REACH_PARTITION_SECONDS:g} s",
            reached=max(partitions) <= REACH_PARTITION_SECONDS,
        ),
        Measurement(
            "a node rebooted: from its agent's exec to all its links up",
            "s",
            reboots,
            reach=f"≤ {REACH_REBOOT_SECONDS:g} s",
            reached=statistics.median(reboots) <= REACH_REBOOT_SECONDS,
        ),
        Measurement(
            "a node moved to another address: to all pings to and from it answered",
            "s",
            moves,
            reach=f"≤ {REACH_MOVE_SECONDS:g} s",
            reached=max(moves) <= REACH_MOVE_SECONDS,
        ),
        Measurement(
            "an agent killed and started again: packets lost to and from its node (20/s each way)",
            "packets",
            lost,
            reach="0",
            reached=not any(lost),
        ),
    ]


def _lost_at_restart(mesh: Mesh, node: str) -> float:
    other = next(name for name in mesh.agents if name != node)
    with pinging(mesh, (node, other), (other, node)) as pings:
        mesh.agents[node].kill()
        mesh.agents[node].start()
        mesh.agents[node].wait_until_ready(LONGEST_SECONDS)
        mesh.wait_until_full(seconds=LONGEST_SECONDS)
    return float(sum(ping.lost() for ping in pings))


def _reboot(mesh: Mesh, node: str) -> float:
    mesh.network.reboot(node)
    agent = mesh.agents[node]
    begun = time.monotonic()
    agent.start()
    agent.wait_until_ready(LONGEST_SECONDS)
    others = [name for name in mesh.agents if name != node]

    def answered() -> bool | None:
        seen = mesh.members(node)
        has_all = all(
            other in seen and seen[other].status == "alive" and seen[other].lastHandshakeTS
            for other in others
        )
        return has_all or None

    until(answered, LONGEST_SECONDS, f"{node} has all its links")
    seconds = time.monotonic() - begun
    mesh.wait_until_full(seconds=LONGEST_SECONDS)
    return seconds


def _moves(mesh: Mesh, node: str) -> list[float]:
    """To another address and back."""
    old = ip_address(mesh.network.address(node))
    return [_move(mesh, node, old, old + 100), _move(mesh, node, old + 100, old)]


def _move(mesh: Mesh, node: str, old: IPAddress, new: IPAddress) -> float:
    host = mesh.network.hosts[node]
    others = [name for name in mesh.agents if name != node]
    begun = time.monotonic()
    host.run(["ip", "address", "del", f"{old}/24", "dev", "eth0"])
    host.run(["ip", "address", "add", f"{new}/24", "dev", "eth0"])
    for other in others:
        for here, there in ((node, other), (other, node)):
            until(
                lambda: not mesh.ping(here, there, wait=0.2).lost or None,  # noqa: B023
                LONGEST_SECONDS,
                f"{there} answers {here}",
            )
    return time.monotonic() - begun


def _partition(mesh: Mesh, cut_seconds: float) -> float:
    nodes = list(mesh.agents)
    sides = nodes[: NODES // 2], nodes[NODES // 2 :]
    for here in sides[0]:
        for there in sides[1]:
            mesh.network.cut(here, there)
    begun = time.monotonic()
    eventually(
        lambda: all(
            status(mesh, here, there) == "failed"
            for side, others in (sides, sides[::-1])
            for here in side
            for there in others
        ),
        LONGEST_SECONDS,
        "each side has the other for failed",
    )
    time.sleep(max(0.0, cut_seconds - (time.monotonic() - begun)))
    for node in nodes:
        mesh.network.heal(node)
    healed = time.monotonic()
    mesh.wait_until_full(seconds=LONGEST_SECONDS)
    if any(pings.lost for pings in mesh.ping_matrix(nodes).values()):
        eventually(
            lambda: not any(p.lost for p in mesh.ping_matrix(nodes).values()),
            LONGEST_SECONDS,
            "all pings answer",
        )
    took = time.monotonic() - healed
    if took > LONGEST_SECONDS:
        raise CannotRun(f"not whole within {LONGEST_SECONDS:g} s of the partition's end")
    return took
