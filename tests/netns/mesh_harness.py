"""Shared parts of the tests of complete meshes: meshes on lab hosts, continuous pings, and reading WireGuard itself."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wgmesh_agent.lab.agent import PROGRAM, until
from wgmesh_agent.lab.command import run
from wgmesh_agent.lab.host import Host
from wgmesh_agent.lab.mesh import Mesh
from wgmesh_agent.lab.network import Network

PINGS_A_SECOND = 20
STAYS_POLL_SECONDS = 0.2
PATIENCE = 3
"""Deadlines end tests that will never pass, and measure nothing: a machine with other things to do may take longer."""
LIVE: list[Network] = []
"""The networks of running tests: when one fails, its agents' logs are shown."""
_REPLY = re.compile(r"icmp_seq=(\d+) ttl=")
_TIME = re.compile(r" time=([\d.]+) ms")


@contextmanager
def lab_network(**settings: Any) -> Iterator[Network]:
    """A switch without hosts yet."""
    with Network(**settings) as network:
        LIVE.append(network)
        try:
            yield network
        finally:
            LIVE.remove(network)


@contextmanager
def lab_mesh(nodes: int, *, network: dict[str, Any] | None = None, **settings: Any) -> Iterator[Mesh]:
    """n1 to nN as a full mesh; n1 is the bootstrap node."""
    with lab_network(**(network or {})) as switch:
        mesh = Mesh(switch, **settings)
        mesh.start(nodes)
        yield mesh


@dataclass(frozen=True, slots=True)
class Tunnel:
    """One peer as `wg show dump` has it."""

    endpoint: str
    allowed_ips: frozenset[str]
    handshake_unix: int


@dataclass(frozen=True, slots=True)
class WireGuard:
    """A host's interface as `wg` sees it."""

    public_key: str
    port: int
    tunnels: dict[str, Tunnel]


def wireguard(host: Host, interface: str = "wglab") -> WireGuard:
    """Reads the interface with `wg`, a program that is not ours."""
    own, *peers = host.run(["wg", "show", interface, "dump"]).stdout.splitlines()
    _, public_key, port, _ = own.split("\t")
    tunnels = {}
    for line in peers:
        key, _, endpoint, allowed, handshake, *_ = line.split("\t")
        tunnels[key] = Tunnel(endpoint, frozenset(allowed.split(",")), int(handshake))
    return WireGuard(public_key, int(port), tunnels)


def has_interface(host: Host, interface: str = "wglab") -> bool:
    return host.run(["ip", "link", "show", interface], check=False).returncode == 0


def status(mesh: Mesh, viewer: str, node: str) -> str | None:
    """What `viewer` says of `node`; None if it knows no such member."""
    member = mesh.members(viewer).get(node)
    return member.status if member else None


def eventually(condition: Callable[[], object], seconds: float, what: str | Callable[[], str]) -> None:
    """Returns once the condition holds; LabError after `seconds`, as they pass on a machine that has time."""
    until(lambda: bool(condition()) or None, seconds * PATIENCE, what)


def stays(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Looks all the while; fails as soon as the condition does not hold."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), f"this did not stay so for {seconds:g} s: {what}"
        time.sleep(STAYS_POLL_SECONDS)


def wgmesh(
    host: Host, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a host to its end, whatever its status."""
    return host.run([*PROGRAM, *arguments], check=False, env={**os.environ, **(env or {})})


def state_file(mesh: Mesh, node: str, name: str) -> Path:
    """A file of a node's state folder, as this machine sees it."""
    return mesh.network.hosts[node].disk / mesh.name / name


def saved_members(mesh: Mesh, node: str) -> set[str]:
    """The names in a node's member snapshot."""
    path = state_file(mesh, node, "members.json")
    return {member["node"] for member in json.loads(path.read_text())["content"]} if path.exists() else set()


class Pinging:
    """A ping that continues until it is stopped; every request that got no reply before a later one did is lost."""

    def __init__(self, host: Host, address: str, log: Path, a_second: int = PINGS_A_SECOND) -> None:
        self._log = log
        self.name = f"{host.name} to {address}"
        interval = str(1 / a_second)
        with log.open("wb") as output:
            self._process = host.popen(["ping", "-n", "-i", interval, address], output)

    def answered(self) -> set[int]:
        """Sequence numbers of the answers so far."""
        return {int(number) for number in _REPLY.findall(self._log.read_text())}

    def go_on(self, seconds: float = 20.0) -> None:
        """Waits for three more answers: the path works now."""
        before = max(self.answered(), default=0)
        eventually(
            lambda: max(self.answered(), default=0) >= before + 3, seconds, f"pings from {self.name} go on"
        )

    def lost(self) -> int:
        """How many were lost up to the last answer."""
        answered = self.answered()
        return max(answered) - len(answered)

    def longest_pause(self) -> float:
        """The longest time that an answer took, in milliseconds."""
        return max(map(float, _TIME.findall(self._log.read_text())))

    def end(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def pinging(mesh: Mesh, *pairs: tuple[str, str], a_second: int = PINGS_A_SECOND) -> Iterator[list[Pinging]]:
    """Pings each pair's target from its source through the tunnel, before, during and after the block."""
    pings = []
    try:
        for number, (source, target) in enumerate(pairs):
            log = mesh.network.folder / f"ping-{number}.log"
            pings.append(Pinging(mesh.network.hosts[source], mesh.mesh_address(target), log, a_second))
        for ping in pings:
            ping.go_on()
        yield pings
        for ping in pings:
            ping.go_on()
    finally:
        for ping in pings:
            ping.end()


def cable(network: Network, one: tuple[str, str, str], other: tuple[str, str, str], mtu: int = 1500) -> None:
    """Joins two hosts: each a host's name, an interface to be made there, and its address."""
    (a, a_name, _), (b, b_name, _) = one, other
    a_pid, b_pid = network.hosts[a].pid, network.hosts[b].pid
    cable = f"{a_name} mtu {mtu} netns {a_pid} type veth peer name {b_name} mtu {mtu} netns {b_pid}"
    run(["nsenter", f"--target={network.switch.pid}", "--net", "--", "ip", "link", "add", *cable.split()])
    for name, interface, address in (one, other):
        network.hosts[name].run(["ip", "address", "add", address, "dev", interface])
        network.hosts[name].run(["ip", "link", "set", interface, "up"])
