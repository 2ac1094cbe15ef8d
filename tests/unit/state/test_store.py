"""The state folder: restarts find everything, corrupt files are quarantined and logged, two agents never share it."""

from __future__ import annotations

import errno
import json
import os
import stat
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.mesh.membership.claims import Binding, Claim, Origin
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.runtime import checksummed_file
from wgmesh_agent.runtime.checksummed_file import CorruptFile
from wgmesh_agent.state.codec import members_from_json, members_to_json, mesh_to_json
from wgmesh_agent.state.store import CLOCK, MEMBERS, MESH, MeshLocked, StateStore
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Endpoint
from wgmesh_api.values import usable_address

RECORD = MeshRecord(
    mesh="blue",
    node="alpha",
    addresses=(ip_address("10.232.0.5"), ip_address("fd00::5")),
    ranges=(ip_network("10.232.0.0/16"), ip_network("fd00::/64")),
    ipam_ranges=(),
    created_unix=1,
    joined_unix=2,
    gossip_keys=(bytes(32), bytes([1]) * 16),
    profile="lan",
    gossip_port=7946,
    bootstrap=True,
    tags={"svc:web": "port=80"},
)
BINDING = Binding(
    Claim(
        "beta",
        PublicKey(bytes(range(32))),
        (ip_address("10.232.0.6"),),
        (Endpoint(ip_address("192.0.2.1"), 1),),
    ),
    Origin.PEERS,
    since=1.5,
    last_seen=2.5,
    identity="CN=beta",
)


@pytest.fixture
def folder(tmp_path: Path) -> StateStore:
    return StateStore(tmp_path, "blue")


def test_a_restart_finds_the_key_the_mesh_and_the_members(folder: StateStore, tmp_path: Path) -> None:
    key = folder.private_key()
    folder.save_mesh(RECORD)
    folder.save_members([BINDING])
    folder.close()
    again = StateStore(tmp_path, "blue")
    assert again.private_key() == key
    assert again.mesh() == RECORD
    assert again.members() == [BINDING]


def test_everything_is_for_root_only(folder: StateStore) -> None:
    folder.private_key()
    folder.save_mesh(RECORD)
    folder.save_members([BINDING])
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.path.iterdir()} == {0o600}


def test_a_second_agent_is_told_which_process_has_the_mesh(folder: StateStore, tmp_path: Path) -> None:
    with pytest.raises(MeshLocked, match=str(os.getpid())):
        StateStore(tmp_path, "blue")
    folder.close()
    StateStore(tmp_path, "blue").close()


@pytest.mark.parametrize("damage", [b"", b"{", b"null", b'{"format": 1}', b"\xff" * 100, b"[" * 100_000])
def test_a_damaged_mesh_file_is_set_aside_and_told(folder: StateStore, damage: bytes) -> None:
    (folder.path / MESH).write_bytes(damage)
    with pytest.raises(CorruptFile, match="moved to") as caught:
        folder.mesh()
    assert caught.value.kept.read_bytes() == damage
    assert folder.mesh() is None


def test_a_changed_byte_is_noticed(folder: StateStore) -> None:
    folder.save_mesh(RECORD)
    path = folder.path / MESH
    path.write_bytes(path.read_bytes().replace(b"10.232.0.5", b"10.232.0.6"))
    with pytest.raises(CorruptFile, match="checksum"):
        folder.mesh()


def test_a_truncated_file_is_noticed_at_any_length(folder: StateStore) -> None:
    folder.save_mesh(RECORD)
    path = folder.path / MESH
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 37):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptFile):
            folder.mesh()


