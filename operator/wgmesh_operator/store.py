"""The operator's copy of the cluster: kept by watches, by the answers to its own writes, and by listing now and then.

Versions only go forward: what a watch tells late doesn't overwrite what an answer told before. Every change says which
meshes must be looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from wgmesh_api.fields import IPNetwork, UnreadableObject
from wgmesh_api.roster import MESH_LABEL
from wgmesh_operator.decisions.model import (
    ClusterNode,
    ClusterState,
    Json,
    Member,
    MeshObject,
    Secret,
    SigningRequest,
    read_cluster_node,
    read_member,
    read_mesh_object,
    read_secret,
    read_signing_request,
)
from wgmesh_operator.decisions.requests import mesh_of_requester
from wgmesh_operator.resources import Watched

log = logging.getLogger(__name__)


class Store:
    """Holds the objects; used from one thread. `changed` is called with the names of meshes to look at."""

    def __init__(self, namespace: str, changed: Callable[[Iterable[str]], None]) -> None:
        self._namespace = namespace
        self._changed = changed
        self._versions: dict[tuple[Watched, str], int] = {}
        self._gone: dict[tuple[Watched, str], int] = {}
        self._meshes: dict[str, MeshObject] = {}
        self._nodes: dict[str, ClusterNode] = {}
        self._members: dict[str, dict[str, Member]] = {}
        self._member_places: dict[str, tuple[str, str]] = {}
        self._requests: dict[str, dict[str, SigningRequest]] = {}
        self._request_places: dict[str, str] = {}
        self._secrets: dict[str, Secret] = {}
        self._daemon_sets: dict[str, Mapping[str, Any]] = {}
        self._labelled: dict[tuple[Watched, str], str] = {}
        self._service_cidrs: tuple[IPNetwork, ...] = ()

    @property
    def state(self) -> ClusterState:
        """As it is now. Not a copy: to be used before anything is awaited."""
        return ClusterState(
            self._meshes,
            self._nodes,
            self._members,
            self._requests,
            self._secrets,
            self._daemon_sets,
            self._service_cidrs,
        )

    @property
    def mesh_names(self) -> set[str]:
        """Every mesh there is anything of. "" stands for requests of nobody's mesh."""
        return {*self._meshes, *self._members, *self._requests}

    def version(self, watched: Watched, name: str) -> int | None:
        return self._versions.get((watched, name))

    def set_service_cidrs(self, cidrs: tuple[IPNetwork, ...]) -> None:
        if cidrs != self._service_cidrs:
            self._service_cidrs = cidrs
            self._changed(self.mesh_names)

    def put(self, watched: Watched, body: Json) -> bool:
        """Take over `body` unless a later version is known; whether it was taken."""
        name, version = body["metadata"]["name"], _version(body)
        key = (watched, name)
        if version <= self._versions.get(key, self._gone.get(key, -1)):
            return False
        try:
            dirty = self._put(watched, name, body)
        except (UnreadableObject, KeyError, TypeError, ValueError) as error:
            log.warning("%s %s cannot be read and is passed over: %s", watched, name, error)
            return False
        self._versions[key] = version
        self._gone.pop(key, None)
        self._changed(dirty)
        return True

    def remove(self, watched: Watched, name: str, body: Json | None = None) -> None:
        """Forget an object that is gone. `body` is its last version: a later namesake stays."""
        key = (watched, name)
        known = self._versions.get(key)
        last = _version(body) if body is not None else known or 0
        if known is None:
            # what was written before it went may be answered after
            self._gone[key] = max(last, self._gone.get(key, 0))
        elif last >= known:
            del self._versions[key]
            self._gone[key] = last
            self._changed(self._remove(watched, name))

    def take_list(self, watched: Watched, items: Iterable[Json], list_version: str) -> int:
        """Compare with a full list; how many objects the watch had missed."""
        listed = {body["metadata"]["name"]: body for body in items}
        upto = int(list_version) if list_version.isdigit() else 0
        missed = sum(self.put(watched, body) for body in listed.values())
        gone = [
            name
            for (kind, name), version in self._versions.items()
            if kind is watched and name not in listed and version <= upto
        ]
        for name in gone:
            self.remove(watched, name)
        self._gone = {key: v for key, v in self._gone.items() if key[0] is not watched or v > upto}
        return missed + len(gone)

    def _put(self, watched: Watched, name: str, body: Json) -> Iterable[str]:
        match watched:
            case Watched.MESHES:
                return self._put_mesh(name, read_mesh_object(body))
            case Watched.NODES:
                node = read_cluster_node(body)
                before, self._nodes[name] = self._nodes.get(name), node
                return () if node == before else self.mesh_names
            case Watched.MEMBERS:
                return self._put_member(name, read_member(body))
            case Watched.REQUESTS:
                request = read_signing_request(body)
                mesh = mesh_of_requester(request.username, self._namespace) or ""
                self._requests.setdefault(mesh, {})[name] = request
                self._request_places[name] = mesh
                return () if request.settled else (mesh,)
            case Watched.SECRETS:
                self._secrets[name] = read_secret(body)
            case Watched.DAEMON_SETS:
                self._daemon_sets[name] = body
        mesh = (body["metadata"].get("labels") or {}).get(MESH_LABEL, "")
        self._labelled[(watched, name)] = mesh
        return (mesh,)

    def _put_mesh(self, name: str, mesh: MeshObject) -> Iterable[str]:
        before = self._meshes.get(name)
        self._meshes[name] = mesh
        if before is None or before.generation != mesh.generation or before.uid != mesh.uid:
            # its ranges and ports are others' business
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

    def _remove(self, watched: Watched, name: str) -> Iterable[str]:
        match watched:
            case Watched.MESHES:
                self._meshes.pop(name, None)
                return {*self.mesh_names, name}
            case Watched.NODES:
                self._nodes.pop(name, None)
                return self.mesh_names
            case Watched.MEMBERS:
                return (self._forget_member(name),)
            case Watched.REQUESTS:
                mesh = self._request_places.pop(name)
                requests = self._requests.get(mesh, {})
                requests.pop(name, None)
                if not requests:
                    self._requests.pop(mesh, None)
                return ()
            case Watched.SECRETS:
                self._secrets.pop(name, None)
            case Watched.DAEMON_SETS:
                self._daemon_sets.pop(name, None)
        return (self._labelled.pop((watched, name), ""),)


def _version(body: Json) -> int:
    text = str(body["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0
