"""Evaluates a key listing: whether a rotation step is complete on all members (gossip-wire section 8.5)."""

from __future__ import annotations

from collections.abc import Mapping

from wgmesh_agent.gossip.serf.key_manager import KeyOperation, KeyResult

SILENT = "does not answer"
_UNDONE = {
    KeyOperation.INSTALL: "has not got the new key",
    KeyOperation.USE: "does not encrypt with it",
    KeyOperation.REMOVE: "still has the old key",
}


def incomplete_members(
    operation: KeyOperation, key: str, listed: KeyResult, told: Mapping[str, str]
) -> dict[str, str]:
    """Returns the members on whose keyring the operation on `key` (base64) is not complete, with the reason; empty:
    complete on all.

    Args:
        listed: keyrings reported by the live members.
        told: rejections of the operation itself, by name, which are more specific.
    """
    found = dict.fromkeys(listed.silent, SILENT)
    for name, ring in listed.rings.items():
        done = {
            KeyOperation.INSTALL: key in ring,
            KeyOperation.USE: ring[0] == key,
            KeyOperation.REMOVE: key not in ring,
        }[operation]
        if not done:
            found[name] = told.get(name, _UNDONE[operation])
    return {**{name: why for name, why in listed.errors.items() if name not in listed.rings}, **found}
