"""Cache of the cluster: updated by watches, by the responses to the operator's own writes, and by periodic lists.

Versions only increase: a late watch event does not overwrite a newer response. Every change names the meshes to
reconcile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from wgmesh_api.fields import IPNetwork, UnreadableObject, read_mapping, read_required, read_text
from wgmesh_api.roster import MESH_LABEL
from wgmesh_operator.api_resources import KIND_NAMES, WatchedResource
from wgmesh_operator.clock import SystemClock
from wgmesh_operator.decisions.actions import Json
from wgmesh_operator.decisions.cluster_node import ClusterNode, read_cluster_node
from wgmesh_operator.decisions.faults import Border, Fault, explained
from wgmesh_operator.decisions.model import (
    AnyMesh,
    ClusterState,
    InvalidMesh,
    Member,
    Mesh,
    Secret,
    SigningRequest,
    Unreadable,
    read_member,
    read_mesh_object,
    read_secret,
    read_signing_request,
)
from wgmesh_operator.decisions.trust.signing_requests import mesh_of_requester
from wgmesh_operator.rejections import Rejections


@dataclass(frozen=True, slots=True)
class LabelledBody:
    """An object that is cached unparsed. `mesh`: the one it was created for."""

    mesh: str
    body: Json


MAX_VERSION_DIGITS = 20
"""A version is etcd's revision, of 64 bits."""
Read = AnyMesh | ClusterNode | Member | SigningRequest | Secret | LabelledBody


