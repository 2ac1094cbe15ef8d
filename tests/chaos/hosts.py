"""Schedules carried out on real agents: hosts made of namespaces, real WireGuard, cuts and loss by nftables."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_network
from itertools import combinations

from tests.chaos.invariants import Broken
from tests.chaos.menus import NETNS_BOUND_SECONDS
from tests.chaos.schedule import Fault, Kind, Schedule
from tests.netns.mesh_ground import Pinging, has_interface, lab_network, pinging, saved_members, wireguard

from wgmesh_agent.lab.command import LabError
from wgmesh_agent.lab.mesh import Mesh

TABLE = "chaos"
DISK_BYTES = 4 << 20
LOOK_SECONDS = 0.5
REMEMBERED_SECONDS = 20.0
STARTED_SECONDS = 40.0
BREAKS_LINKS = frozenset({Kind.REBOOT, Kind.BOOTSTRAPS, Kind.TRUNCATE})
"""Kinds after which a node's tunnels, or its key, are new."""


class Run:
    """One schedule on one mesh."""

    def __init__(self, schedule: Schedule, mesh: Mesh) -> None:
        self.schedule = schedule
        self.mesh = mesh
        self._down: set[str] = set()
        self._blocked: dict[Fault, list[tuple[str, str]]] = {}
        self._losing: dict[Fault, float] = {}
        self._peers: dict[str, set[str]] = {}
        self._looks = 0

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
        broken = {node for fault in self.schedule.faults if fault.kind in BREAKS_LINKS for node in fault.whom}
        keys = {node: wireguard(mesh.network.hosts[node]).public_key for node in everybody - broken}
        self._peers = {node: set(keys.values()) - {keys[node]} for node in keys}

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
            if time.monotonic() - ended > NETNS_BOUND_SECONDS:
                raise Broken(f"not whole again within {NETNS_BOUND_SECONDS:g} s: {'; '.join(missing[:8])}")
            self.look()
        return time.monotonic() - ended

    def look(self) -> None:
        """No ranges that overlap, and no peer of a healthy link missing. Raises Broken."""
        self._looks += 1
        for node in self.schedule.nodes:
            host = self.mesh.network.hosts[node]
            if node in self._down or not has_interface(host):
                continue
            tunnels = wireguard(host).tunnels
            ranges = [
                ip_network(one)
                for tunnel in tunnels.values()
                for one in tunnel.allowed_ips
                if one != "(none)"
            ]
            for one, other in combinations(ranges, 2):
                if one.version == other.version and one.overlaps(other):
                    raise Broken(f"{node} has ranges that overlap: {one} and {other}")
            lost = self._peers.get(node, set()) - tunnels.keys()
            if lost:
                raise Broken(f"{node} lost the peers {sorted(lost)}")

    def healthy_pairs(self) -> list[tuple[str, str]]:
        """Pairs that no fault of the schedule comes between: agents may die there, packets may not."""
        if any(fault.kind is Kind.LOSS for fault in self.schedule.faults):
            return []
        broken = {node for fault in self.schedule.faults if fault.kind in BREAKS_LINKS for node in fault.whom}
        cut = {frozenset(pair) for fault in self.schedule.faults for pair in self._cuts(fault)}
        left = [node for node in self.schedule.nodes if node not in broken]
        return [pair for pair in combinations(left, 2) if frozenset(pair) not in cut]

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
            case Kind.LOSS:
                return lambda: self._lose(fault, True), lambda: self._lose(fault, False)
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

    def _lose(self, fault: Fault, begins: bool) -> None:
        if begins:
            self._losing[fault] = fault.amount
        else:
            del self._losing[fault]
        self._set_rules()

    def _set_rules(self) -> None:
        """Each host drops what must not reach it, in a table of its own, replaced as a whole."""
        for node in self.schedule.nodes:
            if node in self._down:
                continue
            rules = [f"add table inet {TABLE}", f"delete table inet {TABLE}", f"add table inet {TABLE}",
                     f"add chain inet {TABLE} input {{ type filter hook input priority -200; }}"]  # fmt: skip
            for pairs in self._blocked.values():
                rules += [
                    f"add rule inet {TABLE} input iifname eth0 ip saddr {self.mesh.network.address(a)} drop"
                    for a, b in pairs
                    if b == node
                ]
            rules += [
                f"add rule inet {TABLE} input iifname eth0 numgen random mod 1000 < {round(1000 * share)} drop"
                for share in self._losing.values()
            ]
            self.mesh.network.hosts[node].run(["nft", "-f", "-"], text="\n".join(rules) + "\n")

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
            # Whoever started meanwhile found no room and ended; its supervisor goes on trying.
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


def run(schedule: Schedule) -> tuple[float, str]:
    """A schedule from start to end: seconds to the full mesh, and a few words. Raises Broken with how to repeat it."""
    try:
        with ExitStack() as stack:
            network = stack.enter_context(lab_network())
            for node in schedule.nodes:
                _small_disk(stack, network.folder / node)
                network.add_host(node)
            mesh = Mesh(network)
            run = Run(schedule, mesh)
            run.form()
            pairs = run.healthy_pairs()
            pings: list[Pinging]
            with pinging(mesh, *pairs) as pings:
                took = run.carry_out()
            lost = {pair: ping.lost() for pair, ping in zip(pairs, pings, strict=True) if ping.lost()}
            if lost:
                raise Broken(f"pings between healthy nodes were lost: {lost}")
            return took, f"{len(pairs)} healthy links without a lost ping"
    except (Broken, LabError) as error:
        again = f"again: .venv/bin/python tests/chaos/run.py netns --seed {schedule.seed}"
        raise Broken(f"{error}\n{schedule}\n{again}") from error


def _small_disk(stack: ExitStack, disk: object) -> None:
    """A disk of its own, which can be full without harm to anybody else."""
    subprocess.run(["mkdir", "-p", str(disk)], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)], check=True)
    # Hosts that still run hold it; it goes with the last of them.
    stack.callback(subprocess.run, ["umount", "--lazy", str(disk)], check=True)
