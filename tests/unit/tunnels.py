"""Fake tunnels for tests: links that are up, members that answer, and WireGuard sessions."""

from __future__ import annotations

from dataclasses import dataclass, field

from wgmesh_agent.gossip.wire.endpoint import IPAddress
from wgmesh_agent.wireguard.keys import PublicKey


@dataclass(slots=True)
class PlayedTunnels:
    """`answering`: mesh addresses of members that answer probes; `heard` is what came of that so far."""

    answering: set[IPAddress] = field(default_factory=set)
    heard: set[IPAddress] = field(default_factory=set)
    sessions: set[PublicKey] = field(default_factory=set)
    doubted: list[IPAddress] = field(default_factory=list)
    leaving: set[IPAddress] = field(default_factory=set)

    def live(self, address: IPAddress) -> None:
        """From now on the member answers, and its link is up."""
        self.answering.add(address)
        self.heard.add(address)

    def die(self, address: IPAddress) -> None:
        """From now on it does not answer; its last probe arrived a moment ago."""
        self.answering.remove(address)

    def hears(self, address: IPAddress) -> bool:
        """Whether the member's link is up."""
        return address in self.heard

    def leaves(self, address: IPAddress) -> bool:
        """Whether it says in its probes that it leaves."""
        return address in self.leaving

    def doubt(self, address: IPAddress) -> None:
        """Its link is up again if it answers."""
        self.doubted.append(address)
        self.heard &= self.answering

    def has_session(self, key: PublicKey) -> bool:
        """Whether there is a session with the peer."""
        return key in self.sessions
