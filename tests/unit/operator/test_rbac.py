"""The list of permissions is what the operator's calls need, no less and no more."""

from __future__ import annotations

from collections import defaultdict

from tests.unit.operator.harness import MemoryApi, cluster_of, csr_body, csr_pem, external_body, settle

from wgmesh_operator.api_resources import RESOURCES, SERVICE_CIDRS, WATCHED
from wgmesh_operator.decisions.actions import (
    Action,
    Apply,
    Create,
    Delete,
    Emit,
    Kind,
    Replace,
    SetFinalizers,
)
from wgmesh_operator.rbac import Scope, agent_permissions, operator_permissions

Needs = dict[tuple[str, str], set[str]]

_VERBS = {
    Apply: {"patch", "create"},
    Create: {"create"},
    Replace: {"update"},
    SetFinalizers: {"patch"},
    Delete: {"delete"},
}
_ROLES = {("certificates.k8s.io", "signers"), ("rbac.authorization.k8s.io", "clusterroles")}
"""What admission asks for beside the call itself."""


def needs_of(actions: list[Action]) -> Needs:
    needs: Needs = defaultdict(set)
    for action in actions:
        if isinstance(action, Emit):
            needs[("", "events")] |= {"create", "patch"}
            continue
        resource = RESOURCES[action.kind]
        subresource = action.subresource if isinstance(action, Apply | Replace) else ""
        verbs = {"patch"} if subresource and isinstance(action, Apply) else _VERBS[type(action)]
        needs[(resource.group, "/".join(filter(None, [resource.plural, subresource])))] |= verbs
    for resource in WATCHED.values():
        needs[(resource.group, resource.plural)] |= {"list", "watch"}
    needs[(SERVICE_CIDRS.group, SERVICE_CIDRS.plural)] |= {"list"}
    return needs


def eventful_life() -> MemoryApi:
    """A mesh in whose life everything happens that the operator acts on."""
    api = cluster_of(4)
    api.put(external_body())
    settle(api)
    for number in range(4):
        api.report_ready(
            f"blue.n{number}", 3, externals=[{"node": "laptop", "publicKey": "k", "reachable": True}]
        )
    for number, pem in enumerate([csr_pem("n0", None), csr_pem("n1", None)]):
        api.put(csr_body(f"r{number}", pem, nodes=["n0"]))
    settle(api)
    body = api.get("WgMesh", "blue")
    assert body is not None
    body["metadata"]["annotations"] = {"wgmesh.dev/rotate-ca": "1"}
    settle(api)
    api.remove("Node", "n0")
    api.remove("WgMeshNode", "blue.laptop")
    settle(api)
    api.remove("WgMesh", "blue")
    settle(api)
    for member in api.of_kind("WgMeshNode"):
        api.report(member["metadata"]["name"], phase="Left")
    settle(api)
    return api


def test_the_operator_may_do_what_it_does_and_nothing_else() -> None:
    granted: Needs = defaultdict(set)
    for permission in operator_permissions():
        if (permission.group, permission.resource) not in _ROLES:
            granted[(permission.group, permission.resource)] |= permission.verbs
    needs = needs_of(eventful_life().done)
    # meshes are other people's to make
    needs[("wgmesh.dev", "wgmeshes")].discard("create")
    assert granted == needs


def test_nothing_is_granted_by_wildcard() -> None:
    for permission in (*operator_permissions(), *agent_permissions()):
        assert "*" not in (permission.group, permission.resource, *permission.verbs, *permission.names)


def test_secrets_are_the_operators_in_its_own_namespace_alone() -> None:
    for permission in operator_permissions():
        if permission.resource in ("secrets", "daemonsets", "serviceaccounts"):
            assert permission.scope is Scope.OWN_NAMESPACE


def test_the_operator_binds_one_role_and_signs_for_one_signer() -> None:
    named = {p.resource: p.names for p in operator_permissions("agents") if p.names}
    assert named == {"signers": ("wgmesh.dev/node",), "clusterroles": ("agents",)}


def test_agents_read_no_secret_and_change_no_mesh() -> None:
    changed = {p.resource for p in agent_permissions() if p.verbs - {"get", "list", "watch"}}
    assert changed == {"wgmeshnodes/status", "certificatesigningrequests"}
    assert "secrets" not in {p.resource for p in agent_permissions()}


def test_every_kind_is_somewhere_in_the_api() -> None:
    assert set(RESOURCES) == set(Kind)
