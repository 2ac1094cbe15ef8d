"""A node's new WireGuard key: used before it is admitted, and reverted if no bootstrap node admits it."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.unit.device import PlayedDevice
from tests.unit.factories import mesh_record
from tests.unit.kube.harness import claim
from tests.unit.local import local_node

from wgmesh_agent.gossip.serf.events import Member, QueryResult
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.mesh.join.client import JoinRefused, JoinResult, JoinUnreachable
from wgmesh_agent.mesh.membership.admission_record import AdmissionRecord
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.rotation import wireguard_key as module
from wgmesh_agent.mesh.rotation.announcement_proxy import AGREED, REJECTED
from wgmesh_agent.mesh.rotation.gossip_key import RotationFailed
from wgmesh_agent.mesh.rotation.key_switch import KeySwitch
from wgmesh_agent.mesh.rotation.wireguard_key import WireGuardKeyRotation
from wgmesh_agent.runtime.clock import SystemClock
from wgmesh_agent.settings.model import HostPort
from wgmesh_agent.state.store import StateStore
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import Device, IPAddress, Peer

OLD = PrivateKey.generate(os.urandom)
A, B = HostPort("192.0.2.1", 5000), HostPort("192.0.2.2", 5000)


def record() -> AdmissionRecord:
    """A record whose signature is not verified here."""
    return AdmissionRecord(
        "blue", "alpha", OLD.public(), (ip_address("10.232.0.9"),), 0, 0, b"", b"", bytes(32)
    )


class Node:
    """A node whose tunnels are in memory: peers complete a handshake once the mesh knows the key in use."""

    def __init__(self, folder: Path) -> None:
        self.store = StateStore(folder, "blue")
        self.store.save_private_key(OLD, None)
        self.local = local_node(mesh_record(node="alpha"), OLD)
        self.ledger = Ledger(self.local)
        self.beta = claim("beta", 7)
        self.known_to_mesh = OLD.public()
        self.steps: list[str] = []
        self.required, self.signs = True, False
        self.herald = AGREED
        self.refusals = 0
        self.failing = 0
        self.is_known_at_once = False
        self.device = Handshakes(self)
        self.view = MemberView(self, self.ledger)
        self.switch = KeySwitch(self.local, self.ledger, self, self.store, SystemClock(), self._trigger)

    def _trigger(self, addresses: Iterable[IPAddress]) -> None:
        self.steps.append(f"knock {len(list(addresses))}")

    def bind(self) -> None:
        assert self.ledger.accept(self.beta, Origin.PEERS, 1.0) is None

    def members(self) -> dict[str, Member]:
        address = self.beta.addresses[0]
        return {"beta": Member("beta", address, 7946, {}, MemberStatus.ALIVE, 1, b"", 0.0)}

    def rtt(self, node: str) -> float | None:
        return None

    async def reconcile(self, *, check_interface: bool) -> None:
        self.steps.append("old key" if self.local.private_key == OLD else "new key")
        if self.failing:
            self.failing -= 1
            raise BackEndError("no such device")
        if self.is_known_at_once:
            self.known_to_mesh = self.local.public_key

    def issue(self, claim: Claim) -> AdmissionRecord | None:
        return record() if self.signs else None

    async def query(
        self,
        name: str,
        payload: bytes = b"",
        *,
        nodes: Sequence[str] | None = None,
        direct: bool = False,
        **_: Any,
    ) -> QueryResult:
        assert direct
        self.steps.append("herald")
        answer = self.herald if self.refusals == 0 else REJECTED
        self.refusals = max(0, self.refusals - 1)
        return QueryResult(frozenset(nodes or ()), frozenset(), dict.fromkeys(nodes or (), answer))


class Handshakes(PlayedDevice):
    """The peer has shaken hands a moment from now if the mesh knows the key in use."""

    def __init__(self, node: Node) -> None:
        super().__init__(Device("wg"))
        self._node = node

    async def read(self, max_age_seconds: float = 0.0) -> Device:
        node, key = self._node, self._node.beta.public_key
        shaken = time.time() + 1 if node.known_to_mesh == node.local.public_key else 1.0
        return Device("wg", peers={key: Peer(key, last_handshake=shaken)})


@dataclass
class Announced:
    """Records when the next key was published."""

    steps: list[str]
    gossip_keys_managed_by: str = ""

    async def before_new_key(self, key: PublicKey) -> None:
        self.steps.append("told")


class Ground:
    def __init__(self, folder: Path) -> None:
        self.node = Node(folder)
        self.node.bind()
        self.keys = Announced(self.node.steps)
        self.answers: list[Exception | None] = [None]
        self.admits = True
        self.enter: Callable[..., Awaitable[JoinResult]] = self._enter
        self.rotation = WireGuardKeyRotation(
            self.node.switch,
            self.node.local,
            self.node,
            self.node.view,
            self.node,
            self.node.device,
            self.keys,
            self,
            SystemClock(),
            Random(1),
        )

    def bootstraps(self) -> list[HostPort]:
        return [A, B]

    async def join_with_new_key(
        self,
        bootstrap: HostPort,
        old: PrivateKey,
        new: PrivateKey,
        before_joining: Callable[[], Awaitable[None]],
    ) -> JoinResult:
        return await self.enter(bootstrap, old, new, before_joining)

    async def _enter(
        self, bootstrap: HostPort, old: PrivateKey, new: PrivateKey, before: Callable[[], Awaitable[None]]
    ) -> JoinResult:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, JoinUnreachable) and "begin" in str(answer):
            raise answer
        await before()
        self.node.steps.append(f"join {bootstrap.host}")
        if self.admits:
            self.node.known_to_mesh = new.public()
        if answer is not None:
            raise answer
        record = self.node.local.record
        return JoinResult("alpha", record.addresses, record.ranges, 1, (), "lan", 7946, ())

    @property
    def on_disk(self) -> tuple[PrivateKey, PrivateKey | None]:
        return self.node.store.private_key(), self.node.store.earlier_private_key()


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    monkeypatch.setattr(module, "HANDSHAKE_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(module, "PROXY_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(module, "HANDSHAKES_SECONDS", 0.1)
    return Ground(tmp_path)


async def test_the_new_key_is_used_before_it_is_admitted(ground: Ground) -> None:
    said = await ground.rotation.rotate()
    new = ground.node.local.private_key
    assert ground.node.steps == ["told", "new key", "knock 1", "join 192.0.2.1"]
    assert said == f"1 of 1 tunnels use the new WireGuard key {new.public()}"
    assert ground.on_disk == (new, None)
    assert ground.node.local.tags()["_pk"] == str(new.public())


async def test_nothing_changes_where_nobody_begins(ground: Ground) -> None:
    ground.answers = [JoinUnreachable("cannot begin")]
    with pytest.raises(
        RotationFailed, match=r"192.0.2.1:5000 cannot begin; 192.0.2.2:5000 cannot begin; the old key is"
    ):
        await ground.rotation.rotate()
    assert ground.node.steps == ["told"]
    assert ground.on_disk == (OLD, None)


async def test_one_that_is_refused_uses_the_old_key_again(ground: Ground) -> None:
    ground.answers, ground.admits = [JoinRefused("no")], False
    with pytest.raises(RotationFailed, match="refused: no"):
        await ground.rotation.rotate()
    assert ground.node.steps[-2:] == ["old key", "knock 1"]
    assert ground.on_disk == (OLD, None)


async def test_an_answer_that_got_lost_is_asked_for_again(ground: Ground) -> None:
    ground.answers = [JoinUnreachable("reset"), None]
    await ground.rotation.rotate()
    assert ground.node.steps == ["told", "new key", "knock 1", "join 192.0.2.1", "join 192.0.2.2"]


async def test_one_that_was_admitted_and_hears_nothing_of_it_stays_with_the_new_key(ground: Ground) -> None:
    ground.answers = [JoinUnreachable("reset")]
    assert "1 of 1" in await ground.rotation.rotate()
    assert ground.on_disk == (ground.node.local.private_key, None)
    assert ground.node.local.private_key != OLD


async def test_the_key_before_is_kept_until_the_mesh_has_accepted_the_new_one(ground: Ground) -> None:
    seen: list[tuple[PrivateKey, PrivateKey | None]] = []
    enter = ground._enter

    async def look(*arguments: Any) -> JoinResult:
        admitted = await enter(*arguments)
        seen.append(ground.on_disk)
        assert ground.node.local.tags()["_pk"] == str(OLD.public())
        return admitted

    ground.enter = look
    await ground.rotation.rotate()
    assert seen == [(ground.node.local.private_key, OLD)]


async def test_an_interface_that_refuses_the_key_is_given_the_old_one(ground: Ground) -> None:
    ground.node.failing = 1
    with pytest.raises(RotationFailed, match="no such device; the old key is in use"):
        await ground.rotation.rotate()
    assert ground.node.steps == ["told", "new key", "old key", "knock 1"]
    assert ground.on_disk == (OLD, None)


@pytest.mark.parametrize("refusals", [0, 1])
async def test_a_bootstrap_node_has_a_herald_before_it_uses_its_key(ground: Ground, refusals: int) -> None:
    """One that does not know its signature refuses at first, and asks for it."""
    ground.node.signs, ground.node.refusals = True, refusals
    ground.node.is_known_at_once = True
    await ground.rotation.rotate()
    assert ground.node.steps == ["told", *["herald"] * (1 + refusals), "new key", "knock 1"]


async def test_a_bootstrap_node_without_a_herald_changes_nothing(ground: Ground) -> None:
    ground.node.signs, ground.node.herald = True, REJECTED
    with pytest.raises(RotationFailed, match="no member agreed"):
        await ground.rotation.rotate()
    assert ground.node.steps == ["told", "herald", "herald"]


async def test_a_bootstrap_node_whose_herald_kept_silent_uses_the_old_key_again(ground: Ground) -> None:
    ground.node.signs = True
    with pytest.raises(RotationFailed, match="no peer completed a handshake"):
        await ground.rotation.rotate()
    assert ground.node.steps == ["told", "herald", "new key", "knock 1", "old key", "knock 1"]
    assert ground.on_disk == (OLD, None)


async def test_where_nobody_vouches_for_members_nothing_is_begun(ground: Ground) -> None:
    ground.node.required = False
    with pytest.raises(RotationFailed, match="can vouch"):
        await ground.rotation.rotate()
    assert ground.node.steps == []