def test_a_whole_file_with_a_wrong_field_is_set_aside(folder: StateStore) -> None:
    checksummed_file.save(folder.path / MESH, {"mesh": "blue"})
    with pytest.raises(CorruptFile, match="field"):
        folder.mesh()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mesh", "../x"),
        ("mesh", 5),
        ("node", "-5"),
        ("node", None),
        ("profile", "moon"),
        ("profile", ["lan"]),
        ("gossipPort", -5),
        ("gossipPort", "7946x"),
        ("gossipPort", 10**30),
        ("created", 10**30),
        ("created", float("nan")),
        ("joined", "yesterday"),
        ("gossipKeys", ["AAAA"]),
        ("gossipKeys", 7),
        ("addresses", []),
        ("addresses", ["10.232.0.5%eth0"]),
        ("ranges", ["10.232.0.5/16"]),
        ("ranges", []),
        ("tags", ["x"]),
        ("tags", {"a": 1}),
        ("routes", ["nowhere"]),
        ("gossipKeysSince", -1),
        ("admission", "AAAA"),
        ("admission", 1),
    ],
)
def test_an_odd_value_with_a_right_checksum_is_quarantined(
    folder: StateStore, field: str, value: object
) -> None:
    checksummed_file.save(folder.path / MESH, {**mesh_to_json(RECORD), field: value})
    with pytest.raises(CorruptFile, match="field") as caught:
        folder.mesh()
    assert "\n" not in str(caught.value)
    assert folder.mesh() is None


def test_a_directory_in_place_of_the_mesh_file_is_an_os_error(folder: StateStore) -> None:
    (folder.path / MESH).mkdir()
    with pytest.raises(IsADirectoryError):
        folder.mesh()


def test_endpoints_and_addresses_that_earlier_versions_took_are_left_out_of_a_snapshot() -> None:
    content = members_to_json([BINDING])
    other = {**content[0], "node": "gamma", "addresses": ["fd00::5%1"]}
    content[0]["endpoints"] = [
        "[2001:db8::9%eth0]:51820",
        "192.0.2.1:1",
        "[::ffff:192.0.2.2]:2",
        "255.255.255.255:3",
    ]
    (found,) = members_from_json([*content, other])
    assert found.claim.endpoints == (
        Endpoint(ip_address("192.0.2.1"), 1),
        Endpoint(ip_address("192.0.2.2"), 2),
    )


def test_damaged_members_count_as_none_and_are_kept_aside(folder: StateStore) -> None:
    (folder.path / MEMBERS).write_bytes(b"half a fi")
    assert folder.members() == []
    assert any(file.read_bytes() == b"half a fi" for file in folder.path.iterdir())


def test_a_damaged_key_is_set_aside_and_the_next_one_is_new(folder: StateStore) -> None:
    (folder.path / "wireguard.key").write_text("not a key")
    with pytest.raises(CorruptFile) as caught:
        folder.private_key()
    assert "not a key" not in str(caught.value)
    assert folder.private_key() == folder.private_key()


def test_a_folder_is_blank_until_a_mesh_is_entered_from_it(folder: StateStore) -> None:
    folder.private_key()
    assert folder.is_empty()
    folder.save_mesh(RECORD)
    assert not folder.is_empty()
    folder.clear()
    assert not folder.is_empty()


def test_leaving_removes_the_folder(folder: StateStore) -> None:
    folder.private_key()
    folder.clear()
    assert not folder.path.exists()


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**200), st.integers(0, 2**32 - 1), st.integers(1, 65535), st.text(max_size=20)
        ),
        max_size=5,
    )
)
def test_members_survive_json(values: list[tuple[int, int, int, str]]) -> None:
    bindings = [
        Binding(
            Claim(text, PublicKey(k.to_bytes(32, "big")), (ip_address(a),), (Endpoint(ip_address(a), p),)),
            Origin.GOSSIP,
            since=float(p),
        )
        for k, a, p, text in values
        if usable_address(ip_address(a))
    ]
    assert members_from_json(json.loads(json.dumps(members_to_json(bindings)))) == bindings


def test_on_a_full_disk_a_remembered_mesh_is_gone_on_with_and_a_new_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    known, fresh = StateStore(tmp_path, "blue"), StateStore(tmp_path, "green")
    known.save_mesh(RECORD)
    monkeypatch.setattr(checksummed_file, "save", full)
    known.save_mesh_if_possible(RECORD)
    assert known.mesh() == RECORD
    with pytest.raises(OSError, match="No space left"):
        fresh.save_mesh_if_possible(RECORD)
    known.close()
    fresh.close()


def test_the_clock_s_steps_are_remembered_and_a_damaged_file_is_forgotten(folder: StateStore) -> None:
    assert folder.clock_steps() == []
    assert folder.save_clock_steps([(1.5, 1000.0), (20.0, -3600.0)])
    assert folder.clock_steps() == [(1.5, 1000.0), (20.0, -3600.0)]
    (folder.path / CLOCK).write_text("{")
    assert folder.clock_steps() == []
