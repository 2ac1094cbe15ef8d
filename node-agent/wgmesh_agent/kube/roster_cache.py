"""Watch cache of one WgMesh and its WgMeshNodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from wgmesh_agent.kube.api_client import KubernetesApi, meshes_path, nodes_path
from wgmesh_agent.kube.list_watch import Freshness, Object
from wgmesh_agent.kube.roster_status import RosterSnapshot, RosterStatus, roster_status
from wgmesh_agent.runtime.borders import border
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.settings.model import HostPort
from wgmesh_api.roster import (
    MESH_LABEL,
    AddressHolders,
    RosterMesh,
    RosterNode,
    node_object_name,
    read_mesh,
    read_node,
)

ROSTER = border("roster object", "WgMesh and WgMeshNodes, as received from the API server")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A malformed object, by its name."""

    name: str


class RosterCache:
    """Kept up to date by two watches; while the API server is unreachable it is unchanged.

    A malformed object is not a removed one: its last valid version counts.
    """

    def __init__(self, mesh: str, node: str) -> None:
        self._mesh_name = mesh
        self.node = node
        self.mesh: RosterMesh | None = None
        self.mesh_gone = False
        self.nodes: dict[str, RosterNode] = {}
        self.synced = False
        self.changes = Signal()
        self._unreadable: set[str] = set()
        self._node_by_object: dict[str, str] = {}
        self._changed: set[str] = set()
        self._holders = AddressHolders()
        self._watches: tuple[Freshness, ...] = ()

    def start(self, api: KubernetesApi) -> None:
        """Starts to watch; `synced` is set when all members were listed once."""
        only = [("fieldSelector", f"metadata.name={self._mesh_name}")]
        ours = [("labelSelector", f"{MESH_LABEL}={self._mesh_name}")]
        self._watches = (
            api.watch(meshes_path(), only, _as_it_is, self._replace_mesh, self._change_mesh),
            api.watch(nodes_path(), ours, _node_of, self._replace_nodes, self._change_node),
        )

    @property
    def age_seconds(self) -> float | None:
        """For how long the API server has not confirmed the cache; None: it was never complete."""
        ages = [watch.age_seconds for watch in self._watches]
        known = [age for age in ages if age is not None]
        return max(known) if known and len(known) == len(ages) else None

    @property
    def unreadable(self) -> int:
        """Number of malformed objects of this mesh."""
        return len(self._unreadable)

    @property
    def own(self) -> RosterNode | None:
        return self.nodes.get(self.node)

    def status_of_node(self, uid: str) -> RosterStatus:
        """The status of this node in the roster, given the `uid` of the WgMeshNode by which it became a member; empty:
        unknown.
        """
        own_unreadable = node_object_name(self._mesh_name, self.node) in self._unreadable
        roster = RosterSnapshot(self.synced, self.mesh, self.mesh_gone, self.nodes, self.own, own_unreadable)
        return roster_status(roster, uid)

    def contains(self, node: str) -> bool:
        """Whether there is a WgMeshNode for a member of this name, valid or not."""
        return node in self.nodes or node_object_name(self._mesh_name, node) in self._unreadable

    def rival(self, node: str) -> RosterNode | None:
        """The member that holds an address which the member `node` states too; see AddressHolders."""
        entry = self.nodes.get(node)
        return self._holders.rival(entry) if entry is not None else None

    def drain_changed(self) -> frozenset[str]:
        """The members that changed since the last call; each is returned once."""
        taken, self._changed = frozenset(self._changed), set()
        return taken

    def externals(self) -> list[str]:
        """The external members."""
        return [entry.node for entry in self.nodes.values() if entry.external and not entry.deleting]

    def bootstraps(self) -> list[HostPort]:
        """The service addresses of other bootstrap nodes."""
        if self.mesh is None:
            return []
        return [HostPort(str(b.address), b.port) for b in self.mesh.bootstraps if b.node != self.node]

    def _replace_mesh(self, items: list[Object]) -> None:
        self.mesh_gone = not items
        if self.mesh_gone:
            self.mesh = None
        for body in items:
            self._take_mesh(body)
        self.changes.notify()

    def _change_mesh(self, kind: str, body: Object) -> None:
        self.mesh_gone = kind == "DELETED"
        if self.mesh_gone:
            self.mesh = None
        else:
            self._take_mesh(body)
        self.changes.notify()

    def _replace_nodes(self, items: list[RosterNode | Unreadable]) -> None:
        before, places = self.nodes, self._node_by_object
        self.nodes, self._node_by_object, self._holders = {}, {}, AddressHolders()
        self._unreadable.clear()
        for found in items:
            self._take_node(found, before.get(places.get(found.name, "")))
        self._changed.update(before, self.nodes)
        self.synced = True
        self.changes.notify()

    def _change_node(self, kind: str, found: RosterNode | Unreadable) -> None:
        place = self._node_by_object.pop(found.name, "")
        before = self.nodes.get(place)
        if before is not None and before.name == found.name:
            del self.nodes[place]
            self._holders.drop(before)
            self._changed.add(place)
        else:
            before = None
        self._unreadable.discard(found.name)
        if kind != "DELETED":
            self._take_node(found, before)
        self.changes.notify()

    def _take_mesh(self, body: Object) -> None:
        try:
            self.mesh = read_mesh(body)
        except Exception as error:
            # Any fault in it affects this object only; its last valid version counts.
            ROSTER.reject("unreadable mesh", self._mesh_name, repr(error))

    def _take_node(self, found: RosterNode | Unreadable, before: RosterNode | None) -> None:
        if isinstance(found, Unreadable):
            self._unreadable.add(found.name)
            if before is None:
                return
            found = before
        if found.mesh == self._mesh_name:
            self.nodes[found.node] = found
            self._holders.put(found)
            self._node_by_object[found.name] = found.node
            self._changed.add(found.node)


def _as_it_is(body: Object) -> Object:
    return body


def _node_of(body: Object) -> RosterNode | Unreadable:
    try:
        return read_node(body)
    except Exception as error:
        # Any fault in it affects this object only: the rest of the roster counts.
        name = _name_of(body)
        ROSTER.reject("unreadable", name, repr(error))
        return Unreadable(name)


def _name_of(body: Object) -> str:
    """The name of an object, whatever else is wrong with it."""
    metadata = body.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return name if isinstance(name, str) else ""


async def wait_until(view: RosterCache, holds: Callable[[], bool]) -> None:
    """Waits until `holds` is true of the cache; evaluated after every change."""
    while not holds():
        await view.changes.wait_after(view.changes.generation)
