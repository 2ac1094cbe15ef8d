"""Schedules of faults: kind, targets, time and duration, all derived from the seed.

A ground (virtual time, namespaces, the kernel guest) states in a `Menu` the kinds of faults it can cause, how often,
how long and how severe; `draw` creates a schedule from it, and each ground carries it out in its own way.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class Kind(enum.StrEnum):
    """What can go wrong."""

    PARTITION = "partition"  # nothing passes between `whom` and all others
    PARTIAL = (
        "partial partition"  # nothing passes between `whom` and `others`; both still receive from the rest
    )
    ONE_WAY = "one-way cut"  # nothing passes from `whom` to `others`; the other direction still works
    LOSS = "loss"  # of all packets everywhere, `amount` is the share
    DELAY = "delay"  # of all packets, `amount` seconds one way, and up to a third of it more or less
    DUPLICATE = "duplication"  # `amount` is the share of packets that arrive twice
    REORDER = "reordering"  # `amount` is the share of packets that arrive late
    KILL = "kill"  # the agents of `whom` are killed, and restarted at the end
    STORM = "kill storm"  # the same, again and again, every `amount` seconds
    REBOOT = "reboot"  # the machines lose their power, and have it back at the end
    TRUNCATE = "truncated state"  # killed, and a state file is cut in half before the start
    STALE = "stale state"  # killed, and the snapshot is an old one at the start
    DISK_FULL = "disk full"  # nothing can be written
    CLOCK = "clock stepped"  # the wall clock jumps by `amount` seconds, and back at the end
    JOIN = "join"  # new machines `whom` join
    BOOTSTRAPS = (
        "bootstraps lost"  # all of them lost with their disks; `others` take over, then they are back
    )


LIVES = frozenset({Kind.KILL, Kind.STORM, Kind.REBOOT, Kind.TRUNCATE, Kind.STALE, Kind.BOOTSTRAPS})
"""Kinds that end agents: two of them never overlap on one machine."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault; `at` and `seconds` count from the schedule's start and the fault's, `file` is a state file's name."""

    kind: Kind
    at: float
    seconds: float
    whom: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    amount: float = 0.0
    file: str = ""

    @property
    def end(self) -> float:
        return self.at + self.seconds

    def __str__(self) -> str:
        about = " ".join(self.whom)
        if self.others:
            about += f" | {' '.join(self.others)}"
        more = f" {self.amount:g}" if self.amount else ""
        file = f" {self.file}" if self.file else ""
        return f"{self.at:6.1f} s, {self.seconds:6.1f} s long: {self.kind}{more}{file} {about}".rstrip()


@dataclass(frozen=True, slots=True)
class Schedule:
    """One run: the mesh at its start, and what happens to it.

    Attributes:
        nodes: all members at the start; `bootstraps` are the first of them, and the first of these founded the mesh.
    """

    seed: int
    nodes: tuple[str, ...]
    bootstraps: tuple[str, ...]
    faults: tuple[Fault, ...]

    @property
    def end(self) -> float:
        """When the last fault ends, in seconds from the start."""
        return max((fault.end for fault in self.faults), default=0.0)

    @property
    def newcomers(self) -> tuple[str, ...]:
        return tuple(name for fault in self.faults if fault.kind is Kind.JOIN for name in fault.whom)

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: {len(self.nodes)} nodes, {len(self.bootstraps)} of them bootstrap nodes"]
        return "\n".join([*lines, *(f"  {fault}" for fault in self.faults)])


@dataclass(frozen=True, slots=True)
class Span:
    """A range that numbers are drawn from, both ends included."""

    least: float
    most: float

    def draw(self, rng: random.Random) -> float:
        return round(rng.uniform(self.least, self.most), 2)


