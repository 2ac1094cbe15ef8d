"""What runs beside a session in Kubernetes: each component does its work on the session that it was given."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.unit.kube.harness import (
    MemoryApi,
    SessionGround,
    claim,
    eventually,
    make_authority,
    mesh_body,
    node_body,
    node_path,
    public_key,
    tls_files,
)

from wgmesh_agent.agent.node import MeshNode
from wgmesh_agent.agent.session import Session
from wgmesh_agent.agent.session_start import SessionConfig, SessionStart
from wgmesh_agent.kube.certificate import CertificateStore
from wgmesh_agent.kube.components import KubeComponents
from wgmesh_agent.kube.gossip_keyring import KeyringSync
from wgmesh_agent.kube.roster_cache import RosterCache
from wgmesh_agent.kube.roster_policy import RosterPolicy
from wgmesh_agent.mesh.credentials import Credentials


class PlayedSession(Session):
    """With the node of a ground."""

    def __init__(self, ground: SessionGround) -> None:
        self.node, self.end = ground.node, ground.end


class ComponentsHarness:
    """The node alpha as the roster has it, whose roster names beta too."""

    def __init__(self, folder: Path) -> None:
        self.api = MemoryApi()
        self.api.put(mesh_body())
        self.api.put(node_body())
        self.api.put(node_body("beta", 2, key=public_key(2)))
        view = RosterCache("blue", "alpha")
        view.start(self.api)
        identity = CertificateStore(folder)
        identity.save_uid("uid-alpha")
        policy = RosterPolicy(view, identity)
        self.keyring = folder / "keyring"
        self.keyring.write_text(json.dumps([base64.b64encode(bytes(32)).decode()]))
        self.components = KubeComponents(
            self.api,
            view,
            identity,
            policy,
            Credentials(tls_files(make_authority())),
            KeyringSync(self.keyring, lambda: ()),
            lambda: "port 9090 is in use",
            self._next_start,
        )
        self.session = SessionGround(folder, policy)

    @staticmethod
    def _next_start(node: MeshNode) -> SessionStart:
        return SessionStart(SessionConfig(None, None, None), node.policies, node.record)

    @asynccontextmanager
    async def running(self, *names: str) -> AsyncIterator[None]:
        """These components, by name."""
        found = {one.name: one for one in self.components.for_session(PlayedSession(self.session))}
        tasks = [asyncio.create_task(found[name].run()) for name in names]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_each_is_named_once(tmp_path: Path) -> None:
    harness = ComponentsHarness(tmp_path)
    names = [one.name for one in harness.components.for_session(PlayedSession(harness.session))]
    assert names == ["roster", "status", "certificate", "gossip keys", "WireGuard key"]


async def test_the_roster_s_members_are_bound_and_those_it_no_longer_has_let_go(tmp_path: Path) -> None:
    harness = ComponentsHarness(tmp_path)
    harness.session.bind(claim("gamma", 3))
    async with harness.running("roster"):
        await eventually(lambda: set(harness.session.bound()) == {"beta"})
        harness.api.remove(node_path("beta"))
        await eventually(lambda: not harness.session.bound())


async def test_a_node_that_is_deleted_leaves(tmp_path: Path) -> None:
    harness = ComponentsHarness(tmp_path)
    async with harness.running("roster"):
        harness.api.put(node_body(deleting=True))
        await eventually(lambda: harness.session.leave_requested.is_set())


async def test_the_status_says_what_is_not_served(tmp_path: Path) -> None:
    harness = ComponentsHarness(tmp_path)
    async with harness.running("status"):
        await eventually(lambda: harness.api.applied)
    assert "port 9090 is in use" in json.dumps(harness.api.objects[node_path()]["status"])


async def test_after_it_has_left_the_operator_is_told(tmp_path: Path) -> None:
    harness = ComponentsHarness(tmp_path)
    await harness.components.report_left("blue", "alpha")
    assert harness.api.objects[node_path()]["status"]["phase"] == "Left"
