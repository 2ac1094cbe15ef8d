"""Network coordinates: Vivaldi with height, adjustment and gravity, as in serf (gossip-wire section 8.6).

After Dabek et al., "Vivaldi: A Decentralized Network Coordinate System", and Ledlie et al., "Network
Coordinates in the Wild". Seconds throughout; `error` has no dimension. The order of floating-point operations
is part of the contract: results match Go's bit for bit.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from typing import Final

from wgmesh_agent.gossip.errors import DecodeError, GossipError
from wgmesh_agent.gossip.wire.schema import FLOAT, Field, Struct, tuple_of

DIMENSIONS: Final = 8
ERROR_MAX: Final = 1.5
CE: Final = 0.25
CC: Final = 0.25
ADJUSTMENT_WINDOW: Final = 20
HEIGHT_MIN: Final = 1e-5
LATENCY_FILTER_SIZE: Final = 3
GRAVITY_RHO: Final = 150.0
ZERO_THRESHOLD: Final = 1e-6
MAX_RTT_SECONDS: Final = 10.0
MAX_PLACE_SECONDS: Final = 120.0
"""Limit of each dimension, and of the other parts of a coordinate: no network has such round-trip times, and
estimates from such coordinates fit into every number type they are reported as."""
_PAYLOAD_VERSION: Final = 1
_NANOSECONDS: Final = 1e9


@dataclass(frozen=True, slots=True)
class Coordinate:
    """A place in the latency space; the defaults are the origin, where all nodes start."""

    vec: tuple[float, ...] = (0.0,) * DIMENSIONS
    error: float = ERROR_MAX
    adjustment: float = 0.0
    height: float = HEIGHT_MIN

    def is_valid(self) -> bool:
        """Returns whether it has eight dimensions, each number within two minutes, and no negative height."""
        numbers = (*self.vec, self.error, self.adjustment, self.height)
        return (
            len(self.vec) == DIMENSIONS
            and self.height >= 0.0
            and all(-MAX_PLACE_SECONDS <= number <= MAX_PLACE_SECONDS for number in numbers)
        )

    def distance_to(self, other: Coordinate) -> float:
        """Returns the estimated round-trip time in seconds, truncated to nanoseconds; at most half an hour for valid
        places."""
        raw = _raw_distance(self, other)
        adjusted = raw + self.adjustment + other.adjustment
        return _whole_nanoseconds(adjusted if adjusted > 0.0 else raw)


_LAYOUT: Final = Struct(
    Coordinate,
    Field("vec", "Vec", tuple_of(FLOAT)),
    Field("error", "Error", FLOAT),
    Field("adjustment", "Adjustment", FLOAT),
    Field("height", "Height", FLOAT),
)


def encode_coordinate(coordinate: Coordinate) -> bytes:
    """Payload of an ack: version byte and map."""
    return bytes((_PAYLOAD_VERSION,)) + _LAYOUT.pack(coordinate)


def decode_coordinate(payload: bytes) -> Coordinate:
    """Decodes the coordinate in an ACK's payload. Raises PeerError for another version, or if out of bounds."""
    if not payload or payload[0] != _PAYLOAD_VERSION:
        raise DecodeError("an ack payload of an unknown version")
    coordinate = _LAYOUT.unpack(payload[1:])
    if not coordinate.is_valid():
        raise DecodeError(f"a coordinate that is not {DIMENSIONS} dimensions within {MAX_PLACE_SECONDS:g} s")
    return coordinate


