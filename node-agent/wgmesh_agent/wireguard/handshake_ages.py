"""How long ago handshakes were, whatever was done to the wall clock since.

WireGuard stamps a handshake with the wall clock, and takes an initiation only if its stamp is later than the last one
from that peer. Where two peers' clocks were set back, each refuses the other for as long as that was: the session ends
after three minutes, and nothing but a peer made anew, which has no last stamp, begins another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from wgmesh_agent.wireguard.clock_steps import SAME_CLOCK_SECONDS, ClockSteps
from wgmesh_agent.wireguard.endpoint_candidates import STALE_AFTER_SECONDS
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Device


@dataclass(frozen=True, slots=True)
class _Seen:
    """A handshake: as it is stamped, and when it was in monotonic seconds."""

    stamp: float
    at: float


class HandshakeAges:
    """What one agent saw of its peers' handshakes; `update` at every reading of the device, before anything else."""

    def __init__(self, clock: ClockSteps | None = None) -> None:
        """`clock`: with what is remembered of the steps before this agent's start."""
        self._clock = clock or ClockSteps()
        self._seen: dict[PublicKey, _Seen] = {}
        self._looked: float | None = None

    def update(self, device: Device, now_unix: float, now: float) -> Device:
        """The device with stamps that today's wall clock would have made; `now` is seconds since boot."""
        self._clock.update(now_unix, now)
        earliest = float("-inf") if self._looked is None else self._looked
        seen = {}
        for key, peer in device.peers.items():
            if peer.last_handshake:
                known = self._seen.get(key)
                if known is None or known.stamp != peer.last_handshake:
                    # A handshake that was not there at the last look is younger than that.
                    at = now - (now_unix - peer.last_handshake)
                    if at > now + SAME_CLOCK_SECONDS:
                        at = self._clock.stamped_at(peer.last_handshake)
                    known = _Seen(peer.last_handshake, min(now, max(at, earliest)))
                seen[key] = known
        self._seen, self._looked = seen, now
        return replace(
            device,
            peers={
                key: replace(peer, last_handshake=now_unix - (now - seen[key].at)) if key in seen else peer
                for key, peer in device.peers.items()
            },
        )

    def blocked_by_clock_step(self, now_unix: float, now: float) -> frozenset[PublicKey]:
        """Peers whose session is over and whose last handshake lies ahead: this clock was set back meanwhile."""
        return frozenset(
            key
            for key, seen in self._seen.items()
            if seen.stamp > now_unix + SAME_CLOCK_SECONDS and now - seen.at >= STALE_AFTER_SECONDS
        )

    def next_deadline(self, now_unix: float) -> float | None:
        """When to ask `blocked_by_clock_step` next, in monotonic seconds; None: there is nothing to wait for."""
        return min(
            (
                seen.at + STALE_AFTER_SECONDS
                for seen in self._seen.values()
                if seen.stamp > now_unix + SAME_CLOCK_SECONDS
            ),
            default=None,
        )
