"""Observes hosts from outside during a schedule: by `wg` and by the files on their disks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from itertools import combinations
from pathlib import Path
from typing import Protocol

from tests.chaos.invariants import Broken, shared_addresses
from tests.netns.mesh_harness import Tunnel, WireGuard, has_interface, state_file, wireguard

from wgmesh_agent.lab.mesh import Mesh
from wgmesh_agent.state.codec import mesh_from_json
from wgmesh_agent.wireguard.keys import InvalidKeyError, PrivateKey
from wgmesh_agent.wireguard.model import IPAddress


class Hosts(Protocol):
    """What is to be seen of nodes from outside."""

    def wireguard(self, node: str) -> WireGuard | None:
        """Its interface as `wg` shows it; None while there is none."""

    def state_file(self, node: str, name: str) -> Path:
        """A file of its state folder."""

    def runs(self, node: str) -> bool:
        """Whether its agent does."""


class LabHosts:
    """Those of a mesh in the lab."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    def wireguard(self, node: str) -> WireGuard | None:
        host = self._mesh.network.hosts[node]
        return wireguard(host) if has_interface(host) else None

    def state_file(self, node: str, name: str) -> Path:
        return state_file(self._mesh, node, name)

    def runs(self, node: str) -> bool:
        return node in self._mesh.agents and self._mesh.agents[node].runs()


class Watching:
    """Observer of one mesh; not notified of faults."""

    def __init__(self, hosts: Hosts, nodes: tuple[str, ...]) -> None:
        self._hosts = hosts
        self._nodes = nodes
        self._keys: set[str] = set()
        self._kept: dict[str, set[str]] = {}

    def keep(self, nodes: Iterable[str]) -> None:
        """From now on none of these may lose one of these as a peer: neither their keys nor their tunnels end."""
        keys = {node: self._public_key(node) for node in nodes}
        self._kept = {node: set(keys.values()) - {keys[node]} for node in keys}

    def look(self, up: Iterable[str]) -> None:
        """No ranges that overlap, no peer that is no member, no peer of a healthy link missing, no address twice.

        Raises Broken.
        """
        for node in up:
            interface = self._hosts.wireguard(node)
            if interface is not None:
                self._look_at(node, interface.tunnels)
        living = [node for node in up if self._hosts.runs(node)]
        for shared in shared_addresses({node: self._addresses(node) for node in living}, living):
            raise Broken(shared)

    def _public_key(self, node: str) -> str:
        interface = self._hosts.wireguard(node)
        if interface is None:
            raise Broken(f"{node} has no interface")
        return interface.public_key

    def _look_at(self, node: str, tunnels: Mapping[str, Tunnel]) -> None:
        if not tunnels.keys() <= self._keys:
            self._note_keys()
        strangers = tunnels.keys() - self._keys
        if strangers:
            raise Broken(f"{node} has peers that are no members: {sorted(strangers)}")
        ranges = [
            ip_network(one) for tunnel in tunnels.values() for one in tunnel.allowed_ips if one != "(none)"
        ]
        for one, other in combinations(ranges, 2):
            if one.version == other.version and one.overlaps(other):
                raise Broken(f"{node} has ranges that overlap: {one} and {other}")
        lost = self._kept.get(node, set()) - tunnels.keys()
        if lost:
            raise Broken(f"{node} lost the peers {sorted(lost)}")

    def _note_keys(self) -> None:
        """A node's key is on its disk before it is announced to any member."""
        for node in self._nodes:
            try:
                text = self._hosts.state_file(node, "wireguard.key").read_text("ascii").strip()
                self._keys.add(str(PrivateKey.from_base64(text).public()))
            except (OSError, UnicodeDecodeError, InvalidKeyError):
                # Lost with the machine, or cut in half.
                continue

    def _addresses(self, node: str) -> tuple[IPAddress, ...]:
        try:
            record = json.loads(self._hosts.state_file(node, "mesh.json").read_text())
            return mesh_from_json(record["content"]).addresses
        except (OSError, ValueError, KeyError):
            return ()
