"""Summary of the nodes' reports on their WireGuard keys. Nodes rotate them automatically, when due or on request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from wgmesh_api.fields import read_text
from wgmesh_api.report import NodeReport
from wgmesh_api.roster import ROTATE_WIREGUARD_KEYS, token_id
from wgmesh_operator.decisions.actions import Emit, Kind
from wgmesh_operator.decisions.model import AnyMesh


@dataclass(frozen=True, slots=True)
class WireGuardKeys:
    """`oldest`: since when the oldest key is in use; `rotated_for`: the last request that all have completed; `news` of
    it.
    """

    oldest: datetime | None
    rotated_for: str
    news: tuple[Emit, ...] = ()


def summarize_keys(mesh: AnyMesh, reports: Sequence[NodeReport]) -> WireGuardKeys:
    """`reports` are those of live nodes."""
    oldest = min((r.public_key_since for r in reports if r.public_key_since is not None), default=None)
    before = read_text(mesh.status, "lastHandledRotation") or read_text(
        mesh.status, "wireguardKeysRotatedFor"
    )
    wanted = token_id(mesh.metadata.annotations.get(ROTATE_WIREGUARD_KEYS, ""))
    if not wanted or wanted == before or not reports or any(r.rotated_for != wanted for r in reports):
        return WireGuardKeys(oldest, before)
    message = f"all {len(reports)} live nodes have new WireGuard keys"
    return WireGuardKeys(
        oldest, wanted, (Emit(Kind.MESH, mesh.name, mesh.uid, "WireGuardKeysRotated", message),)
    )
