"""Schedules carried out on real agents: hosts made of namespaces, real WireGuard, cuts by nftables.

Loss comes from nftables too, and where the kernel has netem all weather from that: delay, duplicates and reordering.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import combinations

from tests.chaos.fault_catalogue import HOSTS_BOUND_SECONDS
from tests.chaos.host_observer import LabHosts, Watching
from tests.chaos.invariants import Broken
from tests.chaos.netem_model import longest_silence, netem, silence
from tests.chaos.schedule import Fault, Kind, Schedule
from tests.netns.mesh_harness import Pinging, lab_network, pinging, saved_members

from wgmesh_agent.lab.command import LabError
from wgmesh_agent.lab.mesh import Mesh
from wgmesh_agent.lab.network import UPLINK

TABLE = "chaos"
DISK_BYTES = 4 << 20
LOOK_SECONDS = 0.5
REMEMBERED_SECONDS = 20.0
STARTED_SECONDS = 120.0
BREAKS_LINKS = frozenset({Kind.REBOOT, Kind.BOOTSTRAPS, Kind.TRUNCATE})
"""Kinds after which a node's tunnels, or its key, are new."""


class Run:
    """One schedule on one mesh; `has_netem`: the kernel can make every kind of weather."""

    def __init__(self, schedule: Schedule, mesh: Mesh, *, has_netem: bool) -> None:
        self.schedule = schedule
        self.mesh = mesh
        self._has_netem = has_netem
        self._watching = Watching(LabHosts(mesh), schedule.nodes)
        self._down: set[str] = set()
        self._blocked: dict[Fault, list[tuple[str, str]]] = {}
        self._weather: list[Fault] = []

    def form(self) -> None:
        """The mesh as the schedule has it at its start."""
        mesh, founder = self.mesh, self.schedule.nodes[0]
        mesh.bootstrap(founder)
        for node in self.schedule.bootstraps[1:]:
            mesh.bootstrap(node, "-bootstrap-addr", mesh.service_address(founder))
        for node in self.schedule.nodes[len(self.schedule.bootstraps) :]:
            mesh.join(node, bootstraps=self.schedule.bootstraps)
        mesh.wait_until_full(seconds=STARTED_SECONDS)
        everybody = set(self.schedule.nodes)
        deadline = time.monotonic() + REMEMBERED_SECONDS
        while any(saved_members(mesh, node) != everybody - {node} for node in everybody):
            if time.monotonic() > deadline:
                raise Broken("not all members were remembered")
            time.sleep(LOOK_SECONDS)
        self._watching.keep(everybody - self._broken())

    def carry_out(self) -> float:
        """All faults, and the time until the mesh is whole again, in seconds."""
        begun = time.monotonic()
        for when, act in sorted(self._acts(), key=lambda act: act[0]):
            while (left := begun + when - time.monotonic()) > 0:
                time.sleep(min(LOOK_SECONDS, left))
                self.look()
            act()
        ended = time.monotonic()
        while missing := self._missing():
            if time.monotonic() - ended > HOSTS_BOUND_SECONDS:
                raise Broken(f"not whole again within {HOSTS_BOUND_SECONDS:g} s: {'; '.join(missing[:8])}")
            self.look()
        return time.monotonic() - ended

    def look(self) -> None:
        """Raises Broken."""
        self._watching.look([node for node in self.schedule.nodes if node not in self._down])

    def healthy_pairs(self) -> list[tuple[str, str]]:
        """Pairs that no fault comes between but the weather: agents may die there, their links may not."""
        broken = self._broken()
        cut = {frozenset(pair) for fault in self.schedule.faults for pair in self._cuts(fault)}
        left = [node for node in self.schedule.nodes if node not in broken]
        return [pair for pair in combinations(left, 2) if frozenset(pair) not in cut]

    def _broken(self) -> set[str]:
        return {node for fault in self.schedule.faults if fault.kind in BREAKS_LINKS for node in fault.whom}

    # Faults

    def _acts(self) -> Iterator[tuple[float, Callable[[], None]]]:
        for fault in self.schedule.faults:
            begin, end = self._acts_of(fault)
            yield fault.at, begin
            yield fault.end, end
            if fault.kind is Kind.STORM:
                when = fault.amount
                while when < fault.seconds - 1:
                    yield fault.at + when, end
                    yield fault.at + when + fault.amount / 2, begin
                    when += fault.amount
            if fault.kind is Kind.BOOTSTRAPS:
                yield fault.at + fault.seconds / 2, lambda fault=fault: self._promote(fault)  # type: ignore[misc]

    def _acts_of(self, fault: Fault) -> tuple[Callable[[], None], Callable[[], None]]:
        match fault.kind:
            case Kind.PARTITION | Kind.PARTIAL | Kind.ONE_WAY:
                return lambda: self._cut(fault, True), lambda: self._cut(fault, False)
            case Kind.LOSS | Kind.DELAY | Kind.DUPLICATE | Kind.REORDER if (
                self._has_netem or fault.kind is Kind.LOSS
            ):
                return lambda: self._change_weather(fault, True), lambda: self._change_weather(fault, False)
            case Kind.KILL | Kind.STORM:
                return lambda: self._kill(fault.whom), lambda: self._start(fault.whom)
            case Kind.REBOOT:
                return lambda: self._power_off(fault.whom), lambda: self._power_on(fault.whom)
            case Kind.TRUNCATE:
                return lambda: self._truncate(fault), lambda: self._start(fault.whom)
            case Kind.DISK_FULL:
                return lambda: self._fill(fault.whom), lambda: self._empty(fault.whom)
            case Kind.BOOTSTRAPS:
                return lambda: self._lose_machines(fault.whom), lambda: self._replace(fault)
        raise ValueError(f"this ground cannot make the fault {fault.kind}")

    def _cuts(self, fault: Fault) -> list[tuple[str, str]]:
        """Sources and targets between which nothing passes."""
        others = [node for node in self.schedule.nodes if node not in fault.whom]
        match fault.kind:
            case Kind.PARTITION:
                return [pair for a in fault.whom for b in others for pair in ((a, b), (b, a))]
            case Kind.PARTIAL:
                return [pair for a in fault.whom for b in fault.others for pair in ((a, b), (b, a))]
            case Kind.ONE_WAY:
                return [(a, b) for a in fault.whom for b in fault.others]
        return []

    def _cut(self, fault: Fault, begins: bool) -> None:
        if begins:
            self._blocked[fault] = self._cuts(fault)
        else:
            del self._blocked[fault]
        self._set_rules()

    def _change_weather(self, fault: Fault, begins: bool) -> None:
        if begins:
            self._weather.append(fault)
        else:
            self._weather.remove(fault)
        self._set_rules()

    def _set_rules(self) -> None:
        """Each host drops what must not reach it, in a table of its own, replaced as a whole; netem does the rest."""
        for node in self.schedule.nodes:
            if node not in self._down:
                self.mesh.network.hosts[node].run(
                    ["nft", "-f", "-"], text="\n".join(self._rules(node)) + "\n"
                )
                if self._has_netem:
                    # Replaced by its like it keeps its queue: packets that are on their way.
                    command = ["tc", "qdisc", "replace", "dev", UPLINK, "root", "netem"]
                    self.mesh.network.hosts[node].run([*command, *netem(self._weather)])

    def _rules(self, node: str) -> Iterator[str]:
        yield from (f"add table inet {TABLE}", f"delete table inet {TABLE}", f"add table inet {TABLE}")
        yield f"add chain inet {TABLE} input {{ type filter hook input priority -200; }}"
        rule = f"add rule inet {TABLE} input iifname {UPLINK}"
        for pairs in self._blocked.values():
            for source, target in pairs:
                if target == node:
                    yield f"{rule} ip saddr {self.mesh.network.address(source)} drop"
        for fault in self._weather if not self._has_netem else ():
            yield f"{rule} numgen random mod 1000 < {round(1000 * fault.amount)} drop"

    def _kill(self, nodes: tuple[str, ...]) -> None:
        for node in nodes:
            if node not in self._down and self.mesh.agents[node].runs():
                self.mesh.agents[node].kill()

    def _start(self, nodes: tuple[str, ...]) -> None:
        for node in nodes:
            if node not in self._down and not self.mesh.agents[node].runs():
                self.mesh.agents[node].start()

    def _power_off(self, nodes: tuple[str, ...]) -> None:
        for node in nodes:
            self._down.add(node)
            self.mesh.network.hosts[node].kill()

    def _power_on(self, nodes: tuple[str, ...]) -> None:
        for node in nodes:
            self.mesh.network.reboot(node)
            self._down.discard(node)
        self._set_rules()
        self._start(nodes)

    def _truncate(self, fault: Fault) -> None:
        self._kill(fault.whom)
        for node in fault.whom:
            path = self.mesh.network.hosts[node].disk / self.mesh.name / fault.file
            if path.exists():
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def _fill(self, nodes: tuple[str, ...]) -> None:
        for node in nodes:
            filler = ["dd", "if=/dev/zero", "of=/var/lib/wgmesh/filler", "bs=4096"]
            self.mesh.network.hosts[node].run(filler, check=False)

    def _empty(self, nodes: tuple[str, ...]) -> None:
        for node in nodes:
            (self.mesh.network.hosts[node].disk / "filler").unlink(missing_ok=True)
            # An agent started during the fault found no space and terminated; its supervisor keeps retrying.
            if node not in self._down and not self.mesh.agents[node].runs():
                self.mesh.agents[node].start()

    def _lose_machines(self, nodes: tuple[str, ...]) -> None:
        self._power_off(nodes)
        for node in nodes:
            shutil.rmtree(self.mesh.network.hosts[node].disk / self.mesh.name, ignore_errors=True)

    def _promote(self, fault: Fault) -> None:
        """A person makes plain nodes bootstrap nodes, with certificates that say so."""
        for node in fault.others:
            self._kill((node,))
            (self.mesh.network.folder / f"certificates-{self.mesh.name}" / f"{node}.key").unlink()
            doors = [other for other in fault.others if other != node] or list(fault.whom)
            self.mesh.bootstrap(node, "-bootstrap-addr", ",".join(map(self.mesh.service_address, doors)))

    def _replace(self, fault: Fault) -> None:
        for node in fault.whom:
            self.mesh.network.reboot(node)
            self._down.discard(node)
        self._set_rules()
        for node in fault.whom:
            doors = ",".join(map(self.mesh.service_address, fault.others))
            self.mesh.bootstrap(node, "-bootstrap-addr", doors)

    def _missing(self) -> list[str]:
        missing = self.mesh.missing_links(set(self.schedule.nodes))
        return missing or [
            f"no ping from {here} to {there}"
            for (here, there), pings in self.mesh.ping_matrix(list(self.schedule.nodes)).items()
            if pings.lost
        ]


