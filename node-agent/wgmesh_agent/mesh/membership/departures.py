"""Members that gossip reports as left: they are removed once their tunnels are silent, and not before."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from wgmesh_agent.gossip.serf.events import Member
from wgmesh_agent.gossip.wire.endpoint import IPAddress
from wgmesh_agent.wireguard.keys import PublicKey

SILENT_SECONDS = 2.0
"""After a probe that requests an immediate answer. Each check requests another, and the answer comes once a second."""
AGAIN_SECONDS = 5.0
"""Until a member that answered is probed once more: it may have answered while it was leaving."""
ASKED_AT_ONCE = 8
"""Maximum number of members checked at the same time; the others wait."""


class Tunnels(Protocol):
    """Liveness by the tunnels, independent of gossip."""

    def hears(self, address: IPAddress) -> bool:
        """Whether the link from the member of this mesh address is up."""

    def leaves(self, address: IPAddress) -> bool:
        """Whether the member of this mesh address announced through its tunnel that it leaves the mesh."""

    def doubt(self, address: IPAddress) -> None:
        """Probes a member; its link counts as up from its next answer on."""

    def has_session(self, key: PublicKey) -> bool:
        """Whether the WireGuard session with the peer is recent enough that packets pass."""


class NoTunnels:
    """Liveness of a ledger without a device: every link is down, so members reported as left are removed at once."""

    def hears(self, address: IPAddress) -> bool:
        return False

    def leaves(self, address: IPAddress) -> bool:
        return False

    def doubt(self, address: IPAddress) -> None:
        """No tunnel to probe."""

    def has_session(self, key: PublicKey) -> bool:
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
    """Result of a check: `member` is removed, or still up although gossip reported it as left."""

    member: Member
    how: str
    lives: bool


class Departures:
    """A leave that others report is any member's claim. `now` is monotonic seconds.

    A member that answers is kept under observation until gossip reports it alive again or its tunnel is silent after
    all.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, _Departure] = {}

    def __iter__(self) -> Iterator[Member]:
        """The members under observation: they are to be probed, although gossip reports them as left."""
        return (departure.member for departure in self._waiting.values())

    def __len__(self) -> int:
        return len(self._waiting)

    def awaits(self, member: Member, how: str, tunnels: Tunnels) -> bool:
        """Whether the member stays until its tunnel is silent; False if it is silent, or announced its leave itself: in
        gossip, or in a probe.
        """
        if member.says_goodbye or tunnels.leaves(member.address) or not tunnels.hears(member.address):
            self._waiting.pop(member.name, None)
            return False
        self._waiting.setdefault(member.name, _Departure(member, how))
        return True

    def back(self, name: str) -> None:
        """Gossip reports the member alive again."""
        self._waiting.pop(name, None)

    def look(self, now: float, tunnels: Tunnels) -> list[Departed]:
        """Checks the next members, and returns those that are decided."""
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
