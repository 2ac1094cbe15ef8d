"""Before a session: whose state it is that lies there, and where others reach this node."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.unit.factories import mesh_record

from wgmesh_agent.agent import run as module
from wgmesh_agent.agent.run import _own_state, endpoint_of
from wgmesh_agent.kube.settings import from_environment
from wgmesh_agent.settings.model import NodeSettings
from wgmesh_agent.state.store import StateStore
from wgmesh_agent.wireguard.model import Endpoint, IPAddress

OWN, MOVED = ip_address("192.0.2.1"), ip_address("192.0.2.9")
RANGES = (ip_network("10.232.0.0/16"),)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[StateStore]:
    made = StateStore(tmp_path, "blue")
    made.save_mesh(mesh_record(node="original"))
    made.private_key()
    yield made
    made.close()


def test_the_state_of_another_node_is_set_aside_with_its_keys(folder: StateStore) -> None:
    with capture_logs() as logs:
        assert _own_state(folder, founds=False, name="copy")
    (said,) = [line for line in logs if line["event"] == "state of another node quarantined"]
    assert said["reason"] == "it is that of the member original, and this node is copy"
    assert folder.mesh() is None
    assert not folder.has_private_key()
    assert (Path(said["kept"]) / "mesh.json").exists()


@pytest.mark.parametrize("name", ["original", None])
def test_ones_own_state_stays_and_without_a_cluster_the_state_says_the_name(
    folder: StateStore, name: str | None
) -> None:
    assert _own_state(folder, founds=False, name=name)
    assert folder.mesh() is not None
    assert folder.has_private_key()


@pytest.fixture
def settings(tmp_path: Path) -> NodeSettings:
    environment = {
        "WGMESH_MESH_NAME": "blue",
        "WGMESH_KUBE_NODE": "alpha",
        "WGMESH_KUBE_HOST_IP": str(OWN),
        "WGMESH_KUBE_NAMESPACE": "wgmesh-system",
        "WGMESH_STATE_DIR": str(tmp_path),
    }
    return from_environment(environment).node


@pytest.mark.parametrize(("held", "told"), [(OWN, OWN), (MOVED, MOVED)], ids=["still there", "changed"])
async def test_a_node_of_a_cluster_is_at_its_address_for_as_long_as_it_has_it(
    settings: NodeSettings, monkeypatch: pytest.MonkeyPatch, held: IPAddress, told: IPAddress
) -> None:
    async def addresses() -> list[tuple[str, IPAddress]]:
        return [("eth0", held)]

    async def by_route(*_: object) -> Endpoint:
        return Endpoint(MOVED, settings.listen_port)

    monkeypatch.setattr(module, "reachable_addresses", addresses)
    monkeypatch.setattr(module, "advertised_endpoint", by_route)
    assert (await endpoint_of(settings, (), RANGES)).address == told


def test_what_others_see_of_a_node_of_a_cluster_counts(settings: NodeSettings) -> None:
    assert settings.listen_addr is None
    assert settings.stun_server is None
