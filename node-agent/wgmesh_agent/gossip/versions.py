"""Version vectors: which protocols a member speaks, and whether two clusters may merge (gossip-wire §5)."""

from __future__ import annotations

from collections.abc import Iterable

OWN_VERSIONS = bytes([1, 5, 2, 2, 5, 4])
"""Memberlist lowest, highest, spoken; then the same of serf."""

_TCP_PING = 3
_NACK = 4
_CRC = 5
_RELAY = 5


def highest_protocol(vsn: bytes) -> int:
    """The newest memberlist protocol a member understands; 0 when it did not say."""
    return vsn[1] if len(vsn) >= 6 else 0


def answers_tcp_ping(vsn: bytes) -> bool:
    """Whether the fallback probe over a stream makes sense."""
    return highest_protocol(vsn) >= _TCP_PING


def sends_nack(vsn: bytes) -> bool:
    """Whether it reports an indirect ping that failed."""
    return highest_protocol(vsn) >= _NACK


def checks_crc(vsn: bytes) -> bool:
    """Whether it knows the crc layer."""
    return highest_protocol(vsn) >= _CRC


def relays(vsn: bytes) -> bool:
    """Whether it forwards query responses."""
    return highest_protocol(vsn) >= _RELAY


def acceptable_alive(vsn: bytes) -> bool:
    """The sanity check on an alive message; no vector at all passes.

    Any length but six is refused: passed on, a vector of one to five bytes would end old Go peers.
    """
    if len(vsn) != 6:
        return not vsn
    return vsn[0] != 0 and vsn[1] != 0 and vsn[0] <= vsn[1]


def merge_refusal(alive: Iterable[tuple[str, bytes]], every: Iterable[tuple[str, bytes]]) -> str | None:
    """Why two sides must not merge, or None.

    `alive` are name and vector of the members alive on either side: they set the range all can speak.
    `every` are all members of both sides: what each speaks must lie in that range.
    """
    lowest, highest, serf_lowest, serf_highest = 0, 255, 0, 255
    for _, vsn in alive:
        if len(vsn) < 6:
            vsn = bytes(6)
        lowest = max(lowest, vsn[0])
        highest = min(highest, vsn[1])
        serf_lowest = max(serf_lowest, vsn[3])
        serf_highest = min(serf_highest, vsn[4])
    for name, vsn in every:
        spoken, serf_spoken = (vsn[2], vsn[5]) if len(vsn) >= 6 else (0, 0)
        if not lowest <= spoken <= highest:
            return f"{name} speaks memberlist protocol {spoken}, the others {lowest} to {highest}"
        if not serf_lowest <= serf_spoken <= serf_highest:
            return f"{name} speaks serf protocol {serf_spoken}, the others {serf_lowest} to {serf_highest}"
    return None
