"""How an agent in Kubernetes begins and ends its lives: with and without API server, state, and its old name."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from tests.unit.kube.harness import (
    BOOTSTRAP,
    OWN_KEY,
    MemoryApi,
    certificate,
    claim,
    eventually,
    make_authority,
    mesh_body,
    node_body,
    node_path,
    public_key,
)

from wgmesh_agent.agent.session_start import SessionStart
from wgmesh_agent.kube import agent as module
from wgmesh_agent.kube.agent import KubeAgent
from wgmesh_agent.kube.certificate import CertificateStore
from wgmesh_agent.kube.list_watch import Object
from wgmesh_agent.kube.settings import from_environment
from wgmesh_agent.mesh.join.client import JoinRefused, JoinResult, JoinUnreachable
from wgmesh_agent.mesh.join.joiner import JoinTarget
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.settings.model import HostPort
from wgmesh_agent.state.store import StateStore
from wgmesh_api.certificates import cert_to_pem
from wgmesh_api.identity import Role

GOSSIP_KEY = bytes(32)
RECORD = MeshRecord(
    mesh="blue",
    node="alpha",
    addresses=(ip_address("10.232.0.1"),),
    ranges=(ip_network("10.232.0.0/16"),),
    ipam_ranges=(),
    created_unix=1,
    joined_unix=17,
    gossip_keys=(GOSSIP_KEY,),
    profile="lan",
    gossip_port=7946,
    bootstrap=False,
    tags={"rack": "7"},
)
ADMITTED = JoinResult(
    node="alpha",
    addresses=RECORD.addresses,
    ranges=RECORD.ranges,
    created_unix=1,
    gossip_keys=(GOSSIP_KEY,),
    profile="lan",
    gossip_port=7946,
    peers=(claim("beta", 2),),
)


class Ground:
    """A cluster with the mesh blue, whose operator signs; the agent of alpha is not started yet."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.authority = make_authority()
        self.address = "10.232.0.1"
        self.api = MemoryApi()
        self.api.put(mesh_body(cert_to_pem(self.authority.cert).decode()))
        self.api.put(node_body())
        self.api.put(node_body("beta", 2, key=public_key(2), bootstrap=True))
        self.api.on_create = self._sign
        self.answers: list[JoinResult | Exception] = [ADMITTED]
        self.asked: list[tuple[str, str]] = []
        keyring = folder / "keyring"
        keyring.write_text(json.dumps([base64.b64encode(GOSSIP_KEY).decode()]))
        settings = from_environment(
            {
                "WGMESH_MESH_NAME": "blue",
                "WGMESH_KUBE_NODE": "alpha",
                "WGMESH_KUBE_HOST_IP": "192.0.2.1",
                "WGMESH_KUBE_NAMESPACE": "wgmesh-system",
                "WGMESH_STATE_DIR": str(folder),
                "WGMESH_KEYRING": str(keyring),
                "WGMESH_METRICS_PORT": "0",
            }
        )
        self.folder = StateStore(folder, "blue")
        self.agent = KubeAgent(settings)
        monkeypatch.setattr(self.agent, "_api", self.api)
        monkeypatch.setattr(module, "join_via", self._join_via)
        monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)

    def remember(self, *, uid: str = "uid-alpha", **more: Any) -> None:
        """The state of a member that was here before."""
        self.folder.save_mesh(replace(RECORD, **more))
        identity = CertificateStore(self.folder.path)
        key = identity.key()
        identity.save(certificate(self.authority, key), cert_to_pem(self.authority.cert))
        identity.save_uid(uid)

    def entry(self, *, new_key: bool = False) -> Coroutine[Any, Any, SessionStart | None]:
        return self.agent.entry()(self.folder, OWN_KEY, new_key)

    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.folder.path / "identity.pem").read_bytes())

    async def _join_via(self, door: JoinTarget, bootstrap: HostPort, endpoint: object) -> JoinResult:
        assert door.tls is not None
        self.asked.append((str(bootstrap), f"{door.tls.files.leaf().serial_number}"))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _sign(self, body: Object) -> None:
        request = x509.load_pem_x509_csr(base64.b64decode(body["spec"]["request"]))
        role = Role.BOOTSTRAP if "server auth" in body["spec"]["usages"] else Role.NODE
        pem = certificate(self.authority, request, role=role, address=self.address)
        path = f"/apis/certificates.k8s.io/v1/certificatesigningrequests/{body['metadata']['name']}"
        self.api.objects[path]["status"] = {"certificate": base64.b64encode(pem).decode()}