@dataclass(frozen=True, slots=True)
class Dish:
    """How one kind is drawn: its weight among the others, how long, and how badly."""

    weight: float
    seconds: Span
    amount: Span = Span(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Menu:
    """What a ground offers.

    Attributes:
        nodes, faults: how many, both ends included.
        begin: when faults begin, in seconds from the start.
        files: the state files that may be truncated; a founder's mesh file never is: it needs its user then.
    """

    nodes: tuple[int, int]
    bootstraps: tuple[int, int]
    faults: tuple[int, int]
    begin: Span
    dishes: Mapping[Kind, Dish]
    files: tuple[str, ...] = ()


def draw(seed: int, menu: Menu) -> Schedule:
    """The schedule of this seed: the same whenever and wherever it is drawn."""
    rng = random.Random(seed)
    nodes = tuple(f"n{number}" for number in range(1, rng.randint(*menu.nodes) + 1))
    bootstraps = nodes[: rng.randint(*menu.bootstraps)]
    kinds = rng.choices(
        list(menu.dishes), [dish.weight for dish in menu.dishes.values()], k=rng.randint(*menu.faults)
    )
    faults: list[Fault] = []
    for kind in kinds:
        fault = _fault(rng, kind, menu, nodes, bootstraps, len(faults))
        if not any(_clash(fault, other) for other in faults):
            faults.append(fault)
    return Schedule(seed, nodes, bootstraps, tuple(sorted(faults, key=lambda fault: fault.at)))


def _fault(
    rng: random.Random, kind: Kind, menu: Menu, nodes: Sequence[str], bootstraps: Sequence[str], number: int
) -> Fault:
    dish = menu.dishes[kind]
    at, seconds, amount = menu.begin.draw(rng), dish.seconds.draw(rng), dish.amount.draw(rng)
    shuffled = rng.sample(list(nodes), len(nodes))
    some = tuple(sorted(shuffled[: rng.randint(1, len(nodes) - 1)]))
    match kind:
        case Kind.PARTITION:
            return Fault(kind, at, seconds, some)
        case Kind.PARTIAL | Kind.ONE_WAY:
            parts = rng.randint(1, max(1, len(nodes) // 2))
            others = shuffled[parts : parts + rng.randint(1, max(1, len(nodes) // 2))]
            return Fault(kind, at, seconds, tuple(sorted(shuffled[:parts])), tuple(sorted(others)))
        case Kind.LOSS | Kind.DELAY | Kind.DUPLICATE | Kind.REORDER:
            return Fault(kind, at, seconds, amount=amount)
        case Kind.KILL | Kind.STORM | Kind.DISK_FULL | Kind.STALE:
            return Fault(kind, at, seconds, some, amount=amount)
        case Kind.REBOOT:
            # Now and then the power goes everywhere.
            return Fault(kind, at, seconds, tuple(nodes) if rng.random() < 0.15 else some)
        case Kind.CLOCK:
            return Fault(kind, at, seconds, some, amount=amount if rng.random() < 0.5 else -amount)
        case Kind.TRUNCATE:
            file = rng.choice(menu.files)
            whom = [node for node in some if not (file == "mesh.json" and node == nodes[0])]
            return Fault(kind, at, seconds, tuple(whom) or (nodes[-1],), file=file)
        case Kind.JOIN:
            return Fault(kind, at, seconds, tuple(f"j{number}x{i}" for i in range(rng.randint(1, 3))))
        case Kind.BOOTSTRAPS:
            plain = [node for node in nodes if node not in bootstraps]
            return Fault(
                kind, at, seconds, tuple(bootstraps), tuple(sorted(rng.sample(plain, min(2, len(plain)))))
            )


def _clash(one: Fault, other: Fault) -> bool:
    if one.at > other.end or other.at > one.end:
        return False
    if Kind.BOOTSTRAPS in (one.kind, other.kind):
        # Who replaces the lost bootstrap nodes is a person, who waits until it can be done.
        return one.kind in LIVES or other.kind in LIVES
    if one.kind is other.kind and one.kind in (Kind.LOSS, Kind.DELAY, Kind.DUPLICATE, Kind.REORDER):
        return True
    both_end_agents = one.kind in LIVES and other.kind in LIVES
    same_clock = one.kind is other.kind is Kind.CLOCK
    return (both_end_agents or same_clock) and bool(set(one.whom) & set(other.whom))
