"""The source of metrics: a snapshot of a session."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.kube.harness import MemoryApi, SessionGround, make_authority, mesh_body, node_body, tls_files

from wgmesh_agent.kube.metrics_snapshot import collect_snapshot
from wgmesh_agent.kube.roster_cache import RosterCache
from wgmesh_agent.mesh.credentials import Credentials
from wgmesh_agent.mesh.join.port_binding import Serving


@pytest.mark.parametrize(
    ("serving", "admits"),
    [(None, False), (Serving(True), True), (Serving(False, "port 5000 is in use"), False)],
)
async def test_a_node_admits_others_where_its_service_runs(
    serving: Serving | None, admits: bool, tmp_path: Path
) -> None:
    api, view = MemoryApi(), RosterCache("blue", "alpha")
    api.put(mesh_body())
    api.put(node_body())
    view.start(api)
    ground = SessionGround(tmp_path, bootstrap=serving is not None, serving=serving)
    look = await collect_snapshot(ground.node, view, Credentials(tls_files(make_authority())))
    assert look.bootstrap is admits
