"""The gossip keys in the Secret, and an agent that follows them: only forward, and on behalf of external members."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.factories import mesh_record
from tests.unit.node import composed
from tests.unit.policies import ScriptedKeyPolicy

from wgmesh_agent.agent.gossip_keys import GossipKeys
from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.gossip.errors import GossipError, KeyringError
from wgmesh_agent.gossip.serf.key_manager import KeyOperation, KeyResult
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.kube.gossip_keyring import GossipKeyring, KeyringSync, read_keyring
from wgmesh_agent.mesh.membership.local_node import LocalNode
from wgmesh_agent.mesh.rotation.key_policy import StandaloneKeyPolicy
from wgmesh_agent.runtime.clock import SystemClock
from wgmesh_agent.state.mesh_record_store import MeshRecordStore
from wgmesh_agent.state.store import StateStore

OLD, NEW = bytes(32), bytes([1]) * 32


def write(folder: Path, *keys: bytes, since: int | None = None) -> Path:
    path = folder / "keyring"
    path.write_text(json.dumps([base64.b64encode(key).decode() for key in keys]))
    if since is not None:
        (folder / "since").write_text(str(since))
    return path


def test_it_is_read_primary_first(tmp_path: Path) -> None:
    assert read_keyring(write(tmp_path, OLD, NEW)) == GossipKeyring((OLD, NEW), 0)
    assert read_keyring(write(tmp_path, NEW, OLD, since=1893456000)) == GossipKeyring((NEW, OLD), 1893456000)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "7", "[7]", '["x"]', '["AAAA"]', json.dumps(["A" * 43 + "="] * 17)]
)
def test_one_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keyring"
    path.write_text(text)
    with pytest.raises(ValueError):
        read_keyring(path)


@pytest.mark.parametrize("text", ["", "-1", "soon", "1e9"])
def test_a_time_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, OLD)
    (tmp_path / "since").write_text(text)
    with pytest.raises(ValueError, match="does not contain a time"):
        read_keyring(path)


class PlayedGossip(GossipNode):
    """Records the keys to change, and the target members."""

    def __init__(self) -> None:
        self.asked: list[tuple[KeyOperation, bytes, tuple[str, ...]]] = []

    async def change_keys(
        self, operation: KeyOperation, key: bytes = b"", nodes: Sequence[str] | None = None
    ) -> KeyResult:
        self.asked.append((operation, key, tuple(nodes or ())))
        return KeyResult(1, 0, frozenset(nodes or ()), {}, {}, {}, {})


class PlayedKeys(GossipKeys):
    """Notes the rings that it was given, or raises `fault`."""

    def __init__(self, local: LocalNode, keyring: Keyring | None) -> None:
        super().__init__(local, keyring)
        self.taken: list[tuple[bytes, ...]] = []
        self.fault: Exception | None = None

    def replace(self, keys: tuple[bytes, ...], since: int) -> None:
        if self.fault is not None:
            raise self.fault
        self.taken.append(keys)
        super().replace(keys, since)


class Node:
    """A node with these gossip keys, on a machine of its own."""

    def __init__(self, folder: Path, *, bootstrap: bool = False, since: int = 100) -> None:
        record = mesh_record(bootstrap=bootstrap, gossip_keys=(OLD,), gossip_keys_since=since)
        made = composed(folder / f"state-{bootstrap}", record)
        self.gossip, self.keys = PlayedGossip(), PlayedKeys(made.local, made.gossip_keys.keyring)
        self.node = replace(made, gossip=self.gossip, gossip_keys=self.keys)


async def follow(node: Node, path: Path, *externals: str) -> None:
    await KeyringSync(path, lambda: externals).reconcile(node.node)


async def test_what_was_decided_later_is_taken_over_once(tmp_path: Path) -> None:
    node, path = Node(tmp_path), write(tmp_path, OLD, NEW, since=101)
    await follow(node, path)
    await follow(node, path)
    assert node.keys.taken == [(OLD, NEW)]


@pytest.mark.parametrize("since", [None, 0, 99, 100])
async def test_what_was_not_decided_later_changes_nothing(tmp_path: Path, since: int | None) -> None:
    node = Node(tmp_path)
    await follow(node, write(tmp_path, NEW, since=since))
    assert node.keys.taken == []


@pytest.mark.parametrize("fault", [OSError("full"), KeyringError("plaintext")])
async def test_what_cannot_be_kept_is_tried_again(tmp_path: Path, fault: Exception) -> None:
    node, path = Node(tmp_path, bootstrap=True), write(tmp_path, NEW, since=101)
    node.keys.fault = fault
    await follow(node, path, "laptop")
    assert node.gossip.asked == []
    node.keys.fault = None
    await follow(node, path, "laptop")
    assert node.keys.taken == [(NEW,)]


async def test_a_bootstrap_node_tells_machines_outside_each_step(tmp_path: Path) -> None:
    node = Node(tmp_path, bootstrap=True)
    for since, ring in enumerate([(OLD, NEW), (NEW, OLD), (NEW,)], start=101):
        await follow(node, write(tmp_path, *ring, since=since), "laptop")
    install, use, remove, _ = KeyOperation
    assert node.gossip.asked == [
        (install, NEW, ("laptop",)),
        (use, OLD, ("laptop",)),
        (use, NEW, ("laptop",)),
        (use, NEW, ("laptop",)),
        (remove, OLD, ("laptop",)),
    ]


async def test_others_tell_nobody_and_none_is_told_where_there_is_none(tmp_path: Path) -> None:
    plain, bootstrap = Node(tmp_path), Node(tmp_path, bootstrap=True)
    await follow(plain, write(tmp_path, NEW, since=101), "laptop")
    await follow(bootstrap, write(tmp_path, NEW, since=101))
    assert plain.gossip.asked == bootstrap.gossip.asked == []


def test_members_do_not_change_what_the_operator_decides(tmp_path: Path) -> None:
    folder, keys = StateStore(tmp_path, "blue"), ScriptedKeyPolicy()
    kept = MeshRecordStore(
        folder, replace(mesh_record(), gossip_keys=(OLD,), gossip_keys_since=100), keys, SystemClock()
    )
    kept.persist_keyring((OLD, NEW))
    keys.gossip_keys_managed_by = "the operator decides"
    with pytest.raises(KeyringError, match="the operator decides"):
        kept.persist_keyring((NEW, OLD))
    stored = folder.mesh()
    assert stored is not None
    assert (stored.gossip_keys, stored.gossip_keys_since) == ((OLD, NEW), 100)
    folder.close()


def test_a_key_that_comes_into_use_is_kept_with_its_time_and_an_error_names_no_path(tmp_path: Path) -> None:
    folder = StateStore(tmp_path, "blue")
    kept = MeshRecordStore(
        folder,
        replace(mesh_record(), gossip_keys=(OLD, NEW), gossip_keys_since=100),
        StandaloneKeyPolicy(),
        SystemClock(),
    )
    kept.persist_keyring((NEW, OLD))
    stored = folder.mesh()
    assert stored is not None
    assert stored.gossip_keys == (NEW, OLD)
    assert stored.gossip_keys_since > 100
    ahead = 2**40
    kept.set(replace(kept.value, gossip_keys_since=ahead))
    kept.persist_keyring((OLD, NEW))
    assert kept.value.gossip_keys_since == ahead + 1
    kept.persist_keyring((NEW, OLD))
    folder.close()
    folder.clear()
    with pytest.raises(GossipError, match=r"^the keyring cannot be stored on disk: No such file"):
        kept.persist_keyring((NEW,))
    assert kept.value.gossip_keys == (NEW, OLD)
