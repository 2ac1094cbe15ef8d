"""A machine in virtual time: its disk, clock and tunnel, what listens on it, and the agent that runs there or not."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import random
import shutil
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol

from tests.chaos.streams import Opening, Received, Reply, VirtualStreams
from tests.chaos.tunnel import Packet, Tunnel, underlay_address
from tests.chaos.underlay import Underlay
from tests.chaos.virtual_loop import EPOCH_UNIX, OFFSET, VirtualLoop

from wgmesh_agent.agent.launch import LaunchPlan, _start
from wgmesh_agent.agent.run import FORESEEABLE, _private_key
from wgmesh_agent.agent.session import Session
from wgmesh_agent.agent.session_end import SessionOutcome
from wgmesh_agent.agent.session_start import SessionStart
from wgmesh_agent.mesh.join.server import MeshService
from wgmesh_agent.mesh.membership.claims import Binding
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.state.store import MEMBERS, StateStore
from wgmesh_agent.wireguard.clock_steps import Span
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_agent.wireguard.model import Endpoint, IPAddress

MESH = "chaos"
PORT = 54540
RESTART_SECONDS = 5.0
"""After which a supervisor starts an agent that ended by itself."""
LIFE: contextvars.ContextVar[Life] = contextvars.ContextVar("whose code runs")

Listener = Callable[[bytes, tuple[str, int]], None]


@dataclass(frozen=True, slots=True)
class Datagram:
    source_port: int
    port: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Echo:
    number: int
    reply: bool = False


class Ground(Protocol):
    """What a machine needs of the world."""

    loop: VirtualLoop
    rng: random.Random
    underlay: Underlay

    def number_of(self, name: str) -> int: ...

    def name_at(self, address: IPAddress) -> str | None: ...

    def machine(self, name: str) -> Machine | None: ...

    def session_of(self, life: Life, key: PrivateKey, start: SessionStart, folder: StateStore) -> Session: ...

    def made(self, life: Life, key: PrivateKey) -> None: ...

    def crashed(self, life: Life, error: BaseException) -> None: ...


class Machine:
    """One machine with an interface of its own; `boot` before anything else."""

    def __init__(self, ground: Ground, name: str, disk: Path) -> None:
        self.ground = ground
        self.name = name
        self.disk = disk
        self.address = underlay_address(ground.number_of(name))
        self.endpoint = Endpoint(self.address, PORT)
        self.clock_offset = 0.0
        self.disk_full = False
        self.boots = 0
        self.life: Life | None = None
        self.service: MeshService | None = None
        self.listeners: dict[int, tuple[Life, Listener]] = {}
        self.streams: tuple[Life, VirtualStreams] | None = None
        self.answered: set[int] = set()
        self.old_snapshot: bytes | None = None
        self.tunnel = Tunnel(ground.loop, ground.rng, self.wall, self._wire, self._deliver)

    def wall(self) -> float:
        """Its wall clock: unix seconds."""
        return EPOCH_UNIX + self.ground.loop.time() + self.clock_offset

    @property
    def is_up(self) -> bool:
        return self.ground.underlay.is_plugged(self.name)

    @property
    def session(self) -> Session | None:
        """Of the agent that runs; None while none does."""
        return self.life.session if self.life is not None else None

    @property
    def state(self) -> Path:
        """The mesh's own folder."""
        return self.disk / MESH

    def boot(self) -> None:
        self.boots += 1
        self.ground.underlay.plug(self.name, self._receive)

    def start(self, plan: LaunchPlan) -> None:
        """Starts an agent, unless one runs."""
        if self.life is None and self.is_up:
            self.life = Life(self, plan)

    def kill(self) -> None:
        """As SIGKILL does: nothing of the agent happens any more."""
        life, self.life = self.life, None
        if life is not None:
            life.kill()
        self.service = self.streams = None
        self.listeners.clear()

    def power_off(self) -> None:
        """The disk stays, with what was written."""
        self.kill()
        self.ground.underlay.unplug(self.name)
        self.tunnel.destroy()

    def wipe(self) -> None:
        """The disk is lost."""
        shutil.rmtree(self.disk, ignore_errors=True)
        self.disk.mkdir(parents=True)

    def keep_snapshot(self) -> None:
        """Remembers the member snapshot as it is now, to bring it back when it is old."""
        path = self.state / MEMBERS
        self.old_snapshot = path.read_bytes() if path.exists() else None

    # What is sent from here

    def ping(self, target: IPAddress, number: int) -> None:
        """The answer's number shows up in `answered`."""
        self.send(target, Echo(number))

    def send(self, target: IPAddress, payload: object) -> bool:
        """A packet through the tunnel; False if there is no peer for it."""
        spec = self.tunnel.spec
        return spec is not None and self.tunnel.send(Packet(spec.addresses[0].ip, target, payload))

    def knock(self, addresses: Iterable[IPAddress]) -> None:
        """In an order that does not depend on hashes."""
        for address in sorted(addresses, key=int):
            self.send(address, Datagram(0, 9, b"\0"))

    def _wire(self, endpoint: Endpoint, message: object) -> None:
        target = self.ground.name_at(endpoint.address)
        if target is not None and endpoint.port == PORT:
            self.ground.underlay.send(self.name, target, message)

    # What arrives here

    def _receive(self, source: str, message: object) -> None:
        self.tunnel.receive(message, Endpoint(underlay_address(self.ground.number_of(source)), PORT))

    def _deliver(self, packet: Packet) -> None:
        match packet.payload:
            case Echo(number, reply=False):
                self.send(packet.source, Echo(number, reply=True))
            case Echo(number):
                self.answered.add(number)
            case Datagram(source_port, port, data) if port in self.listeners:
                life, listener = self.listeners[port]
                life.soon(listener, data, (str(packet.source), source_port))
            case Opening(number) if self.streams is None:
                self.send(packet.source, Reply(number, None))
            case Opening() | Reply() | Received() if self.streams is not None:
                life, streams = self.streams
                life.soon(streams.receive, packet.source, packet.payload)


