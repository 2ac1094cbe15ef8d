"""Detects endpoint flapping: a node that moves changes its endpoint once; two agents with one identity alternate.

Two agents that advertise the same endpoint still send from two, which WireGuard observes.
"""

from __future__ import annotations

from collections import OrderedDict

from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.runtime.clock import Clock
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Device

WINDOW_SECONDS = 600.0
MAX_CHANGES = 32
MAX_MEMBERS = 16384


class EndpointFlapDetector:
    """Keeps the last endpoint changes of each member; `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, list[tuple[float, str]]] = OrderedDict()

    def record(self, node: str, endpoint: str, now: float) -> None:
        """A member is at this endpoint now."""
        changes = self._told.get(node)
        if changes is None:
            # Not a deque, whose first item takes 600 bytes: most members never move.
            changes = self._told[node] = []
            if len(self._told) > MAX_MEMBERS:
                self._told.popitem(last=False)
        if not changes or changes[-1][1] != endpoint:
            changes.append((now, endpoint))
            del changes[:-MAX_CHANGES]

    def flap_count(self, node: str, now: float) -> int:
        """How often within ten minutes the endpoint changed back to the one before."""
        changes = [item for item in self._told.get(node, ()) if now - item[0] <= WINDOW_SECONDS]
        return sum(changes[place][1] == changes[place - 2][1] for place in range(2, len(changes)))

    def forget(self, node: str) -> None:
        self._told.pop(node, None)


class Calls:
    """The source endpoints of each key's last handshakes, which only the holder of the key can make."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wandering = EndpointFlapDetector()
        self._handshakes: dict[PublicKey, float] = {}

    def observe(self, device: Device) -> None:
        """Updates from the device as read."""
        now = self._clock.monotonic()
        for key, peer in device.peers.items():
            if peer.endpoint is not None and peer.last_handshake > self._handshakes.get(key, 0.0):
                self._wandering.record(str(key), str(peer.endpoint), now)
        self._handshakes = {key: peer.last_handshake for key, peer in device.peers.items()}

    def flap_count(self, key: PublicKey) -> int:
        """Like that of `EndpointFlapDetector`, now."""
        return self._wandering.flap_count(str(key), self._clock.monotonic())


class MemberFlaps:
    """Both kinds of flaps of a member: of the endpoints that it advertises, and of those that it sends from."""

    def __init__(self, ledger: Ledger, reported: EndpointFlapDetector, calls: Calls, clock: Clock) -> None:
        self._ledger = ledger
        self._reported = reported
        self._calls = calls
        self._clock = clock

    def count(self, node: str) -> int:
        """How often within ten minutes the member returned to the endpoint before, advertised or source."""
        binding = self._ledger.by_name(node)
        called = self._calls.flap_count(binding.claim.public_key) if binding is not None else 0
        return max(self._reported.flap_count(node, self._clock.monotonic()), called)
