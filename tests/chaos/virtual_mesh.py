"""A mesh in virtual time that a schedule happens to: forms it, carries out the faults, looks on all the while."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from tests.chaos import certificates
from tests.chaos.faults import Faults
from tests.chaos.invariants import Broken
from tests.chaos.machine import MESH, PORT, Life, Machine, VirtualSocket
from tests.chaos.schedule import Fault, Schedule
from tests.chaos.tunnel import TunnelBackend
from tests.chaos.underlay import Underlay
from tests.chaos.virtual_adapters import virtual_platform, virtual_world
from tests.chaos.virtual_loop import EPOCH_UNIX, VirtualLoop
from tests.chaos.virtual_observer import Onlooker

from wgmesh_agent.agent.launch import LaunchPlan
from wgmesh_agent.agent.policies import Policies
from wgmesh_agent.agent.run import FORESEEABLE
from wgmesh_agent.agent.session import Session
from wgmesh_agent.agent.session_start import NodeStart, SessionConfig, SessionStart
from wgmesh_agent.linux.backends.backend_selection import SelectedBackend
from wgmesh_agent.mesh.join.bootstrap_directory import StaticBootstraps
from wgmesh_agent.mesh.join.joiner import JoinTarget
from wgmesh_agent.mesh.membership.local_node import NodeConfig
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.mesh.membership.policy import StandalonePolicy
from wgmesh_agent.mesh.rotation.key_policy import StandaloneKeyPolicy
from wgmesh_agent.runtime.log_levels import LogFormat, Verbosity
from wgmesh_agent.settings.model import BackendChoice, HostPort, NodeSettings
from wgmesh_agent.state.store import StateStore
from wgmesh_agent.wireguard.backend import Backend, BackendKind
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_agent.wireguard.model import Endpoint, IPAddress
from wgmesh_api.identity import Role

RANGE = ip_network("10.232.0.0/24")
SERVICE_PORT = 5000
BIND = HostPort("0.0.0.0", SERVICE_PORT)
LOOK_SECONDS = 0.5
FORM_SECONDS = 60.0
SETTLE_SECONDS = 5.0
CALM_SECONDS = 20.0
SHOWN_LINES = 60


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run showed: `recovery` is virtual seconds from the end of the last fault to the full mesh."""

    schedule: Schedule
    recovery: float
    pings: int
    looks: int
    trace: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice(SelectedBackend):
    """A device of the virtual machine in which it is made."""

    life: Life

    def backend(self, name: str, **_: object) -> Backend:
        return TunnelBackend(name, self.life.machine.tunnel, lambda: self.life.is_dead)