class Life:
    """One process of an agent, from its start to its end or its death."""

    def __init__(self, machine: Machine, plan: LaunchPlan) -> None:
        self.machine = machine
        self.plan = plan
        self.is_dead = False
        self.session: Session | None = None
        self._calls: set[asyncio.Task[Any]] = set()
        self._context = contextvars.copy_context()
        self._context.run(LIFE.set, self)
        self._context.run(OFFSET.set, lambda: machine.clock_offset)
        self._task = self.task(self._run())

    def task(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Work in this process, which ends with it."""
        task = self.machine.ground.loop.create_task(work, context=self._context)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return task

    def soon(self, callback: Callable[..., None], *args: object) -> None:
        """Something came in for this process."""
        self.machine.ground.loop.call_soon(self._when_alive, callback, args, context=self._context)

    def kill(self) -> None:
        self.is_dead = True
        for task in list(self._calls):
            task.cancel()

    def _when_alive(self, callback: Callable[..., None], args: tuple[object, ...]) -> None:
        if not self.is_dead:
            callback(*args)

    async def _run(self) -> None:
        machine = self.machine
        try:
            folder = Disk(self)
            try:
                key, is_new_key = _private_key(folder)
                machine.ground.made(self, key)
                start: SessionStart | None = await _start(self.plan, folder, key, is_new_key)
                while start is not None:
                    session = machine.ground.session_of(self, key, start, folder)
                    self.session = session
                    end = await session.run(asyncio.Event(), asyncio.Event(), start.peers, fresh=start.fresh)
                    start = session.end.next_start if end is SessionOutcome.RESTARTED else None
            finally:
                folder.close()
        except Exception as error:
            if not self.is_dead:
                machine.ground.crashed(self, error)
                machine.kill()
                if isinstance(error, FORESEEABLE):
                    machine.ground.loop.call_later(RESTART_SECONDS, machine.start, self.plan)


class Disk(StateStore):
    """The real state folder, on a disk that may be full; a dead process writes nothing."""

    def __init__(self, life: Life) -> None:
        self._life = life
        super().__init__(life.machine.disk, MESH)

    def save_mesh(self, record: MeshRecord) -> None:
        if self._may_write():
            super().save_mesh(record)

    def save_members(self, bindings: Iterable[Binding]) -> None:
        if self._may_write():
            super().save_members(bindings)

    def save_clock_steps(self, spans: Sequence[Span]) -> bool:
        return not self._life.machine.disk_full and not self._life.is_dead and super().save_clock_steps(spans)

    def _may_write(self) -> bool:
        if self._life.machine.disk_full and not self._life.is_dead:
            raise OSError(errno.ENOSPC, "No space left on device", str(self.path))
        return not self._life.is_dead


@lru_cache(maxsize=1024)
def _parsed(address: str) -> IPAddress:
    return ip_address(address)


def current() -> Life:
    """The process whose code runs."""
    return LIFE.get()


class VirtualSocket:
    """A bound UDP port of the process that made it."""

    def __init__(self, port: int, listener: Listener) -> None:
        self._life = current()
        self._port = port
        self._life.machine.listeners[port] = self._life, listener

    def sendto(self, data: bytes, address: tuple[str, int]) -> None:
        if not self._life.is_dead:
            self._life.machine.send(_parsed(address[0]), Datagram(self._port, address[1], bytes(data)))

    def close(self) -> None:
        listeners = self._life.machine.listeners
        if listeners.get(self._port, (None,))[0] is self._life:
            del listeners[self._port]

    def get_extra_info(self, _name: str) -> VirtualSocket:
        """The socket itself."""
        return self

    def setsockopt(self, *_: int) -> None:
        """Every path here carries every packet."""

    def fileno(self) -> int:
        """None: there is no such file."""
        return -1
