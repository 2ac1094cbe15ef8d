"""Permissions, tested on the real API server with real tokens: an agent's, a stranger's, the operator's."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.kind.identity import Answer, Identity, service_account
from tests.kind.kubectl import Object, delete, get, kubectl, wait_for
from tests.kind.meshes import mesh
from tests.kind.release import NAMESPACE, Release
from tests.kind.simulated_agents import CSRS

from wgmesh_api.identity import NodeIdentity, Role
from wgmesh_api.roster import SIGNER, agent_service_account

MESH = "guarded"
# kubectl's own validation would need more rights than agents have.
CREATE = ("create", "--validate=ignore", "-f", "-")
APPLY = (
    "apply",
    "--validate=ignore",
    "--server-side",
    "--field-manager=wgmesh-agent",
    "--force-conflicts",
    "-f",
    "-",
)


@dataclass(frozen=True, slots=True)
class Ground:
    """A mesh, two of its nodes, and the token of the agent on the first."""

    own: str
    other: str
    agent: Identity
    addresses: dict[str, list[str]]


@pytest.fixture(scope="module")
def ground(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with mesh(MESH, "10.240.0.0/16") as made:
        made.wait("Ready")
        members = made.members()
        # A node that may not admit others: it must not get a certificate that says so.
        own = next(node for node, member in members.items() if not member["spec"].get("bootstrap"))
        other = next(node for node in members if node != own)
        folder = tmp_path_factory.mktemp("agent")
        agent = service_account(agent_service_account(MESH), NAMESPACE, folder, pod=made.agents()[own])
        yield Ground(own, other, agent, made.addresses())


def status_of(node: str) -> Object:
    return {
        "apiVersion": "wgmesh.dev/v1alpha1",
        "kind": "WgMeshNode",
        "metadata": {"name": f"{MESH}.{node}"},
        "status": {"agentVersion": "tried"},
    }


def refused(answer: Answer, words: str) -> None:
    assert not answer.ok, f"this was let through: {answer.words}"
    assert words in answer.words, answer.words


def test_an_agent_tells_the_status_of_its_own_member(ground: Ground) -> None:
    answer = ground.agent.ask(*APPLY, "--subresource=status", "--dry-run=server", stdin=status_of(ground.own))
    assert answer.ok, answer.words


def test_an_agent_does_not_tell_the_status_of_another(ground: Ground) -> None:
    answer = ground.agent.ask(*APPLY, "--subresource=status", stdin=status_of(ground.other))
    refused(answer, f"may write the status of WgMeshNode {MESH}.{ground.own}, not of {MESH}.{ground.other}")


def test_an_agent_does_not_change_its_own_spec(ground: Ground) -> None:
    refused(
        ground.agent.ask(
            "patch", "wgmeshnode", f"{MESH}.{ground.own}", "--type=merge", "-p", '{"spec":{"bootstrap":true}}'
        ),
        "cannot patch resource",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "secrets", "-n", NAMESPACE),
        ("get", "secret", f"wgmesh-{MESH}-ca", "-n", NAMESPACE),
        ("get", "pods", "-A"),
        ("get", "nodes"),
        ("delete", "wgmesh", MESH),
        ("patch", "wgmesh", MESH, "--type=merge", "-p", '{"spec":{"bootstrap":{"replicas":1}}}'),
        ("patch", "wgmesh", MESH, "--subresource=status", "--type=merge", "-p", '{"status":{"nodes":"9/9"}}'),
        ("delete", "wgmeshnodes", "--all"),
        ("get", "csr"),
        ("create", "token", agent_service_account(MESH), "-n", NAMESPACE),
    ],
)
def test_an_agent_may_not(ground: Ground, arguments: tuple[str, ...]) -> None:
    refused(ground.agent.ask(*arguments), "forbidden")


def test_a_token_that_is_bound_to_no_node_speaks_for_none(ground: Ground, tmp_path: Path) -> None:
    loose = service_account(agent_service_account(MESH), NAMESPACE, tmp_path)
    refused(
        loose.ask(*APPLY, "--subresource=status", stdin=status_of(ground.own)), "not bound to a pod on a node"
    )


def request(
    node: str,
    *,
    name: str | None = None,
    role: Role = Role.NODE,
    signer: str = SIGNER,
    usages: tuple[str, ...] = ("digital signature", "client auth"),
    addresses: tuple[str, ...] = (),
    key: ec.EllipticCurvePrivateKey | None = None,
) -> dict[str, Any]:
    """A CertificateSigningRequest for the identity of `node`."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(NodeIdentity(MESH, node, role).uri)]
    names += [x509.IPAddress(ip_address(address)) for address in addresses]
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, node)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    pem = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(
        serialization.Encoding.PEM
    )
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name or f"wgmesh-{MESH}-{node}-{secrets.token_hex(4)}"},
        "spec": {
            "signerName": signer,
            "request": base64.b64encode(pem).decode(),
            "usages": list(usages),
            "expirationSeconds": 3600,
        },
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"signer": "kubernetes.io/kube-apiserver-client"},
            "requests certificates of signer wgmesh.dev/node",
        ),
        ({"usages": ("client auth", "cert sign")}, "digital signature, client auth and server auth only"),
        ({"name": "another-name"}, "must name its requests"),
    ],
)
def test_the_api_server_refuses_a_request_that_is_not_an_agents_own(
    ground: Ground, change: dict[str, Any], words: str
) -> None:
    refused(ground.agent.ask(*CREATE, stdin=request(ground.own, **change)), words)


