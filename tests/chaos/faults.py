"""Carries out the faults of a schedule on virtual machines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.chaos.schedule import Fault, Kind
from tests.chaos.underlay import Weather

if TYPE_CHECKING:
    from tests.chaos.virtual_mesh import World


class Faults:
    """Of one world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def carry_out(self, fault: Fault, begins: bool) -> None:
        """The beginning of a fault, or its end."""
        table: dict[Kind, Callable[[Fault, bool], None]] = {
            Kind.PARTITION: self._partition,
            Kind.PARTIAL: self._partial,
            Kind.ONE_WAY: self._one_way,
            Kind.LOSS: lambda f, b: self._weather(loss=f.amount if b else 0.0),
            Kind.DELAY: self._delay,
            Kind.DUPLICATE: lambda f, b: self._weather(duplication=f.amount if b else 0.0),
            Kind.REORDER: lambda f, b: self._weather(reordering=f.amount if b else 0.0),
            Kind.KILL: self._killed,
            Kind.STORM: self._storm,
            Kind.REBOOT: self._reboot,
            Kind.TRUNCATE: self._truncate,
            Kind.STALE: self._stale,
            Kind.DISK_FULL: self._disk_full,
            Kind.CLOCK: self._clock,
            Kind.JOIN: self._join,
            Kind.BOOTSTRAPS: self._bootstraps,
        }
        table[fault.kind](fault, begins)

    def _cut(self, sources: list[str], targets: list[str], begins: bool) -> None:
        change = self._world.underlay.block if begins else self._world.underlay.unblock
        change(sources, targets)

    def _partition(self, fault: Fault, begins: bool) -> None:
        others = [name for name in self._world.schedule.nodes if name not in fault.whom]
        self._cut(list(fault.whom), others, begins)
        self._cut(others, list(fault.whom), begins)

    def _partial(self, fault: Fault, begins: bool) -> None:
        self._cut(list(fault.whom), list(fault.others), begins)
        self._cut(list(fault.others), list(fault.whom), begins)

    def _one_way(self, fault: Fault, begins: bool) -> None:
        self._cut(list(fault.whom), list(fault.others), begins)

    def _weather(self, **changes: float) -> None:
        self._world.underlay.weather = replace(self._world.underlay.weather, **changes)

    def _delay(self, fault: Fault, begins: bool) -> None:
        calm = Weather()
        self._weather(
            delay=fault.amount if begins else calm.delay, jitter=fault.amount / 3 if begins else calm.jitter
        )

    def _killed(self, fault: Fault, begins: bool) -> None:
        for name in fault.whom:
            if begins:
                self._world.machines[name].kill()
            else:
                self._world.start(name)

    def _storm(self, fault: Fault, begins: bool) -> None:
        self._killed(fault, True)
        if not begins:
            self._killed(fault, False)
            return
        when = 0.0
        while (when := when + fault.amount) < fault.seconds - 0.5:
            for name in fault.whom:
                self._world.loop.call_later(when + self._world.rng.random() * 0.2, self._world.start, name)
                self._world.loop.call_later(
                    when + 0.2 + self._world.rng.random() * fault.amount * 0.7,
                    self._world.machines[name].kill,
                )

    def _reboot(self, fault: Fault, begins: bool) -> None:
        for name in fault.whom:
            if begins:
                self._world.machines[name].power_off()
            else:
                self._world.machines[name].boot()
                self._world.start(name)

    def _truncate(self, fault: Fault, begins: bool) -> None:
        self._killed(fault, begins)
        if begins:
            for name in fault.whom:
                path = self._world.machines[name].state / fault.file
                if path.exists():
                    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def _stale(self, fault: Fault, begins: bool) -> None:
        self._killed(fault, begins)
        if begins:
            for name in fault.whom:
                machine = self._world.machines[name]
                if machine.old_snapshot is not None:
                    (machine.state / "members.json").write_bytes(machine.old_snapshot)

    def _disk_full(self, fault: Fault, begins: bool) -> None:
        for name in fault.whom:
            self._world.machines[name].disk_full = begins

    def _clock(self, fault: Fault, begins: bool) -> None:
        for name in fault.whom:
            self._world.machines[name].clock_offset += fault.amount if begins else -fault.amount

    def _join(self, fault: Fault, begins: bool) -> None:
        if begins:
            doors = list(self._world.schedule.bootstraps)
            for name in fault.whom:
                self._world.add(name)
                self._world.start(name, self._world.joining(name, self._world.rng.sample(doors, len(doors))))

    def _bootstraps(self, fault: Fault, begins: bool) -> None:
        if begins:
            for name in fault.whom:
                self._world.machines[name].power_off()
                self._world.machines[name].wipe()
            self._world.loop.call_later(fault.seconds / 2, self._promote, fault.others)
            return
        for name in fault.whom:
            self._world.machines[name].boot()
            self._world.start(name, self._world.joining(name, list(fault.others), bootstrap=True))

    def _promote(self, names: tuple[str, ...]) -> None:
        for name in names:
            self._world.machines[name].kill()
            doors = [other for other in names if other != name] or list(self._world.schedule.bootstraps)
            self._world.start(name, self._world.joining(name, doors, bootstrap=True))
