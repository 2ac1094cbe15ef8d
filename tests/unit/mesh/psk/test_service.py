"""The key of each peer, from advertised ids, WireGuard's state, and the time of the last handshake."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from tests.unit.factories import mesh_record
from tests.unit.local import local_node
from tests.unit.mesh.join.bundle_fixtures import bundle_bytes, make_authority

from wgmesh_agent.agent.launch import secrets_of
from wgmesh_agent.gossip.wire.tags import MAX_META_BYTES, encode_tags
from wgmesh_agent.mesh.dataplane.desired_device import desired_device
from wgmesh_agent.mesh.join.bundle import read_bundle
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.psk.derivation import FALL_BACK_AFTER_SECONDS, MeshSecret, SecretSet
from wgmesh_agent.mesh.psk.secret_file import SecretFile, from_file, from_mount, read_file
from wgmesh_agent.mesh.psk.service import PSKManager
from wgmesh_agent.settings.build import join_settings
from wgmesh_agent.settings.resolve import resolve
from wgmesh_agent.settings.setting import Command
from wgmesh_agent.wireguard.diff import SetPeer, diff
from wgmesh_agent.wireguard.keys import NO_PRESHARED_KEY, PresharedKey, PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import Device, Endpoint
from wgmesh_agent.wireguard.patch import apply
from wgmesh_api.preshared import SecretsError, write_secrets

NOW = 1_760_000_000.0
OWN, NEXT = (PrivateKey.generate(lambda size, n=n: bytes([n]) * size) for n in (9, 11))  # type: ignore[misc]
PEER = PublicKey(bytes([1]) * 32)
OLD, NEW = (MeshSecret(bytes([n]) * 32, "blue") for n in (3, 4))
WHERE = Endpoint(ip_address("192.0.2.1"), 54540)


class Ground:
    """This node, one peer, and a WireGuard device by its own rules."""

    def __init__(self, *secrets: MeshSecret) -> None:
        self.given = secrets
        self.own = OWN
        self.source = SecretFile(lambda: self.given)
        record = mesh_record(
            node="n9", addresses=(ip_address("10.232.0.9"),), ranges=(ip_network("10.232.0.0/16"),)
        )
        self.local = local_node(record, OWN, secret_ids=self.source.current.ids)
        self.ledger = Ledger(self.local)
        self.preshared = PSKManager(self.source, self.local, self.ledger)
        self.device = Device("wgblue", OWN.public())
        self.now = NOW
        self.jitter = 0.0001

    def tells(self, *secrets: MeshSecret) -> None:
        claim = Claim(
            "n1", PEER, (ip_address("10.232.0.1"),), (WHERE,), secret_ids=tuple(s.id for s in secrets)
        )
        assert self.ledger.accept(claim, Origin.GOSSIP, self.now) is None

    def reconcile(self) -> list[SetPeer]:
        """What is changed at the peer."""
        self.preshared.observe(self.device)
        # As the reconciler does: stamps that are right by today's clock, and never quite the same twice.
        timed = (
            replace(
                self.device,
                peers={
                    key: replace(peer, last_handshake=peer.last_handshake + self.jitter)
                    for key, peer in self.device.peers.items()
                    if peer.last_handshake
                },
            )
            if any(peer.last_handshake for peer in self.device.peers.values())
            else self.device
        )
        self.jitter += 0.0001
        desired = self.preshared.refine(desired_device(self.own, 0, list(self.ledger)), timed, self.now)
        changes = diff(desired, self.device, now_unix=self.now, own_public=self.own.public())
        self.device = apply(self.device, changes, now_unix=self.now)
        return [change for change in changes if isinstance(change, SetPeer)]

    def handshake(self) -> None:
        peer = replace(self.device.peers[PEER], last_handshake=self.now, endpoint=WHERE)
        self.device = replace(self.device, peers={PEER: peer})

    @property
    def key(self) -> PresharedKey:
        return self.device.peers[PEER].preshared_key

    def protects(self) -> bool:
        return self.preshared.is_protected(self.device, PEER)

    async def give(self, *secrets: MeshSecret) -> None:
        self.given = secrets
        await self.source.poll(self.preshared.replace_secrets)


def pair(secret: MeshSecret) -> PresharedKey:
    return secret.pair_key(OWN.public(), PEER)


def test_a_new_peer_is_made_with_its_key() -> None:
    ground = Ground(NEW, OLD)
    ground.tells(OLD)
    (made,) = ground.reconcile()
    assert (made.create, made.preshared_key) == (True, pair(OLD))
    assert not ground.protects()
    ground.handshake()
    assert ground.protects()
    assert ground.reconcile() == []


async def test_secrets_come_are_replaced_and_go_while_the_peer_stays() -> None:
    """And each time all that is said to WireGuard is the key."""
    ground = Ground()
    ground.tells()
    ground.reconcile()
    ground.handshake()
    for told, wanted in (((OLD,), pair(OLD)), ((NEW, OLD), pair(NEW)), ((), NO_PRESHARED_KEY)):
        await ground.give(*told)
        ground.tells(*told)
        assert ground.reconcile() == [SetPeer(PEER, preshared_key=wanted)]
        assert ground.key == wanted
        assert ground.device.peers[PEER].last_handshake == NOW
        assert ground.local.secret_ids == tuple(secret.id for secret in told)


async def test_a_link_is_protected_from_the_handshake_on_that_had_the_key() -> None:
    ground = Ground()
    ground.tells(OLD)
    ground.reconcile()
    ground.handshake()
    await ground.give(OLD)
    ground.reconcile()
    assert not ground.protects()
    assert ground.preshared.has_common_secret(PEER)
    ground.now += 120
    ground.handshake()
    assert ground.protects()
    ground.reconcile()
    await ground.give()
    ground.reconcile()
    assert ground.protects()
    ground.now += 120
    ground.handshake()
    assert not ground.protects()


def test_a_starting_agent_leaves_the_keys_it_finds() -> None:
    ground = Ground(OLD)
    ground.tells(OLD)
    ground.reconcile()
    ground.handshake()
    again = Ground(OLD)
    again.tells(OLD)
    again.device = ground.device
    assert again.reconcile() == []
    assert again.protects()


def test_what_somebody_set_by_hand_is_put_right() -> None:
    ground = Ground()
    ground.tells()
    ground.reconcile()
    strange = replace(ground.device.peers[PEER], preshared_key=PresharedKey(bytes([5]) * 32))
    ground.device = replace(ground.device, peers={PEER: strange})
    assert ground.reconcile() == [SetPeer(PEER, preshared_key=NO_PRESHARED_KEY)]


def test_another_key_of_this_node_is_another_key_for_each_pair() -> None:
    ground = Ground(OLD)
    ground.tells(OLD)
    ground.reconcile()
    ground.handshake()
    ground.reconcile()
    ground.own = NEXT
    (change,) = ground.reconcile()
    assert change == SetPeer(PEER, preshared_key=OLD.pair_key(NEXT.public(), PEER))
    assert ground.protects()


async def test_after_180_s_of_silence_what_worked_before_is_tried_in_turn() -> None:
    ground = Ground(OLD)
    ground.tells(OLD)
    ground.reconcile()
    ground.handshake()
    await ground.give(NEW)
    ground.tells(NEW, OLD)
    ground.reconcile()
    assert ground.key == pair(NEW)
    ground.now += FALL_BACK_AFTER_SECONDS - 1
    assert ground.reconcile() == []
    tried = set()
    for _ in range(20):
        ground.now += 15
        ground.reconcile()
        tried.add(ground.key)
    assert tried == {pair(OLD), pair(NEW)}
    ground.handshake()
    ground.reconcile()
    assert ground.key == pair(NEW)


async def test_secrets_that_others_cannot_be_told_of_are_not_used() -> None:
    ground = Ground(OLD)
    ground.tells(OLD, NEW)
    ground.reconcile()
    room = MAX_META_BYTES - len(encode_tags(ground.local.tags()))
    ground.local.set_user_tags({"large": "x" * (room - len("large") - 4)})
    await ground.give(NEW, OLD)
    assert ground.reconcile() == []
    assert ground.local.secret_ids == ground.source.current.ids == (OLD.id,)
    ground.local.set_user_tags({})
    await ground.give(NEW)
    assert [change.preshared_key for change in ground.reconcile()] == [pair(NEW)]


class TestFile:
    def test_it_is_for_its_owner_only(self, tmp_path: Path) -> None:
        path = tmp_path / "psk"
        path.write_text(write_secrets([OLD.raw]))
        for mode in (0o640, 0o604, 0o660):
            path.chmod(mode)
            with pytest.raises(SecretsError, match="chmod 600"):
                read_file(path, "blue")
        for mode in (0o600, 0o400):
            path.chmod(mode)
            assert read_file(path, "blue") == (OLD,)

    @pytest.mark.parametrize("content", [b"\xff", b"x", b"#" * 5000])
    def test_what_is_no_secret_is_refused_by_name(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "psk"
        path.touch(0o600)
        path.write_bytes(content)
        with pytest.raises(SecretsError, match=str(path)):
            from_file(path, "blue")

    def test_a_mounted_file_is_read_up_to_a_bound(self, tmp_path: Path) -> None:
        path = tmp_path / "psk"
        assert from_mount(path, "blue").current.ids == ()
        path.write_bytes(b"#" * 10_000_000)
        assert from_mount(path, "blue").current.ids == ()
        path.write_text(write_secrets([OLD.raw]))
        assert from_mount(path, "blue").current.ids == (OLD.id,)

    def test_without_the_file_named_no_agent_starts(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="psk"):
            from_file(tmp_path / "psk", "blue")

    async def test_what_cannot_be_read_later_changes_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "psk"
        path.touch(0o600)
        path.write_text(write_secrets([OLD.raw]))
        source = from_file(path, "blue")
        taken: list[SecretSet] = []
        for spoil in (lambda: path.write_text("x"), path.unlink):
            spoil()
            await source.poll(lambda held: bool(taken.append(held)))  # type: ignore[func-returns-value]
        assert not taken
        assert source.current.ids == (OLD.id,)

    async def test_a_mounted_one_comes_and_goes(self, tmp_path: Path) -> None:
        path = tmp_path / "secrets"
        source = from_mount(path, "blue")
        assert source.current == SecretSet()
        path.write_text(write_secrets([NEW.raw, OLD.raw]))
        await source.poll(lambda held: True)
        assert source.current.ids == (NEW.id, OLD.id)
        path.unlink()
        await source.poll(lambda held: True)
        assert source.current == SecretSet((), (NEW, OLD))


async def test_where_no_secrets_can_come_from_nobody_looks_for_any() -> None:
    async with asyncio.timeout(1.0):
        await SecretFile().run(lambda _: True)


async def test_a_machine_outside_has_the_secrets_of_its_bundle(tmp_path: Path) -> None:
    """And those of the next one, when that is put in its place."""
    authority, path = make_authority(), tmp_path / "bundle.json"
    path.write_bytes(bundle_bytes(authority, secrets=write_secrets([OLD.raw]).split()))
    bundle = read_bundle(path)
    settings = join_settings(resolve(Command.JOIN, {"bundle": [str(path)]}, {}), read_bundle)
    source = secrets_of(settings.node, bundle)
    assert [*source.current.ids] == [OLD.id]
    assert write_secrets([OLD.raw]).strip() not in repr(bundle)
    path.write_bytes(bundle_bytes(authority, secrets=write_secrets([NEW.raw, OLD.raw]).split()))
    await source.poll(lambda held: True)
    assert [*source.current.ids] == [NEW.id, OLD.id]
    path.write_bytes(bundle_bytes(authority))
    await source.poll(lambda held: True)
    assert source.current == SecretSet((), (NEW, OLD))