def test_the_api_server_refuses_a_request_under_another_nodes_name(ground: Ground) -> None:
    refused(ground.agent.ask(*CREATE, stdin=request(ground.other)), "must name its requests")


def owned_by(ground: Ground, node: str, kind: str = "WgMeshNode") -> dict[str, Any]:
    """A request that goes when that object goes."""
    body = request(ground.own)
    owner = {
        "apiVersion": "wgmesh.dev/v1alpha1",
        "kind": kind,
        "name": f"{MESH}.{node}",
        "uid": secrets.token_hex(8),
    }
    body["metadata"]["ownerReferences"] = [owner]
    return body


def test_a_request_belongs_to_the_agents_own_member_and_to_nothing_else(ground: Ground) -> None:
    for body in (owned_by(ground, ground.other), owned_by(ground, ground.own, "WgMesh")):
        refused(ground.agent.ask(*CREATE, "--dry-run=server", stdin=body), "must be owned only by WgMeshNode")
    answer = ground.agent.ask(*CREATE, "--dry-run=server", stdin=owned_by(ground, ground.own))
    assert answer.ok, answer.words


def verdict(name: str) -> dict[str, Any]:
    """The operator's condition on a request, once it is there."""

    def look() -> Any:
        conditions = ((get("csr", name) or {}).get("status") or {}).get("conditions")
        return conditions and conditions[0]

    found: dict[str, Any] = wait_for(look, 30, f"the operator's word on {name}")
    return found


def asked(who: Identity, body: dict[str, Any]) -> dict[str, Any]:
    """Creates a request, which the API server takes, and gets the operator's word."""
    name = body["metadata"]["name"]
    answer = who.ask(*CREATE, stdin=body)
    assert answer.ok, answer.words
    try:
        return verdict(name)
    finally:
        delete("csr", name)


def own_name(ground: Ground) -> str:
    return f"wgmesh-{MESH}-{ground.own}-{secrets.token_hex(4)}"


def test_an_agent_does_not_approve_its_own_request(ground: Ground) -> None:
    body = request(ground.own)
    name = body["metadata"]["name"]
    assert ground.agent.ask(*CREATE, stdin=body).ok
    condition = {"type": "Approved", "status": "True", "reason": "Test", "message": ""}
    # `kubectl certificate approve` would write nothing where the operator was quicker.
    approval = f"{CSRS}/{name}/approval"
    approved = body | {"status": {"conditions": [condition]}}
    refused(ground.agent.ask("replace", "--raw", approval, "-f", "-", stdin=approved), "forbidden")
    delete("csr", name)


