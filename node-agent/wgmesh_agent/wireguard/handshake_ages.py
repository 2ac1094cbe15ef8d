"""Ages of handshakes, independent of changes to the wall clock.

WireGuard stamps a handshake with the wall clock, and accepts an initiation only if its timestamp is later than the
last one from that peer. If the clocks of two peers were set back, each rejects the other for as long as the step:
the session expires after three minutes, and only a re-created peer, which has no last timestamp, can begin another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from wgmesh_agent.wireguard.clock_steps import SAME_CLOCK_SECONDS, ClockSteps
from wgmesh_agent.wireguard.endpoint_candidates import STALE_AFTER_SECONDS
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Device


@dataclass(frozen=True, slots=True)
class _Seen:
    """A handshake: its timestamp, and its time in monotonic seconds."""

    stamp: float
    at: float


class HandshakeAges:
    """Handshakes observed by one agent; call `update` at every read of the device, before anything else."""

    def __init__(self, clock: ClockSteps | None = None) -> None:
        """`clock`: with the stored steps from before this agent's start."""
        self._clock = clock or ClockSteps()
        self._seen: dict[PublicKey, _Seen] = {}
        self._looked: float | None = None

    def update(self, device: Device, now_unix: float, now: float) -> Device:
        """Returns the device with timestamps as today's wall clock would have set them; `now` is seconds since boot."""
        self._clock.update(now_unix, now)
        earliest = float("-inf") if self._looked is None else self._looked
        seen = {}
        for key, peer in device.peers.items():
            if peer.last_handshake:
                known = self._seen.get(key)
                if known is None or known.stamp != peer.last_handshake:
                    # A handshake that did not exist at the previous read is younger than that read.
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
        """Peers whose session has expired and whose last handshake is in the future: this clock was set back in the
        meantime."""
        return frozenset(
            key
            for key, seen in self._seen.items()
            if seen.stamp > now_unix + SAME_CLOCK_SECONDS and now - seen.at >= STALE_AFTER_SECONDS
        )

    def next_deadline(self, now_unix: float) -> float | None:
        """When to call `blocked_by_clock_step` next, in monotonic seconds; None: nothing is pending."""
        return min(
            (
                seen.at + STALE_AFTER_SECONDS
                for seen in self._seen.values()
                if seen.stamp > now_unix + SAME_CLOCK_SECONDS
            ),
            default=None,
        )
