"""A mesh in the lab: a CA, a host for each node, the agents, and queries to all of them at once."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import grpc

from wgmesh_agent.lab.agent import PROGRAM, SOCKET, Agent, until
from wgmesh_agent.lab.command import LabError
from wgmesh_agent.lab.network import Network
from wgmesh_api.agent_pb2 import MemberInfo
from wgmesh_api.certificates import (
    CertificateAuthority,
    cert_to_pem,
    generate_key,
    issue,
    key_to_pem,
    make_ca,
)
from wgmesh_api.identity import NodeIdentity, Role

LIFETIME = timedelta(days=1)
PING_SUMMARY = re.compile(r"(\d+) packets transmitted, (\d+) received")
PING_TIME = re.compile(r"= [\d.]+/([\d.]+)/")


@dataclass(frozen=True, slots=True)
class Pings:
    """Result of `ping`; `milliseconds` is the mean round trip, None without replies."""

    sent: int
    received: int
    milliseconds: float | None

    @property
    def lost(self) -> int:
        return self.sent - self.received


@dataclass
class Mesh:
    """Nodes named n1, n2, … on hosts of the same names; n1 is the bootstrap node.

    Attributes:
        tls: with certificates of a CA created for this mesh, and encrypted gossip; else `-dev`.
        socket: of every agent; a second mesh on the same hosts needs another.
        service_port: of the bootstrap nodes.
        options: further options for every agent.
        program: the command that starts agents.
    """

    network: Network
    name: str = "lab"
    tls: bool = True
    backend: str = "auto"
    options: tuple[str, ...] = ()
    bootstrap_options: tuple[str, ...] = ()
    socket: str = SOCKET
    service_port: int = 5000
    program: tuple[str, ...] = PROGRAM
    agents: dict[str, Agent] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._certificates = self.network.folder / f"certificates-{self.name}"
        self._certificates.mkdir(exist_ok=True)
        key = generate_key()
        now = datetime.now(UTC)
        self.authority = CertificateAuthority(
            make_ca(self.name, key, now=now, lifetime=LIFETIME, serial=1), key
        )
        (self._certificates / "ca.pem").write_bytes(cert_to_pem(self.authority.cert))

    @property
    def first(self) -> Agent:
        return next(iter(self.agents.values()))

    def bootstrap(self, node: str = "n1", *more: str) -> Agent:
        """Starts a bootstrap node and waits until it serves."""
        agent = self._agent(node, ["bootstrap", *self.bootstrap_tls(node), *self.bootstrap_options, *more])
        agent.start()
        agent.wait_until_ready()
        return agent

    def join(self, node: str, *more: str, bootstraps: tuple[str, ...] = ("n1",)) -> Agent:
        """Starts a joining node; does not wait. `bootstraps` are nodes, or `address:port` as typed."""
        targets = ",".join(name if ":" in name else self.service_address(name) for name in bootstraps)
        agent = self._agent(node, ["join", *self.join_tls(node), "-bootstrap-addr", targets, *more])
        agent.start()
        return agent

    def service_address(self, node: str) -> str:
        """`address:port` of a bootstrap node's Mesh service."""
        subnet = self.network.subnets[0]
        address = self.network.address(node, subnet.version)
        return f"[{address}]:{self.service_port}" if subnet.version == 6 else f"{address}:{self.service_port}"

    def start(self, nodes: int) -> None:
        """One bootstrap node and the joins of all others at once; waits for the full mesh."""
        for number in range(1, nodes + 1):
            self.network.add_host(f"n{number}")
        self.bootstrap()
        for number in range(2, nodes + 1):
            self.join(f"n{number}")
        self.wait_until_full()

    def wait_until_full(self, nodes: set[str] | None = None, seconds: float = 60.0) -> float:
        """Waits until all of `nodes` (default: all) report each other alive, with a handshake; returns the time it
        took.
        """
        names = nodes if nodes is not None else set(self.agents)
        begun = time.monotonic()
        until(
            lambda: not self.missing_links(names) or None,
            seconds,
            lambda: "\n".join(self.missing_links(names)),
        )
        return time.monotonic() - begun

    def missing_links(self, nodes: set[str]) -> list[str]:
        """One line for each ordered pair that is not alive with a handshake, and for each agent that ended."""
        missing = []
        for here in sorted(nodes):
            if not self.agents[here].runs():
                missing.append(f"the agent of {here} is not running: {self.agents[here].said(600)}")
                continue
            seen = self.members(here)
            for there in sorted(nodes - {here}):
                member = seen.get(there)
                if member is None or member.status != "alive":
                    missing.append(f"{here} reports {there} as {member.status if member else 'unknown'}")
                elif not member.lastHandshakeTS:
                    missing.append(f"{here} and {there} had no handshake")
        return missing

    def members(self, node: str) -> dict[str, MemberInfo]:
        """The members as `node` reports them; none while its agent does not answer."""
        try:
            return self.agents[node].nodes()
        except grpc.RpcError:
            return {}

    def mesh_address(self, node: str) -> str:
        """A node's first mesh address, as its agent reports it."""
        return self.agents[node].info().meshIPs[0]

    def ping(
        self, source: str, target: str, *, count: int = 1, interval: float = 0.2, wait: float = 1.0
    ) -> Pings:
        """Pings `target`'s mesh address from `source`'s host."""
        return self.ping_address(source, self.mesh_address(target), count=count, interval=interval, wait=wait)

    def ping_address(
        self, source: str, address: str, *, count: int = 1, interval: float = 0.2, wait: float = 1.0
    ) -> Pings:
        """Pings an address from `source`'s host."""
        command = ["ping", "-n", "-q", "-c", str(count), "-i", str(interval), "-W", str(wait), address]
        done = self.agents[source].host.run(command, check=False, seconds=count * interval + wait + 30)
        summary = PING_SUMMARY.search(done.stdout)
        if summary is None:
            raise LabError(f"ping from {source} to {address} printed: {done.stdout}{done.stderr}")
        mean = PING_TIME.search(done.stdout)
        return Pings(int(summary[1]), int(summary[2]), float(mean[1]) if mean else None)

    def ping_matrix(self, nodes: list[str]) -> dict[tuple[str, str], Pings]:
        """One ping for each ordered pair."""
        addresses = {node: self.mesh_address(node) for node in nodes}
        pairs = [(a, b) for a in nodes for b in nodes if a != b]
        with ThreadPoolExecutor(8) as pool:
            found = pool.map(lambda pair: self.ping_address(pair[0], addresses[pair[1]]), pairs)
            return dict(zip(pairs, found, strict=True))

    def _agent(self, node: str, arguments: list[str]) -> Agent:
        command, *rest = arguments
        common = ["-v", "-n", self.name, "-node-name", node, "--backend", self.backend]
        common += ["-agent-grpc-bind-socket", self.socket, *self.options]
        if command == "bootstrap":
            common += ["-grpc-bind-port", str(self.service_port)]
        agent = Agent(
            self.network.hosts[node], [command, *common, *rest], socket=self.socket, program=self.program
        )
        self.agents[node] = agent
        return agent

    def bootstrap_tls(self, node: str) -> list[str]:
        """The options with a bootstrap node's certificate, or `-dev`."""
        if not self.tls:
            return ["-dev"]
        key, certificate, ca = self.certificate(node, Role.BOOTSTRAP)
        return ["-grpc-server-key", str(key), "-grpc-server-cert", str(certificate), "-grpc-ca-cert", str(ca)]

    def join_tls(self, node: str) -> list[str]:
        """The options with a joining node's certificate, or `-dev`."""
        if not self.tls:
            return ["-dev"]
        key, certificate, ca = self.certificate(node, Role.NODE)
        return ["-client-key", str(key), "-client-cert", str(certificate), "-ca-cert", str(ca)]

    def certificate(self, node: str, role: Role) -> tuple[Path, Path, Path]:
        """Key, certificate and CA files for a node, created at the first call."""
        key_file, certificate_file = self._certificates / f"{node}.key", self._certificates / f"{node}.pem"
        if not key_file.exists():
            key = generate_key()
            certificate = issue(
                self.authority,
                NodeIdentity(self.name, node, role),
                key.public_key(),
                now=datetime.now(UTC),
                lifetime=LIFETIME,
                serial=len(list(self._certificates.iterdir())) + 1,
                addresses=[
                    ip_address(self.network.address(node, subnet.version)) for subnet in self.network.subnets
                ],
            )
            key_file.touch(mode=0o600)
            key_file.write_bytes(key_to_pem(key))
            certificate_file.write_bytes(cert_to_pem(certificate))
        return key_file, certificate_file, self._certificates / "ca.pem"
