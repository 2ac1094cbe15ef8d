"""The roster as this agent last saw it: its mesh, and all members of it."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from wgmesh_agent.daemon.changes import Changes
from wgmesh_agent.kube.api import Api, Object, meshes_path, nodes_path
from wgmesh_agent.settings.model import HostPort
from wgmesh_api.roster import MESH_LABEL, RosterMesh, RosterNode, UnreadableObject, read_mesh, read_node

log = structlog.get_logger()


class RosterView:
    """Kept up to date by two watches; while the API server is away it stays as it was."""

    def __init__(self, mesh: str, node: str) -> None:
        self._mesh_name = mesh
        self._node_name = node
        self.mesh: RosterMesh | None = None
        self.nodes: dict[str, RosterNode] = {}
        self.synced = False
        self.changes = Changes()

    def start(self, api: Api) -> None:
        """Begins to watch; `synced` is set when all members were listed once."""
        only = [("fieldSelector", f"metadata.name={self._mesh_name}")]
        api.watch(meshes_path(), only, self._replace_mesh, self._change_mesh)
        ours = [("labelSelector", f"{MESH_LABEL}={self._mesh_name}")]
        api.watch(nodes_path(), ours, self._replace_nodes, self._change_node)

    @property
    def own(self) -> RosterNode | None:
        return self.nodes.get(self._node_name)

    def bootstraps(self) -> list[HostPort]:
        """Where other bootstrap nodes serve."""
        if self.mesh is None:
            return []
        return [HostPort(str(b.address), b.port) for b in self.mesh.bootstraps if b.node != self._node_name]

    def _replace_mesh(self, items: list[Object]) -> None:
        self.mesh = None
        for body in items:
            self._take_mesh(body)
        self.changes.bump()

    def _change_mesh(self, kind: str, body: Object) -> None:
        if kind == "DELETED":
            self.mesh = None
        else:
            self._take_mesh(body)
        self.changes.bump()

    def _replace_nodes(self, items: list[Object]) -> None:
        self.nodes = {}
        for body in items:
            self._take_node(body)
        self.synced = True
        self.changes.bump()

    def _change_node(self, kind: str, body: Object) -> None:
        if kind == "DELETED":
            try:
                self.nodes.pop(read_node(body).node, None)
            except UnreadableObject as error:
                log.warning("roster entry unreadable", why=str(error))
        else:
            self._take_node(body)
        self.changes.bump()

    def _take_mesh(self, body: Object) -> None:
        try:
            self.mesh = read_mesh(body)
        except (UnreadableObject, ValueError) as error:
            log.warning("mesh unreadable", why=str(error))

    def _take_node(self, body: Object) -> None:
        try:
            node = read_node(body)
        except (UnreadableObject, ValueError) as error:
            log.warning("roster entry unreadable", why=str(error))
            return
        if node.mesh == self._mesh_name:
            self.nodes[node.node] = node


async def until(view: RosterView, holds: Callable[[], bool]) -> None:
    """Waits until `holds` is true of the view; looks after every change."""
    while not holds():
        await view.changes.after(view.changes.generation)
