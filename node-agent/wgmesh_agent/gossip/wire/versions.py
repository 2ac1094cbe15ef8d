"""Version vectors: which protocols a member supports, and whether two clusters may merge (gossip-wire §5)."""

from __future__ import annotations

OWN_VERSIONS = bytes([1, 5, 2, 2, 5, 4])
"""memberlist minimum, maximum, current; then the same of serf."""

_TCP_PING = 3
_NACK = 4
_CRC = 5
_RELAY = 5


def highest_protocol(vsn: bytes) -> int:
    """Returns the newest memberlist protocol that a member supports; 0 if it is not stated."""
    return vsn[1] if len(vsn) >= 6 else 0


def answers_tcp_ping(vsn: bytes) -> bool:
    """Returns whether it supports the fallback probe over a stream."""
    return highest_protocol(vsn) >= _TCP_PING


def sends_nack(vsn: bytes) -> bool:
    """Returns whether it reports an indirect ping that failed."""
    return highest_protocol(vsn) >= _NACK


def checks_crc(vsn: bytes) -> bool:
    """Returns whether it supports the CRC layer."""
    return highest_protocol(vsn) >= _CRC


def relays(vsn: bytes) -> bool:
    """Returns whether it relays query responses."""
    return highest_protocol(vsn) >= _RELAY


def speaks_with_us(vsn: bytes) -> bool:
    """Returns whether a member with this vector and this node are compatible; the one rule for datagrams and merges.

    Any length except six is rejected: rebroadcast, a vector of one to five bytes would crash old Go peers, and with
    an empty one they would reject every push-pull.
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
