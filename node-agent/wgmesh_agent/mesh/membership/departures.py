"""Members that others say have left: they are let go of once their tunnels are silent, and not before."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from wgmesh_agent.gossip.serf.events import Member
from wgmesh_agent.gossip.wire.endpoint import IPAddress
from wgmesh_agent.wireguard.keys import PublicKey

SILENT_SECONDS = 2.0
"""After a probe that asks for an answer at once. It is asked anew with each look, and answers once a second."""
AGAIN_SECONDS = 5.0
"""Until one that answered is asked once more: it may have answered in the middle of its own goodbye."""
ASKED_AT_ONCE = 8
"""So many of those who are waited for; the next when one of them is decided."""


class Tunnels(Protocol):
    """What comes in through the tunnels, apart from gossip."""

    def hears(self, address: IPAddress) -> bool:
        """Whether the member of this mesh address is heard now."""

    def leaves(self, address: IPAddress) -> bool:
        """Whether the member of this mesh address said last, through its tunnel, that it leaves the mesh."""

    def doubt(self, address: IPAddress) -> None:
        """Probes a member, and takes it for heard from its next answer on."""

    def has_session(self, key: PublicKey) -> bool:
        """Whether WireGuard has shaken hands with the peer so lately that packets pass."""


class NoTunnels:
    """Of a ledger without a device: nobody is heard, and whoever is said to be gone is."""

    def hears(self, address: IPAddress) -> bool:
        """False."""
        return False

    def leaves(self, address: IPAddress) -> bool:
        """False."""
        return False

    def doubt(self, address: IPAddress) -> None:
        """There is nothing to probe by."""

    def has_session(self, key: PublicKey) -> bool:
        """False."""
        return False


NO_TUNNELS = NoTunnels()


@dataclass(slots=True)
class _Departure:
    member: Member
    how: str
    asked: float = math.inf
    due: float = -math.inf
    answered: bool = False


@dataclass(frozen=True, slots=True)
class Departed:
    """What a look came to: `member` is gone, or lives so far in spite of what was said of it."""

    member: Member
    how: str
    lives: bool


class Departures:
    """A goodbye that comes by others is any member's word. `now` is monotonic seconds.

    Who answers is waited for on, until gossip has it back or its tunnel is silent after all.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, _Departure] = {}

    def __iter__(self) -> Iterator[Member]:
        """Those who are waited for: they are to be probed, though gossip has them left."""
        return (departure.member for departure in self._waiting.values())

    def __len__(self) -> int:
        return len(self._waiting)

    def awaits(self, member: Member, how: str, tunnels: Tunnels) -> bool:
        """Whether the member is to stay until its tunnel is silent; False if it is silent, or said goodbye itself: in
        gossip, or in a probe.
        """
        if member.says_goodbye or tunnels.leaves(member.address) or not tunnels.hears(member.address):
            self._waiting.pop(member.name, None)
            return False
        self._waiting.setdefault(member.name, _Departure(member, how))
        return True

    def back(self, name: str) -> None:
        """Gossip has the member alive again."""
        self._waiting.pop(name, None)

    def look(self, now: float, tunnels: Tunnels) -> list[Departed]:
        """Asks the next, and tells of whom it is decided."""
        found = []
        for departure in self._waiting.values():
            is_asked = departure.asked <= now
            if tunnels.leaves(departure.member.address):
                found.append(Departed(departure.member, departure.how, lives=False))
            elif is_asked and tunnels.hears(departure.member.address):
                if not departure.answered:
                    found.append(Departed(departure.member, departure.how, lives=True))
                departure.answered, departure.asked, departure.due = True, math.inf, now + AGAIN_SECONDS
            elif is_asked and now - departure.asked >= SILENT_SECONDS:
                found.append(Departed(departure.member, departure.how, lives=False))
        for departed in found:
            if not departed.lives:
                del self._waiting[departed.member.name]
        free = ASKED_AT_ONCE - sum(departure.asked <= now for departure in self._waiting.values())
        unasked = [one for one in self._waiting.values() if one.asked > now and one.due <= now]
        for departure in unasked[: max(0, free)]:
            departure.asked = now
        for departure in self._waiting.values():
            if departure.asked <= now:
                tunnels.doubt(departure.member.address)
        return found