@pytest.fixture
async def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    ground = Ground(tmp_path, monkeypatch)
    yield ground
    await asyncio.to_thread(ground.agent._health.stop)
    ground.folder.close()


async def within(work: Coroutine[Any, Any, SessionStart | None]) -> SessionStart:
    async with asyncio.timeout(10):
        start = await work
    assert start is not None
    return start


async def test_a_new_node_asks_for_a_certificate_and_is_let_in(ground: Ground) -> None:
    start = await within(ground.entry())
    assert ground.asked == [(str(BOOTSTRAP), "7")]
    assert start.fresh
    assert start.record.gossip_keys == (GOSSIP_KEY,)
    assert {peer.node for peer in start.peers} == {"beta"}
    assert CertificateStore(ground.folder.path).uid() == "uid-alpha"
    assert start.role.bind is None


async def test_a_bootstrap_node_needs_nobody(ground: Ground) -> None:
    ground.api.put(node_body(bootstrap=True))
    start = await within(ground.entry())
    assert ground.asked == []
    assert start.role.bind == HostPort("192.0.2.1", 5000)
    assert start.record.gossip_keys == (GOSSIP_KEY,)
    assert CertificateStore(ground.folder.path).uid() == "uid-alpha"


class TestWithoutApiServer:
    async def test_a_node_that_knows_its_mesh_goes_on(self, ground: Ground) -> None:
        ground.remember()
        ground.api.away = True
        start = await within(ground.entry())
        assert start.record == RECORD
        assert not start.fresh

    async def test_it_goes_on_with_a_certificate_that_has_ended(
        self, ground: Ground, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ground.remember()
        ended = certificate(
            ground.authority,
            CertificateStore(ground.folder.path).key(),
            begun=datetime.now(UTC) - timedelta(hours=3),
        )
        (ground.folder.path / "identity.pem").write_bytes(ended)
        ground.api.away = True
        assert (await within(ground.entry())).record == RECORD

    async def test_a_node_that_knows_nothing_waits_and_enters_when_it_is_back(self, ground: Ground) -> None:
        ground.api.away = True
        task = asyncio.create_task(ground.entry())
        await eventually(lambda: ground.api.watched)
        await asyncio.wait([task], timeout=0.05)
        assert not task.done()
        assert ground.asked == []
        ground.api.back()
        assert (await within(_result(task))).fresh


class TestAnotherLife:
    async def test_a_member_deleted_and_made_anew_does_not_take_over_what_the_old_one_left(
        self, ground: Ground
    ) -> None:
        ground.remember(uid="uid-before")
        (ground.folder.path / "identity.pem").unlink()
        start = await within(ground.entry())
        assert start.record.tags == {}
        assert start.record.joined_unix != RECORD.joined_unix
        assert CertificateStore(ground.folder.path).uid() == "uid-alpha"

    async def test_who_lost_its_certificate_only_stays_the_member_it_was(self, ground: Ground) -> None:
        ground.remember()
        (ground.folder.path / "identity.pem").unlink()
        assert (await within(ground.entry())).record.tags == {"rack": "7"}

    async def test_a_certificate_of_the_member_before_is_not_shown(self, ground: Ground) -> None:
        identity = CertificateStore(ground.folder.path)
        before = datetime.now(UTC) - timedelta(minutes=20)
        old = certificate(ground.authority, identity.key(), begun=before)
        identity.save(old, cert_to_pem(ground.authority.cert))
        await within(ground.entry())
        assert ground.certificate().not_valid_before_utc > before
        assert len(ground.api.created) == 1

    async def test_one_deleted_and_made_anew_while_it_entered_asks_for_another_certificate(
        self, ground: Ground
    ) -> None:
        ground.answers = [JoinUnreachable("not yet")]
        task = asyncio.create_task(ground.entry())
        await eventually(lambda: ground.asked)
        ground.address = "10.232.0.5"
        ground.api.remove(node_path())
        ground.api.put(node_body("alpha", 5, uid="uid-anew"))
        ground.answers = [JoinRefused("revoked"), ADMITTED]
        await within(_result(task))
        assert CertificateStore(ground.folder.path).uid() == "uid-anew"
        assert len(ground.api.created) == 2

    async def test_after_leaving_it_waits_for_another_object_whatever_is_seen_of_the_old_one(
        self, ground: Ground
    ) -> None:
        await within(ground.entry())
        ground.folder.path.joinpath("member.uid").unlink()
        task = asyncio.create_task(ground.agent.after_leaving())
        await eventually(lambda: ground.api.objects[node_path()]["status"].get("phase") == "Left")
        ground.api.put(node_body(status={"phase": "Joined"}))
        await asyncio.wait([task], timeout=0.05)
        assert not task.done()
        ground.api.remove(node_path())
        ground.api.put(node_body(uid="uid-anew"))
        async with asyncio.timeout(10):
            await task

    async def test_one_deleted_while_it_enters_is_told_so_and_says_that_nothing_is_left(
        self, ground: Ground
    ) -> None:
        ground.answers = [JoinUnreachable("not yet")]
        task = asyncio.create_task(ground.entry())
        await eventually(lambda: ground.asked)
        ground.api.put(node_body(deleting=True))
        async with asyncio.timeout(10):
            assert await task is None
        ground.folder.clear()
        waiting = asyncio.create_task(ground.agent.after_leaving())
        await eventually(lambda: ground.api.objects[node_path()]["status"].get("phase") == "Left")
        waiting.cancel()

    async def test_who_left_by_its_user_s_wish_does_not_come_back_by_itself(self, ground: Ground) -> None:
        ground.api.put(node_body(status={"phase": "Left"}))
        task = asyncio.create_task(ground.entry())
        await eventually(lambda: ground.api.watched)
        await asyncio.wait([task], timeout=0.05)
        assert not task.done()
        ground.api.remove(node_path())
        ground.api.put(node_body(uid="uid-anew"))
        assert (await within(_result(task))).fresh


class TestToldToStop:
    async def test_a_member_stops_after_a_moment(
        self, ground: Ground, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "PRE_STOP_GRACE_SECONDS", 0.01)
        await within(ground.entry())
        async with asyncio.timeout(10):
            await ground.agent.before_stopping()

    async def test_one_that_is_deleted_a_moment_later_leaves_first(self, ground: Ground) -> None:
        await within(ground.entry())
        stopping = asyncio.create_task(ground.agent.before_stopping())
        await asyncio.wait([stopping], timeout=0.05)
        ground.api.put(node_body(deleting=True))
        await asyncio.wait([stopping], timeout=0.05)
        assert not stopping.done()
        left = asyncio.create_task(ground.agent.after_leaving())
        async with asyncio.timeout(10):
            await stopping
        left.cancel()
        assert ground.api.objects[node_path()]["status"]["phase"] == "Left"

    async def test_one_that_never_entered_does_not_wait_to_leave(
        self, ground: Ground, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "PRE_STOP_GRACE_SECONDS", 0.01)
        ground.api.remove(node_path())
        task = asyncio.create_task(ground.entry())
        await eventually(lambda: ground.api.watched)
        async with asyncio.timeout(10):
            await ground.agent.before_stopping()
        task.cancel()


async def _result(task: asyncio.Task[SessionStart | None]) -> SessionStart | None:
    return await task
