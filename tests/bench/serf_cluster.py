"""Real `serf agent` processes as the reference: each in a lab host of its own, encrypted, LAN profile."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
from pathlib import Path

from tests.bench.measurement import CannotRun
from tests.bench.processes import child_of

from wgmesh_agent.lab.agent import until
from wgmesh_agent.lab.host import Host
from wgmesh_agent.lab.network import Network

SETTLE_SECONDS = 240.0
"""Of many that start at once, what one missed comes to it by a full exchange, every minute or two."""


class SerfAgent:
    """One agent: `serf agent` in a host."""

    def __init__(self, host: Host, address: str, key: str) -> None:
        self.host = host
        self.address = address
        self.log = host.disk.with_name(f"{host.name}.log")
        self._key = key
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *join: str) -> None:
        command = [
            "serf",
            "agent",
            f"-node={self.host.name}",
            f"-bind={self.address}",
            f"-encrypt={self._key}",
            "-profile=lan",
            *(f"-retry-join={address}" for address in join),
            "-retry-interval=1s",
        ]
        with self.log.open("ab") as output:
            self._process = self.host.popen(command, output)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return child_of(self._process.pid)

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        os.kill(self.pid, signal.SIGKILL)
        self._process.wait(10)

    def alive(self) -> int:
        """How many members this agent sees alive; 0 while it does not answer."""
        done = self.host.run(["serf", "members", "-status=alive"], check=False)
        return len(done.stdout.splitlines()) if done.returncode == 0 else 0


class SerfCluster:
    """Agents named s1, s2, …; all join through s1."""

    def __init__(self, network: Network, count: int) -> None:
        key = base64.b64encode(os.urandom(32)).decode()
        self.agents: dict[str, SerfAgent] = {}
        for number in range(1, count + 1):
            name = f"s{number}"
            host = network.hosts.get(name) or network.add_host(name)
            self.agents[name] = SerfAgent(host, network.address(name), key)
        for agent in self.agents.values():
            self.start(agent)
        self.wait_until_full()

    def start(self, agent: SerfAgent) -> None:
        """Starts an agent, which joins through two others."""
        others = [other.address for other in self.agents.values() if other is not agent]
        agent.start(*others[:2])

    @property
    def logs(self) -> dict[str, Path]:
        return {name: agent.log for name, agent in self.agents.items()}

    def wait_until_full(self) -> None:
        """Waits until every agent sees all alive. Raises CannotRun."""
        count = len(self.agents)
        for name, agent in self.agents.items():

            def full(agent: SerfAgent = agent) -> bool:
                return agent.alive() == count

            try:
                until(full, SETTLE_SECONDS, f"{name} sees {count} members alive")
            except Exception as error:
                raise CannotRun(f"serf does not form its cluster: {error}") from error
