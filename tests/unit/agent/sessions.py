"""A session as an agent runs one, on the loopback: gossip and sockets are real, WireGuard and routes are not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from ipaddress import ip_address, ip_network
from pathlib import Path

import grpc
from tests.unit.factories import mesh_record
from tests.unit.machine import PlayedMachine, played_platform
from tests.unit.node import CONFIG, ENDPOINT, KEY, MEMBER, lookup
from tests.unit.policies import standalone
from tests.unit.waiting import DEADLINE_SECONDS, until

from wgmesh_agent.agent.session import Session
from wgmesh_agent.agent.session_end import SessionOutcome
from wgmesh_agent.agent.session_start import NodeStart, SessionConfig
from wgmesh_agent.linux.backends.backend_selection import SelectedBackend
from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.runtime.clock import SystemClock
from wgmesh_agent.runtime.log_levels import LogFormat, Verbosity
from wgmesh_agent.runtime.supervisor import Component
from wgmesh_agent.settings.model import BackendChoice, NodeSettings
from wgmesh_agent.state.store import StateStore
from wgmesh_agent.wireguard.backend import Backend, BackendKind
from wgmesh_agent.wireguard.memory_backend import MemoryBackend
from wgmesh_api.agent_pb2_grpc import AgentStub

ADDRESS = ip_address("127.0.0.1")


class CountedBackend(MemoryBackend):
    """Counts how often it was taken from the machine."""

    destroyed = 0

    async def destroy(self) -> None:
        self.destroyed += 1
        await super().destroy()


class OneBackend(SelectedBackend):
    """The same in-memory WireGuard for every caller."""

    backend_made: MemoryBackend

    def backend(self, name: str, **_: object) -> Backend:
        return self.backend_made


class SessionHarness:
    """One session of the mesh blue. `machine` is what it runs on, `backend` its WireGuard."""

    def __init__(
        self,
        folder: Path,
        *,
        role: SessionConfig = MEMBER,
        companions: Callable[[Session], Iterable[Component]] = lambda session: (),
        log_format: LogFormat = LogFormat.JSON,
        memberlist_file: Path | None = None,
    ) -> None:
        self.socket = folder / "agent.sock"
        self.machine = PlayedMachine()
        self.backend = CountedBackend(CONFIG.interface, lambda: 0.0)
        self.store = StateStore(folder, "blue")
        self.stop, self.leave = asyncio.Event(), asyncio.Event()
        record = mesh_record(
            node="alpha",
            addresses=(ADDRESS,),
            ranges=(ip_network("127.0.0.0/8"),),
            gossip_port=free_ports(),
            bootstrap=role.bind is not None,
        )
        settings = NodeSettings(
            mesh_name="blue",
            node_name="alpha",
            listen_addr=None,
            listen_port=CONFIG.listen_port,
            memberlist_file=memberlist_file,
            agent_socket=self.socket,
            agent_socket_owner=None,
            dev=True,
            backend=BackendChoice.AUTO,
            stun_server=None,
            state_dir=folder,
            log_format=log_format,
            verbosity=Verbosity.DEFAULT,
        )
        selected = OneBackend(BackendKind.KERNEL, "a test")
        object.__setattr__(selected, "backend_made", self.backend)
        self.session = Session(
            settings,
            NodeStart(CONFIG, record, KEY, ENDPOINT, lookup, role),
            standalone(),
            self.store,
            selected,
            companions,
            played_platform(self.machine, SystemClock()),
        )

    @contextlib.asynccontextmanager
    async def running(self, *peers: Claim) -> AsyncIterator[asyncio.Task[SessionOutcome]]:
        """Once the agent's socket is there; ends with the session."""
        task = asyncio.create_task(self.session.run(self.stop, self.leave, peers, fresh=False))
        try:
            await until(lambda: self.session.has_started or task.done())
            yield task
        finally:
            self.stop.set()
            await asyncio.wait([task], timeout=DEADLINE_SECONDS)
            self.store.close()

    @contextlib.asynccontextmanager
    async def asked(self, *peers: Claim) -> AsyncIterator[AgentStub]:
        """Its socket, as the command line asks it."""
        async with self.running(*peers), grpc.aio.insecure_channel(f"unix:{self.socket}") as channel:
            yield AgentStub(channel)  # type: ignore[no-untyped-call]


def free_ports() -> int:
    """A port of the loopback that is free for TCP and UDP, and the next one for UDP."""
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probes,
            contextlib.suppress(OSError),
        ):
            tcp.bind((str(ADDRESS), 0))
            port: int = tcp.getsockname()[1]
            udp.bind((str(ADDRESS), port))
            probes.bind((str(ADDRESS), port + 1))
            return port
