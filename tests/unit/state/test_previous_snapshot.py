"""The member snapshot before the last one: what a founder with a damaged file still knows."""

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from wgmesh_agent.mesh.membership.claims import Binding, Claim, Origin
from wgmesh_agent.state.store import EARLIER_MEMBERS, MEMBERS, StateStore
from wgmesh_agent.wireguard.keys import PublicKey


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[StateStore]:
    folder = StateStore(tmp_path, "lab")
    yield folder
    folder.close()


def member(number: int) -> Binding:
    claim = Claim(f"n{number}", PublicKey(bytes([number] * 32)), (ip_address(f"10.232.0.{number}"),), ())
    return Binding(claim, Origin.ADMITTED, since=1.0)


def test_a_damaged_snapshot_gives_way_to_the_one_before(folder: StateStore) -> None:
    folder.save_members([member(1)])
    folder.save_members([member(1), member(2)])
    (folder.path / MEMBERS).write_bytes(b"{")
    assert folder.members() == [member(1)]


def test_two_damaged_snapshots_are_both_kept_and_count_as_none(folder: StateStore) -> None:
    folder.save_members([member(1)])
    folder.save_members([member(2)])
    (folder.path / MEMBERS).write_bytes(b"{")
    (folder.path / EARLIER_MEMBERS).write_bytes(b"[")
    assert folder.members() == []
    kept = sorted(path.read_bytes() for path in folder.path.glob("*.damaged-*"))
    assert kept == [b"[", b"{"]


def test_saving_after_damage_makes_no_earlier_snapshot_of_nothing(folder: StateStore) -> None:
    folder.save_members([member(1)])
    folder.save_members([member(1), member(2)])
    (folder.path / MEMBERS).write_bytes(b"{")
    folder.members()
    folder.save_members([member(3)])
    (folder.path / MEMBERS).write_bytes(b"{")
    assert folder.members() == [member(1)]
