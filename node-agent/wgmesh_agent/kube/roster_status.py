"""Status of this node in the roster.

Leaving removes interface, keys and state, and a roster can be wrong: emptied by mistake, restored from an old backup,
listed without the labels of members. So a node leaves only for what was certainly done to itself:

| its own WgMeshNode | the rest of the roster | result |
|---|---|---|
| exists, unchanged | | is a member |
| is being deleted, or is another of the same name | | leaves |
| does not exist | the WgMesh is deleted or being deleted, or other members exist | leaves, once the API server confirms
it for this one object |
| does not exist | the WgMesh exists, and no member at all | keeps the current state, and logs it |
| is malformed | | keeps the current state |

While it keeps the current state, it applies nothing from the roster: its peers are kept.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from wgmesh_api.roster import RosterMesh, RosterNode


class RosterStatus(enum.Enum):
    UNKNOWN = "the roster was not listed yet"
    MEMBER = "it is listed"
    DELETED = "its WgMeshNode is deleted"
    REPLACED = "its WgMeshNode was deleted and re-created"
    UNLISTED = "it has no WgMeshNode"
    UNCERTAIN = "the roster is inconsistent"


@dataclass(frozen=True, slots=True)
class RosterSnapshot:
    """The roster as last read.

    Attributes:
        listed: whether it was ever complete.
        mesh_gone: whether there certainly is no WgMesh; False while that is unknown.
        own_unreadable: whether this node's WgMeshNode exists and is malformed.
    """

    listed: bool
    mesh: RosterMesh | None
    mesh_gone: bool
    nodes: Mapping[str, RosterNode]
    own: RosterNode | None
    own_unreadable: bool = False


def roster_status(roster: RosterSnapshot, uid: str) -> RosterStatus:
    """Args:
    uid: of the WgMeshNode this node became a member by; empty: not known.
    """
    own = roster.own
    if not roster.listed:
        return RosterStatus.UNKNOWN
    if own is not None:
        if uid and own.uid != uid:
            return RosterStatus.REPLACED
        return RosterStatus.DELETED if own.deleting else RosterStatus.MEMBER
    if roster.own_unreadable:
        return RosterStatus.UNCERTAIN
    if roster.mesh_gone or (roster.mesh is not None and roster.mesh.deleting) or roster.nodes:
        return RosterStatus.UNLISTED
    return RosterStatus.UNCERTAIN
