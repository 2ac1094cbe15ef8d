"""The CRDs before a real API server: taken, defaulted, and wrong input refused in words that say what to write."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kind.control_plane import Client, ControlPlane, Refused, control_plane, wait_for
from tests.kind.simulated_agents import CRDS, MESHES, NODES

from wgmesh_api.resources.crd import definitions
from wgmesh_api.resources.mesh import WgMeshSpec


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("plane")) as plane:
        for crd in definitions():
            plane.admin.create(CRDS, crd)
        for crd in definitions():
            wait_for(lambda crd=crd: established(plane.admin, crd["metadata"]["name"]), "the CRD is served")
        yield plane


@pytest.fixture
def api(plane: ControlPlane) -> Client:
    return plane.admin


def established(api: Client, name: str) -> bool:
    conditions = api.get(f"{CRDS}/{name}").get("status", {}).get("conditions", [])
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


def mesh(name: str = "blue", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "wgmesh.dev/v1alpha1",
        "kind": "WgMesh",
        "metadata": {"name": name},
        "spec": {"cidrs": ["10.232.0.0/16"]} | spec,
    }


def member(mesh: str = "blue", node: str = "alpha", name: str | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "wgmesh.dev/v1alpha1",
        "kind": "WgMeshNode",
        "metadata": {"name": name or f"{mesh}.{node}"},
        "spec": {"mesh": mesh, "node": node} | spec,
    }


def test_the_server_has_no_objection_to_the_schemas(api: Client) -> None:
    for crd in definitions():
        conditions = api.get(f"{CRDS}/{crd['metadata']['name']}")["status"]["conditions"]
        assert not [c for c in conditions if c["type"] == "NonStructuralSchema"], conditions


def test_a_mesh_of_one_range_gets_the_defaults_of_the_models(api: Client) -> None:
    made = api.create(f"{MESHES}?dryRun=All", mesh())
    assert WgMeshSpec.model_validate(made["spec"]) == WgMeshSpec(cidrs=["10.232.0.0/16"])
    assert made["spec"]["bootstrap"] == {"replicas": 2, "port": 5000}
    assert made["spec"]["tolerations"] == [{"operator": "Exists"}]
    assert "status" not in made


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"cidrs": ["10.232.0.0"]}, "not a range: write one such as 10.232.0.0/16"),
        ({"cidrs": ["pods"]}, "not a range: write one such as 10.232.0.0/16"),
        ({"cidrs": ["10.232.1.1/16"]}, "host bits are set: write the first address"),
        ({"cidrs": ["fd00:1::5/64"]}, "host bits are set: write the first address"),
        ({"cidrs": ["10.232.0.0/31"]}, "prefix length of 8 to 30 for IPv4"),
        ({"cidrs": ["fd00::/127"]}, "of 32 to 126 for IPv6"),
        ({"cidrs": ["127.0.0.0/16"]}, "not a range of host addresses"),
        ({"cidrs": ["224.0.0.0/8"]}, "not a range of host addresses"),
        ({"cidrs": ["ff02::/64"]}, "not a range of host addresses"),
        ({"cidrs": ["fe80::/64"]}, "not a range of host addresses"),
        ({"cidrs": ["10.0.0.0/8", "10.232.0.0/16"]}, "the two ranges overlap"),
        ({"cidrs": ["10.1.0.0/16", "10.2.0.0/16"]}, "two ranges of one family"),
        ({"cidrs": []}, "should have at least 1 items"),
        ({"cidrs": ["10.1.0.0/16", "fd00::/64", "10.3.0.0/16"]}, "must have at most 2 items"),
        ({"bootstrap": {"replicas": 0}}, "greater than or equal to 1"),
        ({"bootstrap": {"port": 9586}}, "bootstrap.port and agent.metricsPort are the same TCP port"),
        ({"gossip": {"port": 5000}}, "gossip.port is also bootstrap.port or agent.metricsPort"),
        ({"gossip": {"port": 54540}}, "wireguard.port is gossip.port or the next one"),
        ({"gossip": {"port": 54539}}, "wireguard.port is gossip.port or the next one"),
        ({"wireguard": {"backend": "wireguard-go"}}, 'supported values: "auto", "kernel", "userspace"'),
        ({"certificates": {"lifetime": "30 days"}}, "spec.certificates.lifetime"),
        ({"certificates": {"lifetime": "1m"}}, "write a lifetime of 5m to 87600h"),
    ],
)
def test_wrong_specs_are_refused_with_a_way_out(api: Client, spec: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refused) as refused:
        api.create(f"{MESHES}?dryRun=All", mesh(**spec))
    assert refused.value.code == 422
    assert sentence in refused.value.message


@pytest.mark.parametrize("name", ["elevenchars", "a-b", "a.b"])
def test_names_that_fit_no_interface_are_refused(api: Client, name: str) -> None:
    with pytest.raises(Refused, match="write 1 to 10 of a-z and 0-9"):
        api.create(f"{MESHES}?dryRun=All", mesh(name))


@pytest.mark.parametrize("cidrs", [["10.232.0.0/16"], ["fd00::/64"], ["10.1.0.0/24", "fd00::/64"]])
def test_right_ranges_are_taken(api: Client, cidrs: list[str]) -> None:
    assert api.create(f"{MESHES}?dryRun=All", mesh(cidrs=cidrs))["spec"]["cidrs"] == cidrs


def test_ranges_are_fixed_once_set(api: Client) -> None:
    api.create(MESHES, mesh("fixed"))
    with pytest.raises(Refused, match="a mesh keeps its ranges: create another mesh"):
        api.merge(f"{MESHES}/fixed", {"spec": {"cidrs": ["10.233.0.0/16"]}})
    api.merge(f"{MESHES}/fixed", {"spec": {"bootstrap": {"replicas": 3}}})
    api.delete(f"{MESHES}/fixed")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"gossip": {"profile": "wan"}}, "a mesh keeps its gossip settings: create another mesh"),
        ({"wireguard": {"backend": "userspace"}}, "tunnels keep their backend: create another mesh"),
    ],
)
def test_what_members_could_not_follow_is_fixed_once_set(
    api: Client, change: dict[str, Any], sentence: str
) -> None:
    api.create(MESHES, mesh("steady"))
    try:
        with pytest.raises(Refused, match=sentence):
            api.merge(f"{MESHES}/steady", {"spec": change})
        api.merge(f"{MESHES}/steady", {"spec": {"gossip": {"profile": "lan"}, "wireguard": {"port": 54550}}})
    finally:
        api.delete(f"{MESHES}/steady")


def test_status_is_written_only_at_its_own_address(api: Client) -> None:
    body = mesh("calm") | {"status": {"nodes": "1/1"}}
    assert "status" not in api.create(MESHES, body)
    status = {"apiVersion": body["apiVersion"], "kind": "WgMesh", "status": {"nodes": "3/3", "links": "6/6"}}
    api.apply(f"{MESHES}/calm/status", status)
    assert api.get(f"{MESHES}/calm")["status"] == {"nodes": "3/3", "links": "6/6"}
    api.delete(f"{MESHES}/calm")


def test_a_member_is_named_after_mesh_and_node(api: Client) -> None:
    api.create(f"{NODES}?dryRun=All", member(node="worker-1.example"))
    with pytest.raises(Refused, match=r"write blue\.alpha"):
        api.create(f"{NODES}?dryRun=All", member(name="alpha"))


def test_a_member_stays_what_it_is(api: Client) -> None:
    api.create(NODES, member(node="beta"))
    path = f"{NODES}/blue.beta"
    api.merge(path, {"spec": {"addresses": ["10.232.0.7"], "bootstrap": True}})
    for change, sentence in (
        ({"addresses": ["10.232.0.8"]}, "the addresses of a member are fixed"),
        ({"addresses": None}, "the addresses of a member are fixed"),
        ({"external": True, "bootstrap": False}, "the identity of a member is fixed"),
        ({"bootstrap": True, "external": True}, "cannot be a bootstrap node"),
    ):
        with pytest.raises(Refused, match=sentence):
            api.merge(path, {"spec": copy.deepcopy(change)})
    api.merge(path, {"spec": {"bootstrap": False}})
    api.delete(path)


def test_addresses_of_a_member_are_addresses(api: Client) -> None:
    with pytest.raises(Refused, match=r"write one such as 10\.232\.0\.7"):
        api.create(f"{NODES}?dryRun=All", member(external=True, addresses=["10.232.0"]))


def test_columns_are_what_kubectl_shows(api: Client) -> None:
    api.create(MESHES, mesh("table"))
    table = api.pool.request(
        "GET",
        f"{api.server}{MESHES}/table",
        headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"},
    ).json()
    shown = [c["name"] for c in table["columnDefinitions"] if c["priority"] == 0]
    assert shown == ["Name", "NODES", "LINKS", "READY", "CIDR", "AGE"]
    api.delete(f"{MESHES}/table")


def test_the_files_of_the_chart_are_these_definitions() -> None:
    import yaml

    folder = Path(__file__).parents[2] / "charts" / "wgmesh" / "files" / "crds"
    assert [yaml.safe_load(file.read_text()) for file in sorted(folder.glob("*.yaml"))] == definitions()