class CoordinateClient:
    """This node's own coordinate, moved by each measured round trip."""

    def __init__(self, rng: random.Random, start: Coordinate | None = None) -> None:
        self._rng = rng
        self._coordinate = start or Coordinate()
        self._origin = Coordinate()
        self._adjustments = [0.0] * ADJUSTMENT_WINDOW
        self._adjustment_index = 0
        self._latencies: dict[str, list[float]] = {}
        self.resets = 0

    @property
    def coordinate(self) -> Coordinate:
        """Returns this node's coordinate."""
        return self._coordinate

    def update(self, node: str, other: Coordinate, rtt_seconds: float) -> Coordinate:
        """Applies one round-trip time of `rtt_seconds` (0..10) to `node`, which reports the coordinate `other`.

        Raises GossipError for an RTT or a coordinate out of bounds; nothing has changed then.
        """
        if not 0.0 <= rtt_seconds <= MAX_RTT_SECONDS:
            raise GossipError(f"a round trip of {rtt_seconds} s is outside 0..{MAX_RTT_SECONDS:.0f} s")
        if not other.is_valid():
            raise GossipError("the other's coordinate is out of bounds or has the wrong dimensions")
        rtt = self._filtered(node, rtt_seconds)
        self._apply_vivaldi(other, rtt)
        self._apply_adjustment(other, rtt)
        self._apply_gravity()
        if not self._coordinate.is_valid():
            self.resets += 1
            self._coordinate = Coordinate()
        return self._coordinate

    def distance_to(self, other: Coordinate) -> float:
        """Estimated round-trip time in seconds."""
        return self._coordinate.distance_to(other)

    def forget(self, node: str) -> None:
        """Drops the latency samples of a removed member."""
        self._latencies.pop(node, None)

    def _filtered(self, node: str, rtt: float) -> float:
        samples = self._latencies.setdefault(node, [])
        samples.append(rtt)
        del samples[:-LATENCY_FILTER_SIZE]
        return sorted(samples)[len(samples) // 2]

    def _apply_vivaldi(self, other: Coordinate, rtt: float) -> None:
        own = self._coordinate
        distance = own.distance_to(other)
        rtt = max(rtt, ZERO_THRESHOLD)
        wrongness = abs(distance - rtt) / rtt
        total_error = max(own.error + other.error, ZERO_THRESHOLD)
        weight = own.error / total_error
        error = CE * weight * wrongness + own.error * (1.0 - CE * weight)
        self._coordinate = replace(own, error=min(error, ERROR_MAX))
        self._apply_force(CC * weight * (rtt - distance), other)

    def _apply_adjustment(self, other: Coordinate, rtt: float) -> None:
        self._adjustments[self._adjustment_index] = rtt - _raw_distance(self._coordinate, other)
        self._adjustment_index = (self._adjustment_index + 1) % ADJUSTMENT_WINDOW
        total = 0.0
        for sample in self._adjustments:
            total += sample
        self._coordinate = replace(self._coordinate, adjustment=total / (2.0 * ADJUSTMENT_WINDOW))

    def _apply_gravity(self) -> None:
        distance = self._origin.distance_to(self._coordinate)
        pull = distance / GRAVITY_RHO
        self._apply_force(-1.0 * (pull * pull), self._origin)

    def _apply_force(self, force: float, other: Coordinate) -> None:
        own = self._coordinate
        unit, magnitude = self._unit_vector(own.vec, other.vec)
        vec = tuple(place + axis * force for place, axis in zip(own.vec, unit, strict=True))
        height = own.height
        if magnitude > ZERO_THRESHOLD:
            height = max((own.height + other.height) * force / magnitude + own.height, HEIGHT_MIN)
        self._coordinate = replace(own, vec=vec, height=height)

    def _unit_vector(self, own: tuple[float, ...], other: tuple[float, ...]) -> tuple[list[float], float]:
        """Direction from `other` to `own` and their distance; a random direction and 0 if they coincide."""
        difference = [a - b for a, b in zip(own, other, strict=True)]
        magnitude = _magnitude(difference)
        if magnitude > ZERO_THRESHOLD:
            return [axis * (1.0 / magnitude) for axis in difference], magnitude
        chance = [self._rng.random() - 0.5 for _ in own]
        size = _magnitude(chance)
        if size > ZERO_THRESHOLD:
            return [axis * (1.0 / size) for axis in chance], 0.0
        return [1.0, *[0.0] * (len(own) - 1)], 0.0


def _magnitude(vec: list[float]) -> float:
    total = 0.0
    for axis in vec:
        total += axis * axis
    return math.sqrt(total)


def _raw_distance(own: Coordinate, other: Coordinate) -> float:
    difference = [a - b for a, b in zip(own.vec, other.vec, strict=True)]
    return _magnitude(difference) + own.height + other.height


def _whole_nanoseconds(seconds: float) -> float:
    if not math.isfinite(seconds * _NANOSECONDS):
        return seconds
    whole, rest = divmod(math.trunc(seconds * _NANOSECONDS), 10**9)
    # Like Go's Duration.Seconds: whole seconds and the fraction are converted separately.
    return float(whole) + rest / _NANOSECONDS
