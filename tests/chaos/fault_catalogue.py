"""What each ground offers its schedules, and how soon a mesh must be whole on it after the last fault has ended."""

from __future__ import annotations

from tests.chaos.schedule import Dish, Fault, Kind, Menu, Schedule, Span

HOUR = 3600.0

VIRTUAL_BOUND_SECONDS = 30.0
VIRTUAL = Menu(
    nodes=(4, 9),
    bootstraps=(1, 2),
    faults=(1, 5),
    begin=Span(0, 60),
    dishes={
        Kind.PARTITION: Dish(3, Span(5, 240)),
        Kind.PARTIAL: Dish(3, Span(5, 240)),
        Kind.ONE_WAY: Dish(2, Span(5, 200)),
        Kind.LOSS: Dish(2, Span(20, 120), Span(0.1, 0.3)),
        Kind.DELAY: Dish(1, Span(20, 120), Span(0.15, 0.3)),
        Kind.DUPLICATE: Dish(1, Span(20, 120), Span(0.1, 0.5)),
        Kind.REORDER: Dish(1, Span(20, 120), Span(0.1, 0.5)),
        Kind.KILL: Dish(2, Span(1, 90)),
        Kind.STORM: Dish(2, Span(10, 60), Span(1, 8)),
        Kind.REBOOT: Dish(3, Span(2, 120)),
        Kind.TRUNCATE: Dish(2, Span(1, 60)),
        Kind.STALE: Dish(2, Span(1, 60)),
        Kind.DISK_FULL: Dish(2, Span(5, 120)),
        Kind.CLOCK: Dish(2, Span(10, 600), Span(5, 2 * HOUR)),
        Kind.JOIN: Dish(2, Span(10, 60)),
        Kind.BOOTSTRAPS: Dish(1, Span(20, 120)),
    },
    files=("members.json", "members.json.earlier", "mesh.json", "wireguard.key"),
)

HOSTS_BOUND_SECONDS = 45.0
NETNS = Menu(
    nodes=(4, 5),
    bootstraps=(1, 2),
    faults=(1, 3),
    begin=Span(0, 5),
    dishes={
        Kind.PARTITION: Dish(2, Span(4, 20)),
        Kind.PARTIAL: Dish(2, Span(4, 20)),
        Kind.ONE_WAY: Dish(2, Span(4, 20)),
        Kind.LOSS: Dish(1, Span(5, 15), Span(0.1, 0.3)),
        Kind.KILL: Dish(2, Span(1, 10)),
        Kind.STORM: Dish(2, Span(5, 12), Span(2, 4)),
        Kind.REBOOT: Dish(3, Span(1, 10)),
        Kind.TRUNCATE: Dish(2, Span(1, 5)),
        Kind.DISK_FULL: Dish(2, Span(5, 15)),
        Kind.BOOTSTRAPS: Dish(1, Span(10, 20)),
    },
    files=("members.json", "members.json.earlier", "mesh.json", "wireguard.key"),
)
"""Clocks are stepped in virtual time only: namespaces have no wall clock of their own."""

KERNEL = Menu(
    nodes=(3, 4),
    bootstraps=(1, 2),
    faults=(3, 5),
    begin=Span(0, 5),
    dishes={
        Kind.LOSS: Dish(3, Span(8, 20), Span(0.1, 0.3)),
        Kind.DELAY: Dish(3, Span(8, 20), Span(0.1, 0.3)),
        Kind.DUPLICATE: Dish(3, Span(8, 20), Span(0.1, 0.5)),
        Kind.REORDER: Dish(3, Span(8, 20), Span(0.1, 0.5)),
        Kind.PARTITION: Dish(1, Span(4, 20)),
        Kind.ONE_WAY: Dish(1, Span(4, 20)),
        Kind.KILL: Dish(1, Span(1, 10)),
        Kind.STORM: Dish(1, Span(5, 12), Span(2, 4)),
        Kind.REBOOT: Dish(1, Span(1, 10)),
        Kind.TRUNCATE: Dish(1, Span(1, 5)),
    },
    files=NETNS.files,
)
"""Weather that only netem makes, on the kernel's own WireGuard."""


def _named(number: int, size: int, bootstraps: int, *faults: Fault) -> Schedule:
    nodes = tuple(f"n{n}" for n in range(1, size + 1))
    return Schedule(-number, nodes, nodes[:bootstraps], faults)


HOUR_APART = _named(1, 4, 2, Fault(Kind.PARTITION, 5, HOUR, ("n2", "n3")))
"""A partition of an hour, a bootstrap node on either side."""
SET_BACK = _named(
    2,
    4,
    1,
    Fault(Kind.PARTITION, 5, 400, ("n2",)),
    Fault(Kind.PARTITION, 420, 300, ("n3",)),
    Fault(Kind.REBOOT, 740, 5, ("n1", "n2")),
    Fault(Kind.CLOCK, 800, 600, ("n1", "n2", "n3", "n4"), amount=-HOUR),
)
"""All clocks are set back by an hour after both ends of each link have begun handshakes."""
NO_DOOR = _named(3, 7, 2, Fault(Kind.BOOTSTRAPS, 5, 120, ("n1", "n2"), ("n4", "n5")))
"""All bootstrap nodes are lost with their disks; two plain nodes replace them, and the lost ones are re-created."""
FORGETFUL = _named(4, 7, 2, Fault(Kind.TRUNCATE, 5, 8, ("n1", "n3", "n5", "n7"), file="wireguard.key"))
"""More than half of the nodes lose their keys at once."""
NEWCOMERS = _named(
    5,
    9,
    2,
    Fault(Kind.JOIN, 5, 5, ("j1", "j2", "j3")),
    Fault(Kind.TRUNCATE, 8, 40, ("n1", "n2", "n4", "n6"), file="members.json"),
)
"""Nodes join, and before all have their records the bootstrap nodes are down for most of a minute."""
STORMY = _named(
    6,
    3,
    1,
    Fault(Kind.LOSS, 0, 14, amount=0.3),
    Fault(Kind.DELAY, 1, 13, amount=0.3),
    Fault(Kind.DUPLICATE, 2, 12, amount=0.3),
    Fault(Kind.REORDER, 3, 11, amount=0.3),
    Fault(Kind.KILL, 4, 3, ("n1", "n2")),
    Fault(Kind.ONE_WAY, 6, 6, ("n2",), ("n3",)),
)
"""All weather at once, and under it agents killed and a one-way cut: what a guest with netem does within a minute."""
NAMED = {
    schedule.seed: schedule for schedule in (HOUR_APART, SET_BACK, NO_DOOR, FORGETFUL, NEWCOMERS, STORMY)
}
"""Schedules that found a fault once, or that random draws contain too rarely; their seeds are negative."""
