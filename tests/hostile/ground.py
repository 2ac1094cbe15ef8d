"""Honest members under attack: a mesh, a hostile member and an outsider next to it, and the promises during the
attack.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.netns.mesh_harness import Pinging, eventually, lab_network, wgmesh, wireguard

from wgmesh_agent.lab.agent import until
from wgmesh_agent.lab.host import Host
from wgmesh_agent.lab.mesh import Mesh

HERE = Path(__file__).parent
HONEST = ("n1", "n2", "n3", "n4", "n5")
HOSTILE, NEWCOMER, OUTSIDER = "n6", "n7", "n8"
PINGS_A_SECOND = 5
JOIN_SECONDS = 60.0
ASKING = "requesting admission"
CALM_SECONDS = 20.0
"""Maximum duration for which a hostile member can make others consider a live one failed."""


@dataclass(slots=True)
class Figures:
    """What a run came to.

    Attributes:
        sent: datagrams and connections, by attack.
        grown: resident MiB that each honest agent grew by.
        longest_step: seconds of processor time of the longest step of any honest agent's event loop.
        joins: seconds from a newcomer's first request until all honest members answer its pings, for each join.
        pings: answered in all.
    """

    sent: dict[str, int] = field(default_factory=dict)
    grown: dict[str, float] = field(default_factory=dict)
    longest_step: float = 0.0
    longest_of: str = ""
    joins: list[float] = field(default_factory=list)
    pings: int = 0

    def __str__(self) -> str:
        grown = ", ".join(f"{node} {mib:+.1f}" for node, mib in self.grown.items())
        joins = ", ".join(f"{seconds:.1f}" for seconds in self.joins)
        return (
            f"sent {sum(self.sent.values())}; {self.pings} pings answered, 0 lost; resident MiB {grown}; "
            f"longest step {1000 * self.longest_step:.0f} ms ({self.longest_of}); joins {joins} s"
        )


class Ground:
    """Five honest members and what watches them."""

    def __init__(self, mesh: Mesh, folder: Path) -> None:
        self.mesh = mesh
        self._socket = folder / "hostile.sock"
        self._log = folder / "hostile.log"
        self._attackers: list[subprocess.Popen[bytes]] = []
        self._names = {node: mesh.mesh_address(node) for node in HONEST}
        self._keys = {node: wireguard(mesh.network.hosts[node]).public_key for node in HONEST}

    def start_hostile(self, outsider: bool = True) -> None:
        """Stops the agent of the host that becomes hostile, and starts the attacker."""
        hosts = self.mesh.network.hosts
        setting = {
            "folder": f"/var/lib/wgmesh/{self.mesh.name}",
            "name": HOSTILE,
            "victims": self._names,
            "keys": self._keys,
            "socket": str(self._socket),
        }
        if self.mesh.agents[HOSTILE].runs():
            self.mesh.agents[HOSTILE].kill()
        with self._log.open("wb") as output:
            command = [sys.executable, str(HERE / "member.py"), json.dumps(setting)]
            self._attackers.append(hosts[HOSTILE].popen(command, output))
            if outsider:
                command = [
                    sys.executable,
                    str(HERE / "outsider.py"),
                    *(self.mesh.network.address(node) for node in HONEST),
                ]
                self._attackers.append(hosts[OUTSIDER].popen(command, output))
        eventually(self._socket.exists, 30, lambda: f"the hostile member runs: {self._log.read_text()}")

    def end_attackers(self) -> None:
        """Stops them permanently: a hostile member that remains keeps announcing the members it invented."""
        for process in self._attackers:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._attackers.clear()
        self._socket.unlink(missing_ok=True)

    def attack(self, names: Sequence[str], seconds: float, rate: int, seed: int) -> dict[str, int]:
        """Has the hostile member attack, and waits for the end of it; what it has sent."""
        order = {"attacks": list(names), "seconds": seconds, "rate": rate, "seed": seed}
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds + 60)
            connection.connect(str(self._socket))
            connection.sendall(json.dumps(order).encode())
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer, f"the hostile member ended: {self._log.read_text()[-2000:]}"
        sent: dict[str, int] = json.loads(answer)
        return sent

    def peers(self) -> dict[str, dict[str, frozenset[str]]]:
        """Keys and allowed IPs of honest members at all honest members."""
        known = set(self._keys.values())
        return {
            node: {
                key: tunnel.allowed_ips
                for key, tunnel in wireguard(self.mesh.network.hosts[node]).tunnels.items()
                if key in known
            }
            for node in HONEST
        }

    def resident_mib(self) -> dict[str, float]:
        return {node: _resident_mib(self.mesh.agents[node].pid) for node in HONEST}

    def rejected(self) -> dict[str, dict[str, int]]:
        """What each honest member counts of rejected input and refused claims."""
        found = {}
        for node in HONEST:
            info = self.mesh.agents[node].info()
            found[node] = {**info.rejectedInput, **{f"claim: {why}": n for why, n in info.refusals.items()}}
        return found

    def dropped(self) -> dict[str, dict[str, int]]:
        """Packets that honest hosts themselves dropped so far: at full sockets, and at both ends of the tunnel."""
        return {node: _dropped(self.mesh.network.hosts[node]) for node in HONEST}

    def forget_steps(self) -> None:
        """Has the accounts of the event loops begin again."""
        for node in HONEST:
            (self.mesh.network.hosts[node].disk / "loop-watch.json").unlink(missing_ok=True)

    def longest_step(self) -> tuple[float, str]:
        """Of all honest members' event loops, in seconds of processor time, and whose it was."""
        longest = (0.0, "")
        for node in HONEST:
            told = self._told(node)
            of = max(told["of"], key=told["of"].get, default="")
            longest = max(longest, (told["longest"], f"{node}: {of}"))
        return longest

    def blocks(self) -> dict[str, int]:
        """How many blocks of memory Python's objects take at each: what is kept, wherever the allocator has put it."""
        return {node: self._told(node)["blocks"] for node in HONEST}

    def _told(self, node: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(
            (self.mesh.network.hosts[node].disk / "loop-watch.json").read_text()
        )
        return told

    def join_anew(self) -> float:
        """Has an honest newcomer enter and leave again; seconds from its first request until it reaches all.

        How long its process takes to start is this machine's, not the mesh's: seconds, where attackers have its cores.
        """
        agent = self.mesh.join(NEWCOMER)
        asked = agent.said(1 << 20).count(ASKING)
        until(
            lambda: agent.said(1 << 20).count(ASKING) > asked, JOIN_SECONDS, "the newcomer asks", every=0.02
        )
        begun, silent = time.monotonic(), set(HONEST)
        while silent and time.monotonic() < begun + JOIN_SECONDS:
            silent = {node for node in silent if not _answers(agent.host, self._names[node])}
        took = time.monotonic() - begun
        assert not silent, f"a newcomer does not reach {silent}: {agent.said()}"
        wgmesh(agent.host, "leave")
        agent.wait(30)
        del self.mesh.agents[NEWCOMER]
        return took

    def not_alive(self) -> list[str]:
        """Which honest members do not have which others alive."""
        return [
            f"{node} has {other} as {member.status if member else 'unknown'}"
            for node in HONEST
            for members in [self.mesh.members(node)]
            for other in HONEST
            for member in [members.get(other)]
            if member is None or member.status != "alive"
        ]


def _answers(host: Host, address: str) -> bool:
    return (
        host.run(["ping", "-n", "-q", "-c", "1", "-W", "0.2", address], check=False, seconds=10).returncode
        == 0
    )


def _dropped(host: Host) -> dict[str, int]:
    sockets = [line.split() for line in host.run(["cat", "/proc/net/udp"]).stdout.splitlines()[1:]]
    at_sockets = {
        f"port {int(one[1].partition(':')[2], 16)}": int(one[-1]) for one in sockets if int(one[-1])
    }
    links = json.loads(host.run(["ip", "-s", "-j", "link"]).stdout)
    (counts,) = (link["stats64"] for link in links if link["ifname"].startswith("wg"))
    at_tunnel = {f"tunnel {way}": counts[way]["dropped"] for way in ("rx", "tx") if counts[way]["dropped"]}
    return {**at_sockets, **at_tunnel}


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} has no resident memory")


