"""Real `serf agent` processes on loopback, driven by the `serf` command, for tests to live among."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

PORT = 7946
RPC_PORT = 7373
KEY = bytes(range(32))
KEY_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
DEBIAN = "/usr/bin/serf"
NEWER = Path(__file__).with_name("newer")


def programs() -> list[str]:
    """Debian's serf, and the newer one where `make serf-test` has built it."""
    newer = subprocess.run([NEWER, "-n"], capture_output=True, text=True, timeout=30, check=False)
    return [DEBIAN, *newer.stdout.split()]


def until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait, by polling, until `condition` holds; how long it took. Raises AssertionError past `seconds`."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - start


def loopback_network() -> Iterator[IPv4Address]:
    """Addresses 127.x.y.1 … that no other test process uses at the same time."""
    process = os.getpid()
    base = IPv4Address(f"127.{64 + process // 250 % 128}.{process % 250 + 1}.0")
    for index in range(1, 255):
        yield base + index


@dataclass(slots=True)
class Agent:
    """One `serf agent`; `log` is its output, `events` what its handler wrote."""

    name: str
    address: IPv4Address
    process: subprocess.Popen[bytes]
    log: Path
    events: Path
    program: str = DEBIAN

    def run(self, *command: str, check: bool = True) -> str:
        """A `serf` command against this agent; its output. Raises CalledProcessError if it fails."""
        name, *arguments = command
        done = subprocess.run(
            [self.program, name, f"-rpc-addr={self.address}:{RPC_PORT}", *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"serf {' '.join(command)} failed: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def members(self) -> dict[str, dict[str, Any]]:
        """What it lists: name, addr, port, tags, status, protocol."""
        return {
            member["name"]: member for member in json.loads(self.run("members", "-format=json"))["members"]
        }

    def status(self, name: str) -> str | None:
        """Its opinion of one member."""
        member = self.members().get(name)
        return None if member is None else str(member["status"])

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(10)


@dataclass(slots=True)
class Ground:
    """Starts agents, and ends those it started."""

    folder: Path
    program: str = DEBIAN
    addresses: Iterator[IPv4Address] = field(default_factory=loopback_network)
    agents: list[Agent] = field(default_factory=list)

    def agent(
        self,
        name: str,
        *options: str,
        tags: Mapping[str, str] | None = None,
        key: str | None = KEY_TEXT,
        handler: str | None = None,
    ) -> Agent:
        """Start an agent and wait until it answers; `handler` is a shell line run for each event and query."""
        address = next(self.addresses)
        log, events = self.folder / f"{name}.log", self.folder / f"{name}.events"
        events.touch()
        command = [
            self.program,
            "agent",
            f"-node={name}",
            f"-bind={address}:{PORT}",
            f"-rpc-addr={address}:{RPC_PORT}",
            "-profile=lan",
            "-log-level=debug",
            *(f"-tag={tag}={value}" for tag, value in (tags or {}).items()),
            *([f"-encrypt={key}"] if key else []),
            *options,
        ]
        if handler is not None:
            script = self.folder / f"{name}.sh"
            script.write_text(f"#!/bin/sh\n{handler}\n")
            script.chmod(0o755)
            command.append(f"-event-handler={script}")
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, env={**os.environ, "EVENTS": str(events)}
            )
        agent = Agent(name, address, process, log, events, self.program)
        self.agents.append(agent)
        until(lambda: self._answers(agent), 15, f"agent {name} answers")
        return agent

    def cluster(self, *names: str, **options: Any) -> list[Agent]:
        """Agents joined to the first."""
        agents = [self.agent(name, **options) for name in names]
        for agent in agents[1:]:
            agent.run("join", f"{agents[0].address}:{PORT}")
        until(
            lambda: all(len(agent.members()) == len(names) for agent in agents),
            15,
            "the agents see each other",
        )
        return agents

    @staticmethod
    def _answers(agent: Agent) -> bool:
        if agent.process.poll() is not None:
            raise AssertionError(f"agent {agent.name} ended: {agent.log.read_text()}")
        return "error" not in agent.run("members", check=False).lower()

    def close(self) -> None:
        """SIGKILL to whatever of it still runs."""
        for agent in self.agents:
            if agent.process.poll() is None:
                agent.process.send_signal(signal.SIGKILL)
                agent.process.wait(10)


@contextmanager
def ground(folder: Path, program: str = DEBIAN) -> Iterator[Ground]:
    """A ground of agents of this program that is cleared in the end."""
    made = Ground(folder, program)
    try:
        yield made
    finally:
        made.close()
