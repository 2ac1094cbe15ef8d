"""What this node is to the roster. Pure.

Leaving takes interface, keys and state away, and a roster can be wrong: emptied by mistake, restored from an old
backup, listed without what makes a member one. So a node leaves only for what was surely done to it:

| its own WgMeshNode | the rest of the roster | so it |
|---|---|---|
| is there, the same | | is a member |
| is being deleted, or is another of the same name | | leaves |
| is not there | the WgMesh is gone or going, or other members are there | leaves, once the API server says the same of
this one object when asked for it |
| is not there | the WgMesh is there, and no member at all | stays as it is, and says so |
| cannot be read | | stays as it is |

While it stays as it is, it takes nothing from the roster: peers it has are kept.
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
    REPLACED = "its WgMeshNode was deleted and made anew"
    UNLISTED = "it has no WgMeshNode"
    UNCERTAIN = "the roster cannot be right"


@dataclass(frozen=True, slots=True)
class RosterSnapshot:
    """The roster as it was last seen.

    Attributes:
        listed: whether it was ever seen whole.
        mesh_gone: whether there surely is no WgMesh; False while that is not known.
        own_unreadable: whether there is a WgMeshNode of this node that makes no sense.
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