class World:
    """One run of one schedule. `bound` is how soon the mesh must be whole after the last fault's end, in seconds."""

    def __init__(self, schedule: Schedule, folder: Path, bound: float) -> None:
        self.schedule = schedule
        self.loop: VirtualLoop = VirtualLoop()
        self.rng = random.Random(schedule.seed)
        self.underlay = Underlay(self.loop, self.rng)
        self.log: list[str] = []
        self.machines: dict[str, Machine] = {}
        self._folder = folder
        self._bound = bound
        self._plans: dict[str, LaunchPlan] = {}
        self.onlooker = Onlooker(self.machines, self.underlay, self.loop, self.rng)
        self._faults = Faults(self)
        self._names: dict[IPAddress, str] = {}

    # What machines ask

    def number_of(self, name: str) -> int:
        if name not in self.machines:
            return len(self.machines) + 1
        return list(self.machines).index(name) + 1

    def name_at(self, address: IPAddress) -> str | None:
        return self._names.get(address)

    def machine(self, name: str) -> Machine | None:
        return self.machines.get(name)

    def session_of(self, life: Life, key: PrivateKey, start: SessionStart, folder: StateStore) -> Session:
        machine, record = life.machine, start.record
        self.onlooker.record.entered(machine.name, key.public(), record.addresses)

        async def endpoint(towards: Sequence[IPAddress]) -> Endpoint:
            return machine.endpoint

        return Session(
            life.plan.node,
            NodeStart(
                NodeConfig(f"wg{MESH}", PORT, 1420), record, key, machine.endpoint, endpoint, start.role
            ),
            start.policies,
            folder,
            _Choice(BackendKind.KERNEL, "virtual", life=life),
            lambda session: (),
            virtual_platform(self.loop, self.rng),
        )

    def made(self, life: Life, key: PrivateKey) -> None:
        self.onlooker.record.made(life.machine.name, key.public())

    def crashed(self, life: Life, error: BaseException) -> None:
        self.log.append(f"{self.loop.now:9.3f} {life.machine.name} ended: {type(error).__name__}: {error}")
        if not isinstance(error, FORESEEABLE):
            self.onlooker.broken.append(
                f"the agent of {life.machine.name} died: {type(error).__name__}: {error}"
            )

    # A run

    def run(self) -> Outcome:
        """Raises Broken."""
        self.loop.bind = VirtualSocket
        asyncio.set_event_loop(self.loop)
        try:
            with virtual_world(self.loop, self.rng, self.log):
                return self.loop.run_until_complete(self._run())
        except Broken as error:
            said = "\n".join(self.log[-SHOWN_LINES:])
            raise Broken(f"{error}\n{self.schedule}\n{said}\n{how_to_repeat(self.schedule)}") from None
        finally:
            with virtual_world(self.loop, self.rng, self.log):
                self._end()
            asyncio.set_event_loop(None)
            self.loop.close()

    def carry_out(self, fault: Fault, begins: bool) -> None:
        """The beginning of a fault, or its end."""
        self.log.append(f"{self.loop.now:9.3f} {'begins' if begins else 'ends'}: {fault}")
        self._faults.carry_out(fault, begins)
        self.onlooker.note_clear()

    async def _run(self) -> Outcome:
        await self._form()
        begun = self.loop.time()
        for fault in self.schedule.faults:
            self.loop.call_at(begun + fault.at, self.carry_out, fault, True)
            self.loop.call_at(begun + fault.end, self.carry_out, fault, False)
        await self._look_on(self.schedule.end + 0.001)
        ended = self.loop.time()
        await self._until_whole(self._bound, "whole again")
        recovery = self.loop.time() - ended
        await self._look_on(CALM_SECONDS)
        self._must_be_whole()
        return Outcome(
            self.schedule,
            recovery,
            self.onlooker.pings,
            self.onlooker.looks,
            self._trace(),
        )

    def _trace(self) -> int:
        """The same for the same run, in whichever folder."""
        said = json.dumps([self.log, self.underlay.packets])
        return zlib.crc32(said.replace(str(self._folder), "").encode())

    async def _form(self) -> None:
        for name in self.schedule.nodes:
            self.add(name)
        founder, *others = self.schedule.nodes
        self.start(founder, self._founding(founder))
        await asyncio.sleep(1.0)
        half = len(others) // 2
        for group in (others[:half], others[half:]):
            for name in group:
                is_bootstrap = name in self.schedule.bootstraps
                doors = [b for b in self.schedule.bootstraps if b != name] if not is_bootstrap else [founder]
                plan = self.joining(name, doors, bootstrap=is_bootstrap)
                self.loop.call_later(self.rng.uniform(0.0, 1.0), self.start, name, plan)
            await asyncio.sleep(4.0)
            for machine in self.machines.values():
                machine.keep_snapshot()
        await self._until_whole(FORM_SECONDS, "formed")
        await self._look_on(SETTLE_SECONDS)

    def _end(self) -> None:
        for machine in self.machines.values():
            machine.power_off()
        pending = asyncio.all_tasks(self.loop)
        for task in pending:
            task.cancel()
        if pending:
            self.loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))

    # Plans

    def _settings(self, name: str) -> NodeSettings:
        machine = self.machines[name]
        return NodeSettings(
            mesh_name=MESH,
            node_name=name,
            listen_addr=None,
            listen_port=PORT,
            memberlist_file=None,
            agent_socket=machine.disk / "socket",
            agent_socket_owner=None,
            dev=False,
            backend=BackendChoice.AUTO,
            stun_server=None,
            state_dir=machine.disk,
            log_format=LogFormat.JSON,
            verbosity=Verbosity.DEFAULT,
        )

    def _founding(self, name: str) -> LaunchPlan:
        tls = certificates.credentials(MESH, name, Role.BOOTSTRAP)
        record = MeshRecord(
            mesh=MESH,
            node=name,
            addresses=(RANGE[1],),
            ranges=(RANGE,),
            ipam_ranges=(),
            created_unix=int(EPOCH_UNIX),
            joined_unix=int(EPOCH_UNIX),
            gossip_keys=(self.rng.randbytes(32),),
            profile="lan",
            gossip_port=7946,
            bootstrap=True,
            tags={},
            requires_admission=True,
        )
        return LaunchPlan(
            self._settings(name),
            lambda key: SessionConfig(BIND, tls, None, SERVICE_PORT),
            self.policies_of(name, ()),
            record,
            (),
            None,
            None,
            None,
        )

    def policies_of(self, name: str, bootstraps: tuple[HostPort, ...]) -> Policies:
        """What decides for the agent of this machine."""
        return Policies(StandalonePolicy(()), StandaloneKeyPolicy(), StaticBootstraps(bootstraps))

    def joining(self, name: str, doors: list[str], *, bootstrap: bool = False) -> LaunchPlan:
        """An agent that enters by the nodes of `doors`."""
        tls = certificates.credentials(MESH, name, Role.BOOTSTRAP if bootstrap else Role.NODE)
        asked = tuple(HostPort(str(self.machines[door].address), SERVICE_PORT) for door in doors)

        def role(key: PrivateKey) -> SessionConfig:
            door = JoinTarget(asked, tls, MESH, name, key.public())
            return SessionConfig(BIND if bootstrap else None, tls if bootstrap else None, door, SERVICE_PORT)

        ranges = (RANGE,) if bootstrap else ()
        return LaunchPlan(
            self._settings(name), role, self.policies_of(name, asked), None, ranges, None, None, None
        )

    def add(self, name: str) -> Machine:
        """A new machine, up and without an agent."""
        disk = self._folder / name
        disk.mkdir(parents=True)
        machine = Machine(self, name, disk)
        self.machines[name] = machine
        self._names[machine.address] = name
        machine.tunnel.changed = lambda _: self.onlooker.look_at(machine)
        machine.boot()
        return machine

    def start(self, name: str, plan: LaunchPlan | None = None) -> None:
        """Starts an agent, unless one runs: by a new plan, or as before."""
        if plan is not None:
            self._plans[name] = plan
        self.machines[name].start(self._plans[name])

    # Looking on

    async def _look_on(self, seconds: float) -> None:
        end = self.loop.time() + seconds
        while self.loop.time() < end:
            await asyncio.sleep(min(LOOK_SECONDS, end - self.loop.time()))
            self.onlooker.look()

    async def _until_whole(self, within: float, what: str) -> None:
        begun = self.loop.time()
        while missing := self.onlooker.missing():
            if self.loop.time() - begun >= within:
                raise Broken(f"not {what} within {within:g} s: " + "; ".join(missing[:8]))
            await asyncio.sleep(LOOK_SECONDS)
            self.onlooker.look()

    def _must_be_whole(self) -> None:
        missing = self.onlooker.missing()
        if missing:
            raise Broken("whole, and then not any more: " + "; ".join(missing[:8]))


def how_to_repeat(schedule: Schedule) -> str:
    """What to type to see this run again."""
    return f"again: .venv/bin/python tests/chaos/run.py virtual --seed {schedule.seed}"


def run(schedule: Schedule, bound: float) -> Outcome:
    """A schedule from its start to its end. Raises Broken."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as folder:
        return World(schedule, Path(folder), bound).run()
