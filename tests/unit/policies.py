"""Policies for tests: one whose every answer a test sets, and those of a mesh without a roster."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from wgmesh_agent.agent.policies import Policies
from wgmesh_agent.mesh.caller import Caller
from wgmesh_agent.mesh.join.bootstrap_directory import StaticBootstraps
from wgmesh_agent.mesh.membership.policy import Routes, StandalonePolicy
from wgmesh_agent.mesh.rotation.key_policy import StandaloneKeyPolicy
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import IPAddress


@dataclass
class ScriptedPolicy:
    """Admits all but `unlisted`, and answers about members as configured.

    Attributes:
        signed_routes: the routes it signs, of those requested; None: all.
    """

    unlisted: set[str] = field(default_factory=set)
    signed_routes: Routes | None = ()
    routes_from_claims: bool = True
    announced: dict[str, PublicKey] = field(default_factory=dict)
    since: dict[str, datetime] = field(default_factory=dict)
    roster_age: float | None = None

    def admits(self, node: str) -> bool:
        return node not in self.unlisted

    def assigned_addresses(self, node: str, caller: Caller) -> tuple[IPAddress, ...] | None:
        return None

    def allowed_routes(self, node: str, requested: Routes) -> Routes:
        given = self.signed_routes
        return requested if given is None else tuple(route for route in requested if route in given)

    def takes_routes_from_claims(self) -> bool:
        return self.routes_from_claims

    def announced_key(self, node: str) -> PublicKey | None:
        return self.announced.get(node)

    def member_since(self, node: str) -> datetime | None:
        return self.since.get(node)

    def roster_age_seconds(self) -> float | None:
        return self.roster_age


@dataclass
class ScriptedKeyPolicy:
    """Notes which keys were announced before they were used."""

    gossip_keys_managed_by: str = ""
    announced: list[PublicKey] = field(default_factory=list)

    async def before_new_key(self, key: PublicKey) -> None:
        self.announced.append(key)


def standalone() -> Policies:
    """Those of the mesh's first node, which grants no routes."""
    return Policies(StandalonePolicy(()), StandaloneKeyPolicy(), StaticBootstraps(()))