def run(schedule: Schedule, *, has_netem: bool = False) -> tuple[float, str]:
    """A schedule from start to end: seconds to the full mesh, and a few words. Raises Broken with how to repeat it."""
    try:
        with ExitStack() as stack:
            network = stack.enter_context(lab_network())
            for node in schedule.nodes:
                _small_disk(stack, network.folder / node)
                network.add_host(node)
            mesh = Mesh(network)
            run = Run(schedule, mesh, has_netem=has_netem)
            run.form()
            pairs = run.healthy_pairs()
            pings: list[Pinging]
            with pinging(mesh, *pairs) as pings:
                took = run.carry_out()
            return took, _judged(schedule, dict(zip(pairs, pings, strict=True)))
    except (Broken, LabError) as error:
        ground = "kernel" if has_netem else "netns"
        again = f"again: .venv/bin/python tests/chaos/run.py {ground} --seed {schedule.seed}"
        raise Broken(f"{error}\n{schedule}\n{again}") from error


def _judged(schedule: Schedule, pings: dict[tuple[str, str], Pinging]) -> str:
    """What is to be said of healthy links. Raises Broken if one was interrupted."""
    loss = max((fault.amount for fault in schedule.faults if fault.kind is Kind.LOSS), default=0.0)
    allowed = longest_silence(loss)
    worst = {pair: silence(ping.answered()) for pair, ping in pings.items()}
    interrupted = {pair: pings for pair, pings in worst.items() if pings > allowed}
    if interrupted:
        raise Broken(
            f"between healthy nodes more pings in a row were lost than the {allowed} that the weather "
            f"explains: {interrupted}"
        )
    said = f"at most {max(worst.values(), default=0)} pings in a row lost" if loss else "without a lost ping"
    return f"{len(pings)} healthy links {said}"


def _small_disk(stack: ExitStack, disk: object) -> None:
    """Its own disk, which can be full without harm to others."""
    subprocess.run(["mkdir", "-p", str(disk)], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)], check=True)
    # Hosts that still run hold it; it goes with the last of them.
    stack.callback(subprocess.run, ["umount", "--lazy", str(disk)], check=True)
