"""The network between machines, in virtual time: cuts, loss, delay, duplicates and packets out of order, on request."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

LATE_SECONDS = 0.3
"""By how much a packet out of order is later, at most."""
Receive = Callable[[str, object], None]
"""Takes in a packet from the machine named."""


@dataclass(slots=True)
class Weather:
    """What happens to every packet: delays in seconds one way, shares 0..1."""

    delay: float = 0.002
    jitter: float = 0.001
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0


class Underlay:
    """Machines by name. What several faults block is open when the last of them has ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rng: random.Random) -> None:
        self.weather = Weather()
        self.packets = 0
        self._loop = loop
        self._rng = rng
        self._receivers: dict[str, Receive] = {}
        self._blocked: Counter[tuple[str, str]] = Counter()

    def plug(self, name: str, receive: Receive) -> None:
        """From now on, packets to `name` go there."""
        self._receivers[name] = receive

    def unplug(self, name: str) -> None:
        """The machine is off."""
        self._receivers.pop(name, None)

    def block(self, sources: Iterable[str], targets: Iterable[str]) -> None:
        """Nothing passes from any source to any target."""
        targets = list(targets)
        self._blocked.update((source, target) for source in sources for target in targets)

    def unblock(self, sources: Iterable[str], targets: Iterable[str]) -> None:
        """Reverts one `block`."""
        targets = list(targets)
        self._blocked.subtract((source, target) for source in sources for target in targets)

    def passes(self, source: str, target: str) -> bool:
        return self._blocked[source, target] <= 0

    def is_plugged(self, name: str) -> bool:
        return name in self._receivers

    def delay(self) -> float:
        """For one packet, in seconds."""
        weather, rng = self.weather, self._rng
        delay = weather.delay + weather.jitter * rng.uniform(-1.0, 1.0)
        if weather.reordering and rng.random() < weather.reordering:
            delay += LATE_SECONDS * rng.random()
        return max(0.0001, delay)

    def send(self, source: str, target: str, packet: object) -> None:
        """One packet, which may arrive once, twice or never."""
        self.packets += 1
        weather, rng = self.weather, self._rng
        if not self.passes(source, target) or (weather.loss and rng.random() < weather.loss):
            return
        copies = 2 if weather.duplication and rng.random() < weather.duplication else 1
        for _ in range(copies):
            self._loop.call_later(self.delay(), self._arrive, source, target, packet)

    def _arrive(self, source: str, target: str, packet: object) -> None:
        receive = self._receivers.get(target)
        if receive is not None:
            receive(source, packet)
