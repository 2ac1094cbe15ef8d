"""Version vectors: which protocols a member speaks, and whether two clusters may merge (gossip-wire §5)."""

from __future__ import annotations

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


def speaks_with_us(vsn: bytes) -> bool:
    """Whether a member with this vector and this node understand each other; the one rule for datagrams and merges.

    Any length but six is refused: passed on, a vector of one to five bytes would end old Go peers, and none at all
    would have them refuse every push-pull.
    """
    if vsn == OWN_VERSIONS:
        return True
    if len(vsn) != 6:
        return False
    return all(
        0 < theirs[0] <= theirs[2] <= theirs[1]
        and theirs[0] <= ours[2] <= theirs[1]
        and ours[0] <= theirs[2] <= ours[1]
        for theirs, ours in ((vsn[:3], OWN_VERSIONS[:3]), (vsn[3:], OWN_VERSIONS[3:]))
    )
