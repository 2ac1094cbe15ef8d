"""From settings to a session: the mesh as remembered, made, or entered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.unit.factories import mesh_record
from tests.unit.node import KEY

from wgmesh_agent.agent import launch
from wgmesh_agent.agent.run import ConfigConflict
from wgmesh_agent.agent.session_start import SessionStart
from wgmesh_agent.mesh.join.joiner import JoinFailed
from wgmesh_agent.runtime.checksummed_file import CorruptFile
from wgmesh_agent.runtime.log_levels import LogFormat, Verbosity
from wgmesh_agent.settings.model import (
    BackendChoice,
    BootstrapSettings,
    GossipProfile,
    HostPort,
    JoinSettings,
    ListenAddress,
    NodeSettings,
)
from wgmesh_agent.state.store import StateStore

RANGE, OWN = ip_network("10.232.0.0/16"), ip_address("10.232.1.1")
NOWHERE = HostPort("127.0.0.1", 9)


def node_settings(folder: Path, name: str | None = None) -> NodeSettings:
    return NodeSettings(
        mesh_name="blue",
        node_name=name,
        listen_addr=ListenAddress(ip_address("192.0.2.1"), None, None),
        listen_port=54540,
        memberlist_file=None,
        agent_socket=folder / "agent.sock",
        agent_socket_owner=None,
        dev=True,
        backend=BackendChoice.AUTO,
        stun_server=None,
        state_dir=folder,
        log_format=LogFormat.JSON,
        verbosity=Verbosity.DEFAULT,
    )


def bootstrap(folder: Path, *addrs: HostPort, name: str | None = None) -> BootstrapSettings:
    return BootstrapSettings(
        node=node_settings(folder, name),
        mesh_name_generated=False,
        cidrs=(RANGE,),
        cidr_ipam=(),
        mesh_ips=(OWN,),
        grpc_bind_addr=ip_address("0.0.0.0"),
        grpc_bind_port=5000,
        tls=None,
        client_tls=None,
        encryption_key=None,
        gossip_port=7946,
        gossip_profile=GossipProfile.LAN,
        bootstrap_addrs=addrs,
        join_timeout_seconds=0.0,
    )


def join(folder: Path, name: str | None = None) -> JoinSettings:
    return JoinSettings(
        node=node_settings(folder, name),
        bootstrap_addrs=(NOWHERE,),
        tls=None,
        bundle=None,
        gossip_port=None,
        gossip_profile=None,
        join_timeout_seconds=0.0,
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    made = StateStore(tmp_path, "blue")
    yield made
    made.close()


async def bootstrapped(store: StateStore, settings: BootstrapSettings) -> SessionStart:
    start = await launch._bootstrap_entry(settings)(store, KEY, False)
    assert start is not None
    return start


async def joined(store: StateStore, settings: JoinSettings) -> SessionStart:
    start = await launch._entry(launch._join_plan(settings, None))(store, KEY, False)
    assert start is not None
    return start


async def test_the_first_node_makes_the_mesh_that_was_asked_for(tmp_path: Path, store: StateStore) -> None:
    start = await bootstrapped(store, bootstrap(tmp_path))
    record = start.record
    assert (record.mesh, record.node, record.addresses, record.ranges) == (
        "blue",
        "blueAE80101",
        (OWN,),
        (RANGE,),
    )
    assert (record.bootstrap, record.profile, record.gossip_port) == (True, "lan", 7946)
    assert (record.gossip_keys, record.requires_admission) == ((), False)
    assert record.created_unix == record.joined_unix > 1_700_000_000
    assert start.fresh
    assert start.role.bind == HostPort("0.0.0.0", 5000)
    assert start.role.join_target is None


async def test_encrypted_gossip_has_a_key_of_its_own_or_the_one_that_was_set(tmp_path: Path) -> None:
    settings = bootstrap(tmp_path)
    secret = replace(settings, node=replace(settings.node, dev=False))
    first, second = launch._created(secret), launch._created(secret)
    assert len(first.gossip_keys[0]) == 32
    assert first.gossip_keys != second.gossip_keys
    assert first.gossip_keys_since == first.created_unix
    for dev in (True, False):
        given = replace(secret, node=replace(settings.node, dev=dev), encryption_key=bytes(32))
        assert launch._created(given).gossip_keys == (bytes(32),)


async def test_a_node_that_remembers_its_mesh_goes_on_with_it(tmp_path: Path, store: StateStore) -> None:
    store.save_mesh(mesh_record(node="n9", bootstrap=False))
    start = await bootstrapped(store, bootstrap(tmp_path))
    assert (start.record.node, start.record.bootstrap, start.fresh) == ("n9", True, False)
    plain = await joined(store, join(tmp_path))
    assert (plain.record.node, plain.record.bootstrap) == ("n9", False)
    assert plain.role.bind is None
    assert plain.role.join_target is not None
    assert plain.role.join_target.bootstraps == (NOWHERE,)
    assert plain.role.service_port == NOWHERE.port


async def test_a_member_cannot_become_another_one(tmp_path: Path, store: StateStore) -> None:
    store.save_mesh(mesh_record(node="n9"))
    with pytest.raises(ConfigConflict, match="is the member n9 of the mesh blue, and cannot become other"):
        await bootstrapped(store, bootstrap(tmp_path, name="other"))
    with pytest.raises(ConfigConflict, match="run `wgmesh leave`"):
        await joined(store, join(tmp_path, name="other"))


async def test_settings_that_a_mesh_has_for_good_are_ignored_and_that_is_said(
    tmp_path: Path, store: StateStore
) -> None:
    store.save_mesh(mesh_record(ranges=(ip_network("10.99.0.0/16"),), gossip_keys=(bytes([7]) * 32,)))
    settings = replace(bootstrap(tmp_path), encryption_key=bytes(32))
    with capture_logs() as logs:
        start = await bootstrapped(store, settings)
    assert [line["event"] for line in logs] == [
        "range setting ignored: ranges of a mesh are fixed",
        "gossip key setting ignored: it is not in the keyring",
    ]
    assert start.record.ranges == (ip_network("10.99.0.0/16"),)


@pytest.mark.parametrize("enter", [bootstrap, join], ids=["bootstrap", "join"])
async def test_a_record_that_cannot_be_read_ends_who_would_make_another_mesh_and_no_joiner(
    tmp_path: Path, store: StateStore, enter: Callable[[Path], BootstrapSettings | JoinSettings]
) -> None:
    store.save_mesh(mesh_record())
    (store.path / "mesh.json").write_text("{")
    settings = enter(tmp_path)
    if isinstance(settings, BootstrapSettings):
        with pytest.raises(CorruptFile):
            await bootstrapped(store, settings)
    else:
        with capture_logs() as logs, pytest.raises(JoinFailed, match="cannot join the mesh blue"):
            await joined(store, settings)
        assert logs[0]["event"] == "mesh record is corrupt"


async def test_whoever_is_to_announce_other_routes_asks_to_be_admitted_again_and_goes_on_without(
    tmp_path: Path, store: StateStore
) -> None:
    store.save_mesh(mesh_record())
    settings = join(tmp_path)
    settings = replace(settings, node=replace(settings.node, routes=(ip_network("192.168.7.0/24"),)))
    with capture_logs() as logs:
        start = await joined(store, settings)
    assert "rejoin failed" in [line["event"] for line in logs]
    assert not start.fresh
    assert start.record.node == "n9"
