"""What a key listing says of a rotation's step: done everywhere, or not, and by whom (gossip-wire section 8.5)."""

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
    """The members on whose ring the operation on `key` (base64) is not done, with why; empty: it is, on all.

    Args:
        listed: what the living members answered when asked for their rings.
        told: refusals of the operation itself, by name, which say more.
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
