"""Tunnels that a test plays: who is heard, who answers, and with whom WireGuard has a session."""

from __future__ import annotations

from dataclasses import dataclass, field

from wgmesh_agent.gossip.endpoint import IPAddress
from wgmesh_agent.wireguard.keys import PublicKey


@dataclass(slots=True)
class PlayedTunnels:
    """`answering`: members that answer probes, by address; `heard` is what came of that so far."""

    answering: dict[IPAddress, str] = field(default_factory=dict)
    heard: set[str] = field(default_factory=set)
    sessions: set[PublicKey] = field(default_factory=set)
    doubted: list[IPAddress] = field(default_factory=list)

    def live(self, name: str, address: IPAddress) -> None:
        """From now on the member answers, and is heard."""
        self.answering[address] = name
        self.heard.add(name)

    def die(self, name: str) -> None:
        """From now on it does not answer; it was heard a moment ago."""
        self.answering = {address: other for address, other in self.answering.items() if other != name}

    def hears(self, name: str) -> bool:
        """Whether the member is heard now."""
        return name in self.heard

    def doubt(self, address: IPAddress) -> None:
        """It is heard again if it answers."""
        self.doubted.append(address)
        self.heard &= set(self.answering.values())

    def has_session(self, key: PublicKey) -> bool:
        """Whether there is a session with the peer."""
        return key in self.sessions