class ClusterCache:
    """Holds the objects; used from one thread. `changed` is called with the names of meshes to reconcile."""

    def __init__(
        self,
        namespace: str,
        changed: Callable[[Iterable[str]], None],
        rejections: Rejections | None = None,
    ) -> None:
        self._namespace = namespace
        self._changed = changed
        self._rejections = rejections or Rejections(SystemClock())
        self._unreadable: dict[tuple[WatchedResource, str], Unreadable] = {}
        self._unread_versions: dict[tuple[WatchedResource, str], int] = {}
        self._versions: dict[tuple[WatchedResource, str], int] = {}
        self._gone: dict[tuple[WatchedResource, str], int] = {}
        self._meshes: dict[str, AnyMesh] = {}
        self._nodes: dict[str, ClusterNode] = {}
        self._members: dict[str, dict[str, Member]] = {}
        self._member_places: dict[str, tuple[str, str]] = {}
        self._requests: dict[str, dict[str, SigningRequest]] = {}
        self._request_places: dict[str, str] = {}
        self._secrets: dict[str, Secret] = {}
        self._daemon_sets: dict[str, Mapping[str, Any]] = {}
        self._labelled: dict[tuple[WatchedResource, str], str] = {}
        self._service_cidrs: tuple[IPNetwork, ...] = ()

    @property
    def state(self) -> ClusterState:
        """The current state. Not a copy: to be used before any await."""
        return ClusterState(
            self._meshes,
            self._nodes,
            self._members,
            self._requests,
            self._secrets,
            self._daemon_sets,
            self._service_cidrs,
            tuple(self._unreadable.values()),
        )

    @property
    def mesh_names(self) -> set[str]:
        """Every mesh of which any object exists. "" stands for requests that belong to no mesh."""
        return {*self._meshes, *self._members, *self._requests}

    def version(self, watched: WatchedResource, name: str) -> int | None:
        return self._versions.get((watched, name))

    def set_service_cidrs(self, cidrs: tuple[IPNetwork, ...]) -> None:
        if cidrs != self._service_cidrs:
            self._service_cidrs = cidrs
            self._changed(self.mesh_names)

    def put(self, watched: WatchedResource, body: Json) -> bool:
        """Stores `body` unless a later version is known; returns whether it was stored.

        An object whose decoding fails is counted and listed in `state.unreadable`; its last valid version stays.
        """
        name = ""
        try:
            name, version = _name(body), _version(body)
            key = (watched, name)
            if version <= max(
                self._versions.get(key, self._gone.get(key, -1)), self._unread_versions.get(key, -1)
            ):
                return False
            read, doubt = self._read(watched, body)
        except Exception as error:
            self._reject(watched, name, body, error)
            return False
        dirty = set(self._put(watched, name, read))
        if doubt is not None:
            self._reject(watched, name, body, doubt, partly=True)
        elif self._unreadable.pop(key, None) is not None:
            dirty |= self.mesh_names
        self._versions[key] = version
        self._unread_versions.pop(key, None)
        self._gone.pop(key, None)
        self._changed(dirty)
        return True

    def _read(self, watched: WatchedResource, body: Json) -> tuple[Read, Exception | None]:
        """The object, and the exception of decoding its status. Raises the exception of decoding the rest."""
        match watched:
            case WatchedResource.MESHES:
                return read_mesh_object(body), None
            case WatchedResource.NODES:
                return read_cluster_node(body), None
            case WatchedResource.MEMBERS:
                # agents write the status only: a malformed one must not hide what the operator itself has written
                try:
                    return read_member(body), None
                except UnreadableObject:
                    raise
                except Exception as error:
                    return read_member({**body, "status": {}}), error
            case WatchedResource.REQUESTS:
                return read_signing_request(body), None
            case WatchedResource.SECRETS:
                return read_secret(body), None
            case WatchedResource.DAEMON_SETS:
                return LabelledBody(_label(body), body), None

    def _reject(
        self, watched: WatchedResource, name: str, body: Json, error: Exception, *, partly: bool = False
    ) -> None:
        kind = KIND_NAMES[watched]
        self._rejections.count(Fault(Border.OBJECT, f"{kind} {name or '(without a name)'}", error))
        # any agent can create requests: a malformed one must not affect the condition of others
        if not name or watched is WatchedResource.REQUESTS:
            return
        with self._rejections.fence(Border.OBJECT, f"{kind} {name}"):
            self._unread_versions[(watched, name)] = _version(body)
            mesh = {
                WatchedResource.MESHES: name,
                WatchedResource.NODES: "",
                WatchedResource.MEMBERS: name.partition(".")[0],
            }.get(watched)
            self._unreadable[(watched, name)] = Unreadable(
                kind=kind,
                name=name,
                uid=read_text(read_mapping(body, "metadata"), "uid"),
                mesh=_label(body) if mesh is None else mesh,
                why=explained(error),
                partly=partly,
            )
            self._changed(self.mesh_names)

    def remove(self, watched: WatchedResource, name: str, body: Json | None = None) -> None:
        """Removes a deleted object. `body` is its last version: a later namesake stays."""
        key = (watched, name)
        if self._unreadable.pop(key, None) is not None:
            self._unread_versions.pop(key, None)
            self._changed(self.mesh_names)
        known = self._versions.get(key)
        last = _version(body) if body is not None else known or 0
        if known is None:
            # responses to earlier writes may arrive after the deletion
            self._gone[key] = max(last, self._gone.get(key, 0))
        elif last >= known:
            del self._versions[key]
            self._gone[key] = last
            self._changed(self._remove(watched, name))

    def replace_from_list(self, watched: WatchedResource, items: Iterable[Json], list_version: str) -> int:
        """Compares the cache with a full list; returns how many changes the watch had missed."""
        listed: dict[str, Json] = {}
        for body in items:
            with self._rejections.fence(Border.OBJECT, KIND_NAMES[watched]):
                listed[_name(body)] = body
        upto = int(list_version) if list_version.isdigit() else 0
        missed = sum(self.put(watched, body) for body in listed.values())
        gone = [
            name
            for (kind, name), version in self._versions.items()
            if kind is watched and name not in listed and version <= upto
        ]
        gone += [
            name
            for kind, name in self._unreadable
            if kind is watched and name not in listed and (kind, name) not in self._versions
        ]
        for name in gone:
            self.remove(watched, name)
        self._gone = {key: v for key, v in self._gone.items() if key[0] is not watched or v > upto}
        return missed + len(gone)

    def _put(self, watched: WatchedResource, name: str, read: Read) -> Iterable[str]:
        match read:
            case Mesh() | InvalidMesh():
                return self._put_mesh(name, read)
            case ClusterNode():
                before, self._nodes[name] = self._nodes.get(name), read
                return () if read == before else self.mesh_names
            case Member():
                return self._put_member(name, read)
            case SigningRequest():
                mesh = mesh_of_requester(read.requester.username, self._namespace) or ""
                self._requests.setdefault(mesh, {})[name] = read
                self._request_places[name] = mesh
                return () if read.state.settled else (mesh,)
            case Secret():
                self._secrets[name] = read
            case LabelledBody():
                self._daemon_sets[name] = read.body
        self._labelled[(watched, name)] = read.mesh
        return (read.mesh,)

    def _put_mesh(self, name: str, mesh: AnyMesh) -> Iterable[str]:
        before = self._meshes.get(name)
        self._meshes[name] = mesh
        if before is None or before.uid != mesh.uid or before.metadata.generation != mesh.metadata.generation:
            # its ranges and ports affect other meshes
            return self.mesh_names
        return (name,)

    def _put_member(self, name: str, member: Member) -> Iterable[str]:
        place = (member.roster.mesh, member.roster.node)
        before = self._members.get(place[0], {}).get(place[1])
        old_place = self._member_places.get(name)
        if old_place is not None and old_place != place:
            self._forget_member(name)
        self._members.setdefault(place[0], {})[place[1]] = member
        self._member_places[name] = place
        if before is not None and replace(before, resource_version=member.resource_version) == member:
            return ()
        return (place[0],)

    def _forget_member(self, name: str) -> str:
        mesh, node = self._member_places.pop(name)
        members = self._members.get(mesh, {})
        members.pop(node, None)
        if not members:
            self._members.pop(mesh, None)
        return mesh

    def _remove(self, watched: WatchedResource, name: str) -> Iterable[str]:
        match watched:
            case WatchedResource.MESHES:
                self._meshes.pop(name, None)
                return {*self.mesh_names, name}
            case WatchedResource.NODES:
                self._nodes.pop(name, None)
                return self.mesh_names
            case WatchedResource.MEMBERS:
                return (self._forget_member(name),)
            case WatchedResource.REQUESTS:
                mesh = self._request_places.pop(name)
                requests = self._requests.get(mesh, {})
                requests.pop(name, None)
                if not requests:
                    self._requests.pop(mesh, None)
                return ()
            case WatchedResource.SECRETS:
                self._secrets.pop(name, None)
            case WatchedResource.DAEMON_SETS:
                self._daemon_sets.pop(name, None)
        return (self._labelled.pop((watched, name), ""),)


def _name(body: Json) -> str:
    """Raises UnreadableObject."""
    return read_required(read_mapping(body, "metadata"), "name")


def _label(body: Json) -> str:
    return read_text(read_mapping(read_mapping(body, "metadata"), "labels"), MESH_LABEL)


def _version(body: Json) -> int:
    text = read_text(read_mapping(body, "metadata"), "resourceVersion")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MAX_VERSION_DIGITS else 0