@contextmanager
def under_attack() -> Iterator[Ground]:
    """A mesh of honest members with their event loops watched; the one that becomes hostile is still a member."""
    built = subprocess.run(
        [HERE / "wireguard-go"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()
    with pytest.MonkeyPatch.context() as environment, lab_network() as network:
        environment.setenv("PATH", built, prepend=os.pathsep)
        program = (sys.executable, str(HERE / "watched_agent.py"))
        mesh = Mesh(network, program=program)
        mesh.start(len(HONEST) + 1)
        for name in (NEWCOMER, OUTSIDER):
            network.add_host(name)
        yield Ground(mesh, network.folder)


@contextmanager
def promises_kept(ground: Ground, figures: Figures) -> Iterator[None]:
    """Holds the honest members to what is promised while the block runs, and fills in the figures."""
    mesh, before = ground.mesh, ground.peers()
    resident, pids = ground.resident_mib(), {node: mesh.agents[node].pid for node in HONEST}
    pairs = [(a, b) for a in HONEST for b in HONEST if a < b]
    with ExitStack() as stack:
        pings = []
        for number, (source, target) in enumerate(pairs):
            log = mesh.network.folder / f"ping-{number}.log"
            ping = Pinging(mesh.network.hosts[source], ground._names[target], log, PINGS_A_SECOND)
            stack.callback(ping.end)
            pings.append(ping)
        for ping in pings:
            ping.go_on()
        ground.forget_steps()
        yield
        for ping in pings:
            ping.go_on()
        lost = {ping.name: ping.lost() for ping in pings if ping.lost()}
        figures.pings = sum(len(ping.answered()) for ping in pings)
    ended = [node for node in HONEST if not mesh.agents[node].runs() or mesh.agents[node].pid != pids[node]]
    assert not ended, f"agents ended: {[(node, mesh.agents[node].said(1000)) for node in ended]}"
    after = ground.peers()
    assert after == before, f"honest peers changed: {before} became {after}"
    figures.grown = {node: now - resident[node] for node, now in ground.resident_mib().items()}
    figures.longest_step, figures.longest_of = ground.longest_step()
    assert not lost, (
        f"pings between honest members lost: {lost}; the hosts themselves dropped {ground.dropped()}"
    )
    eventually(
        lambda: not ground.not_alive(), CALM_SECONDS, lambda: f"all are alive again: {ground.not_alive()}"
    )