def test_the_operator_signs_what_an_agent_may_have(ground: Ground) -> None:
    body = request(ground.own, addresses=tuple(ground.addresses[ground.own]))
    assert asked(ground.agent, body)["type"] == "Approved"


def test_the_operator_denies_the_identity_of_another_node(ground: Ground) -> None:
    denied = asked(ground.agent, request(ground.other, name=own_name(ground)))
    assert denied["type"] == "Denied"
    assert ground.other in denied["message"]


def test_the_operator_denies_the_role_of_a_bootstrap_node(ground: Ground) -> None:
    assert asked(ground.agent, request(ground.own, role=Role.BOOTSTRAP))["type"] == "Denied"


def test_the_operator_denies_addresses_of_another_node(ground: Ground) -> None:
    body = request(ground.own, addresses=tuple(ground.addresses[ground.other]))
    denied = asked(ground.agent, body)
    assert denied["type"] == "Denied"
    assert ground.addresses[ground.other][0] in denied["message"]


def test_the_operator_denies_another_kind_of_key(ground: Ground) -> None:
    body = request(ground.own, key=ec.generate_private_key(ec.SECP384R1()))
    assert asked(ground.agent, body)["type"] == "Denied"


@pytest.fixture
def stranger(release: Release, tmp_path: Path) -> Iterator[Identity]:
    """Another service account of the same namespace, which an administrator lets create requests."""
    kubectl("create", "serviceaccount", "stranger", "-n", NAMESPACE)
    kubectl("create", "clusterrole", "stranger", "--verb=create,get", "--resource=certificatesigningrequests")
    account = f"--serviceaccount={NAMESPACE}:stranger"
    kubectl("create", "clusterrolebinding", "stranger", "--clusterrole=stranger", account)
    yield service_account("stranger", NAMESPACE, tmp_path)
    delete("clusterrolebinding", "stranger")
    delete("clusterrole", "stranger")
    delete("serviceaccount", "stranger", namespace=NAMESPACE)


def test_the_operator_denies_another_service_account(ground: Ground, stranger: Identity) -> None:
    denied = asked(stranger, request(ground.own))
    assert denied["type"] == "Denied"
    assert "not the agents' account of any mesh" in denied["message"]


@pytest.fixture(scope="module")
def operator(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return service_account("wgmesh-operator-account", NAMESPACE, tmp_path_factory.mktemp("operator"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "secrets", "-n", "kube-system"),
        ("get", "secrets", "-A"),
        ("get", "secret", "any", "-n", NAMESPACE),
        ("get", "pods", "-n", NAMESPACE),
        ("delete", "node", "any"),
        ("get", "clusterroles"),
        (
            "create",
            "clusterrolebinding",
            "more",
            "--clusterrole=cluster-admin",
            f"--serviceaccount={NAMESPACE}:any",
        ),
        ("create", "token", "wgmesh-operator-account", "-n", NAMESPACE),
        ("delete", "wgmeshes", "--all"),
        ("create", "configmap", "any", "-n", NAMESPACE),
    ],
)
def test_the_operator_may_not(operator: Identity, arguments: tuple[str, ...]) -> None:
    refused(operator.ask(*arguments), "forbidden")


def test_the_operator_signs_for_no_signer_but_its_own(operator: Identity) -> None:
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {
            "resourceAttributes": {
                "group": "certificates.k8s.io",
                "resource": "signers",
                "name": "kubernetes.io/kube-apiserver-client",
                "verb": "sign",
            }
        },
    }
    answer = operator.ask(*CREATE, "-o", "jsonpath={.status.allowed}", stdin=body)
    assert answer.words == "false"
