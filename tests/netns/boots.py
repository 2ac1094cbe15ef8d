"""One host boots with things missing, which come in an order drawn from a seed: is it a member with the last?"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

from tests.netns.mesh_harness import lab_network, state_file

from wgmesh_agent.lab.agent import PROGRAM, Agent, until
from wgmesh_agent.lab.command import LabError
from wgmesh_agent.lab.host import Host
from wgmesh_agent.lab.mesh import Mesh
from wgmesh_agent.lab.network import UPLINK

NODE = "n3"
AWAY = "cold0"
SERVICE, NAME = "10.9.9.1", "bootstrap.test"
JOIN_TIMEOUT_SECONDS = 2
"""Shorter than the prerequisite is missing: it must not run in that time."""
WITHOUT_BOOTSTRAP_SECONDS = 30
"""Where the bootstrap node is missing: once nothing else is, the machine can ask, and the time runs."""
GAP_SECONDS = 1.5
BOUND_SECONDS = 2.0
"""From the last thing's coming to a member with all links, on a machine with nothing else to do; what a start of the
program takes here is the measure of how far this one is from that.
"""
ALWAYS = ("address", "interface", "disk", "bootstrap")
WITH_TLS, WITHOUT_TLS = ("clock",), ("route", "name")


class Boot:
    """Puts the host into the state that goes with what has come so far."""

    def __init__(self, mesh: Mesh, host: Host, missing: tuple[str, ...]) -> None:
        self.mesh = mesh
        self.host = host
        self.missing = set(missing)
        self.clock_unset = mesh.network.folder / "clock-unset"
        self._hosts = mesh.network.folder / "hosts"
        self._has = {"interface": True, "bootstrap": True, "disk": True}

    def prepare(self) -> None:
        self._hosts.write_text("127.0.0.1 localhost\n")
        (resolver := self.mesh.network.folder / "resolv.conf").write_text(
            "nameserver 192.0.2.53\noptions timeout:1\n"
        )
        self.host.run(["mount", "--bind", str(self._hosts), "/etc/hosts"])
        self.host.run(["mount", "--bind", str(resolver), "/etc/resolv.conf"])
        self.apply()

    def come(self, what: str) -> None:
        self.missing.discard(what)
        self.apply()

    def apply(self) -> None:
        run, network = self.host.run, self.mesh.network
        if self._changes("interface"):
            old, new = (AWAY, UPLINK) if self._has["interface"] else (UPLINK, AWAY)
            run(["ip", "link", "set", old, "down"])
            run(["ip", "link", "set", old, "name", new])
            if self._has["interface"]:
                run(["ip", "link", "set", new, "up"])
        if self._has["interface"]:
            if "address" in self.missing:
                run(["ip", "address", "flush", "dev", UPLINK])
            else:
                run(["ip", "address", "replace", f"{network.address(NODE)}/24", "dev", UPLINK])
                if "route" not in self.missing:
                    run(["ip", "route", "replace", "default", "via", network.address("n1")])
        if self._changes("disk"):
            mode = "rw" if self._has["disk"] else "ro"
            run(["mount", "-o", f"remount,bind,{mode}", "/var/lib/wgmesh"])
        if self._changes("bootstrap"):
            agent = self.mesh.agents["n1"]
            if self._has["bootstrap"]:
                agent.start()
                agent.wait_until_ready()
            else:
                agent.kill()
        if "clock" in self.missing:
            self.clock_unset.touch()
        else:
            self.clock_unset.unlink(missing_ok=True)
        if "name" not in self.missing:
            self._hosts.write_text(f"127.0.0.1 localhost\n{SERVICE} {NAME}\n")

    def _changes(self, what: str) -> bool:
        before, self._has[what] = self._has[what], what not in self.missing
        return before != self._has[what]


def run(seed: int) -> tuple[float, str]:
    """Seconds from the last thing's coming until the host is a member with all links, and what happened.

    Raises:
        AssertionError: its agent ended, was no member in time, or said the same again and again.
    """
    rng = random.Random(seed)
    tls, remembered = rng.random() < 0.5, rng.random() < 0.5
    things = [*ALWAYS, *(WITH_TLS if tls else WITHOUT_TLS)]
    order = tuple(rng.sample(things, rng.randint(2, len(things))))
    said = f"{'remembered' if remembered else 'new'}, {'TLS' if tls else '-dev'}, without {', '.join(order)}"
    with lab_network() as network:
        mesh = Mesh(network, tls=tls)
        mesh.start(2)
        network.hosts["n1"].run(["ip", "address", "add", f"{SERVICE}/32", "dev", "lo"])
        host = network.add_host(NODE)
        timeout = WITHOUT_BOOTSTRAP_SECONDS if "bootstrap" in order else JOIN_TIMEOUT_SECONDS
        agent = _agent(mesh, host, timeout, tls=tls)
        if remembered:
            _become_a_member(mesh, host, agent)
            host = network.reboot(NODE)
            agent = _agent(mesh, host, timeout, tls=tls)
        boot = Boot(mesh, host, order)
        boot.prepare()
        mesh.agents[NODE] = agent
        agent.log.unlink(missing_ok=True)
        begun = time.monotonic()
        host.run([*PROGRAM, "version"])
        slow = time.monotonic() - begun
        agent.start()
        until(
            lambda: said_so_far(agent) or None,
            60,
            lambda: f"{said}: the agent says what it lacks: {agent.said()}",
        )
        for what in order:
            time.sleep(GAP_SECONDS)
            assert agent.runs(), f"{said}: the agent ended: {agent.said()}"
            boot.come(what)
        begun = time.monotonic()
        try:
            mesh.wait_until_full(seconds=BOUND_SECONDS + 10 * slow)
        except LabError as error:
            raise AssertionError(f"{said}: {error}\n{agent.said()}") from error
        took = time.monotonic() - begun
        told = said_so_far(agent)
        # One for what is missing at first, and one whenever it is something else.
        assert len(told) <= 2 * len(order) + 1, f"{said}: {told}"
        assert state_file(mesh, NODE, "mesh.json").exists()
        return took, said


def said_so_far(agent: Agent) -> list[str]:
    """What the agent logged of what it waits for."""
    lines = agent.said(100_000).splitlines()
    return [line for line in lines if "waiting" in line or "join via bootstrap node failed" in line]


def _agent(mesh: Mesh, host: Host, timeout_seconds: int, *, tls: bool) -> Agent:
    target = mesh.service_address("n1") if tls else f"{NAME}:{mesh.service_port}"
    unset = mesh.network.folder / "clock-unset"
    arguments = [
        "join",
        "-v",
        "-n",
        mesh.name,
        "-node-name",
        NODE,
        "--backend",
        mesh.backend,
        "-agent-grpc-bind-socket",
        mesh.socket,
        *mesh.join_tls(NODE),
        "-bootstrap-addr",
        target,
        "-listen-addr",
        UPLINK,
        "--join-timeout",
        str(timeout_seconds),
    ]
    program = (sys.executable, str(Path(__file__).with_name("late_clock.py")), str(unset)) if tls else PROGRAM
    return Late(host, arguments, program, socket=mesh.socket)


class Late(Agent):
    """An agent of another program than the command line's own."""

    def __init__(self, host: Host, arguments: list[str], program: tuple[str, ...], *, socket: str) -> None:
        super().__init__(host, arguments, socket=socket)
        self._program = program

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._process = self.host.popen([*self._program, *self.arguments], output, {**os.environ})


def _become_a_member(mesh: Mesh, host: Host, agent: Agent) -> None:
    boot = Boot(mesh, host, ())
    boot.prepare()
    mesh.agents[NODE] = agent
    agent.start()
    agent.wait_until_ready()
    mesh.wait_until_full()
