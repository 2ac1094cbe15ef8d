from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.unit.operator.harness import (
    DEPLOYMENT,
    NAMESPACE,
    NOW,
    MemoryApi,
    csr_body,
    csr_pem,
    entropy,
    external_body,
    mesh_body,
    node_body,
    settle,
    valid,
)
from tests.unit.operator.odd_requests import odd_requests

from wgmesh_api.identity import Role, identity_of
from wgmesh_api.roster import SIGNER
from wgmesh_operator.decisions.actions import Replace
from wgmesh_operator.decisions.faults import Border
from wgmesh_operator.decisions.model import SigningRequest, read_signing_request
from wgmesh_operator.decisions.plan import plan_mesh
from wgmesh_operator.decisions.trust.authority import read_authority
from wgmesh_operator.decisions.trust.signing_requests import (
    DENIAL_LIMIT,
    Approval,
    Denial,
    evaluate,
    mesh_of_requester,
    sign,
)


@pytest.fixture
def api() -> MemoryApi:
    """alpha is a bootstrap node, beta is not, laptop is outside."""
    api = MemoryApi()
    api.put(node_body("alpha", "192.0.2.1"))
    api.put(node_body("beta", "192.0.2.2"))
    api.put(mesh_body(bootstrap={"replicas": 1}))
    api.put(external_body())
    settle(api)
    return api


def judged(api: MemoryApi, body: dict[str, Any]) -> Approval | Denial:
    state = api.state()
    request = as_request(body)
    return evaluate(request, valid(state.meshes["blue"]), state.members["blue"], state.nodes, NAMESPACE)


def as_request(body: dict[str, Any]) -> SigningRequest:
    return read_signing_request(body | {"metadata": {"name": "r", "resourceVersion": "1"}})


def address_of(api: MemoryApi, node: str) -> str:
    body = api.get("WgMeshNode", f"blue.{node}")
    assert body is not None
    return str(body["spec"]["addresses"][0])


def names_of(cert: x509.Certificate) -> set[str]:
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


def certificate(api: MemoryApi, name: str) -> x509.Certificate:
    body = api.get("CertificateSigningRequest", name)
    assert body is not None
    return x509.load_pem_x509_certificate(base64.b64decode(body["status"]["certificate"]))


def kinds(api: MemoryApi, name: str) -> list[str]:
    body = api.get("CertificateSigningRequest", name)
    assert body is not None
    return [condition["type"] for condition in body["status"]["conditions"]]


def ip(text: str) -> x509.IPAddress:
    return x509.IPAddress(ip_address(text))


BETA = "wgmesh://blue/node/beta"


def beta_pem(names: Iterable[x509.GeneralName] = (), uri: str | None = BETA, **more: Any) -> bytes:
    return csr_pem("beta", uri, names, **more)


def test_a_member_gets_its_own_certificate(api: MemoryApi) -> None:
    own = address_of(api, "beta")
    api.put(csr_body("r", beta_pem([ip(own)]), nodes=["beta"]))
    settle(api)
    assert kinds(api, "r") == ["Approved"]
    cert = certificate(api, "r")
    identity = identity_of(cert)
    assert identity is not None
    assert (identity.mesh, identity.node, identity.role) == ("blue", "beta", Role.NODE)
    assert names_of(cert) == {BETA, own}
    usage = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    cert.verify_directly_issued_by(read_authority(api.state().secrets["wgmesh-blue-ca"]).signing.cert)


@pytest.mark.parametrize("role", ["node", "bootstrap"])
def test_a_bootstrap_nodes_certificate_is_for_serving_whatever_it_asked_for(
    api: MemoryApi, role: str
) -> None:
    uri = f"wgmesh://blue/{role}/alpha"
    api.put(csr_body("r", csr_pem("alpha", uri), usages=["client auth", "server auth"]))
    settle(api)
    cert = certificate(api, "r")
    names = {
        address_of(api, "alpha"),
        "192.0.2.1",
        "bootstrap.blue.wgmesh.dev",
        "wgmesh://blue/bootstrap/alpha",
    }
    assert names_of(cert) == names
    usage = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert ExtendedKeyUsageOID.SERVER_AUTH in usage


RSA = rsa.generate_private_key(65537, 2048)
P384 = ec.generate_private_key(ec.SECP384R1())


@pytest.mark.parametrize(
    ("request_pem", "more", "reason"),
    [
        (beta_pem(), {"account": "system:serviceaccount:wgmesh-system:default"}, "WrongRequester"),
        (beta_pem(), {"account": "system:serviceaccount:other:wgmesh-blue"}, "WrongRequester"),
        (beta_pem(), {"account": "system:serviceaccount:wgmesh-system:wgmesh-bluer"}, "WrongRequester"),
        (beta_pem(), {"account": "kubernetes-admin"}, "WrongRequester"),
        (beta_pem(), {"nodes": []}, "NodeUnknown"),
        (beta_pem(), {"nodes": ["beta", "alpha"]}, "NodeUnknown"),
        (beta_pem(), {"nodes": ["gamma"]}, "NotAMember"),
        (csr_pem("laptop", None), {"nodes": ["laptop"]}, "NotAMember"),
        (beta_pem(), {"usages": ["client auth", "code signing"]}, "WrongUsages"),
        (beta_pem(), {"usages": ["digital signature"]}, "WrongUsages"),
        (csr_pem("alpha", None), {}, "WrongName"),
        (beta_pem(uri="wgmesh://blue/node/alpha"), {}, "WrongName"),
        (beta_pem(uri="wgmesh://red/node/beta"), {}, "WrongName"),
        (beta_pem(uri="https://beta.example"), {}, "WrongName"),
        (beta_pem([x509.UniformResourceIdentifier("wgmesh://blue/node/alpha")]), {}, "WrongName"),
        (beta_pem(uri="wgmesh://blue/bootstrap/beta"), {}, "NotABootstrap"),
        (beta_pem([ip("10.232.0.1")]), {}, "WrongName"),
        (beta_pem([ip("192.0.2.1")]), {}, "WrongName"),
        (beta_pem([x509.DNSName("bootstrap.blue.wgmesh.dev")]), {}, "WrongName"),
        (beta_pem([x509.RFC822Name("root@example.com")]), {}, "WrongName"),
        (beta_pem(key=RSA), {}, "WrongKey"),
        (beta_pem(key=P384), {}, "WrongKey"),
        (b"nonsense", {}, "InvalidRequest"),
        (b"", {}, "InvalidRequest"),
    ],
)
def test_nobody_gets_what_is_not_theirs(
    api: MemoryApi, request_pem: bytes, more: dict[str, Any], reason: str
) -> None:
    denial = judged(api, csr_body("r", request_pem, **({"nodes": ["beta"]} | more)))
    assert isinstance(denial, Denial)
    assert denial.reason == reason


ODD = odd_requests("beta")


@pytest.mark.parametrize("what", ODD)
def test_an_odd_request_is_denied_and_the_next_is_signed(api: MemoryApi, what: str) -> None:
    api.put(csr_body("odd", ODD[what], nodes=["beta"]))
    api.put(csr_body("proper", beta_pem(), nodes=["beta"]))
    settle(api)
    body = api.get("CertificateSigningRequest", "odd")
    assert body is not None
    (verdict,) = body["status"]["conditions"]
    assert verdict["type"] == "Denied"
    assert 0 < len(verdict["message"]) <= DENIAL_LIMIT
    assert kinds(api, "proper") == ["Approved"]


class Unforeseen(Exception):
    """Of no family that handlers catch."""


class _Raising(tuple[str, ...]):
    def __iter__(self) -> Iterator[str]:
        raise Unforeseen("usages that cannot be listed")


def test_whatever_a_request_raises_denies_that_request_and_is_counted(api: MemoryApi) -> None:
    api.put(csr_body("broken", beta_pem(), nodes=["beta"]))
    api.put(csr_body("proper", beta_pem(), nodes=["beta"]))
    state = api.state()
    requests = dict(state.requests["blue"])
    requests["broken"] = replace(requests["broken"], usages=_Raising())
    plan = plan_mesh("blue", replace(state, requests={"blue": requests}), DEPLOYMENT, NOW, entropy())
    answers = {
        action.name: action.manifest["status"]["conditions"][0]
        for action in plan.actions
        if isinstance(action, Replace)
    }
    assert {name: answer["type"] for name, answer in answers.items()} == {
        "broken": "Denied",
        "proper": "Approved",
    }
    assert "usages that cannot be listed" in answers["broken"]["message"]
    assert [(fault.border, fault.subject, type(fault.error)) for fault in plan.faults] == [
        (Border.REQUEST, "broken", Unforeseen)
    ]


def test_a_tampered_request_is_denied(api: MemoryApi) -> None:
    lines = beta_pem().decode().splitlines()
    raw = bytearray(base64.b64decode("".join(lines[1:-1])))
    raw[-1] ^= 1
    pem = "\n".join([lines[0], base64.b64encode(raw).decode(), lines[-1]]).encode()
    denial = judged(api, csr_body("r", pem, nodes=["beta"]))
    assert isinstance(denial, Denial)
    assert denial.reason == "InvalidRequest"


def test_own_addresses_may_be_asked_for(api: MemoryApi) -> None:
    pem = beta_pem([ip(address_of(api, "beta")), ip("192.0.2.2")])
    assert isinstance(judged(api, csr_body("r", pem, nodes=["beta"])), Approval)


def test_a_leaving_member_gets_nothing(api: MemoryApi) -> None:
    api.remove("WgMeshNode", "blue.beta")
    denial = judged(api, csr_body("r", beta_pem(), nodes=["beta"]))
    assert isinstance(denial, Denial)
    assert denial.reason == "MemberTerminating"


def test_denials_are_written_with_reason_and_told(api: MemoryApi) -> None:
    api.put(csr_body("r", beta_pem([ip("192.0.2.1")]), nodes=["beta"]))
    settle(api)
    body = api.get("CertificateSigningRequest", "r")
    assert body is not None
    (told,) = body["status"]["conditions"]
    assert (told["type"], told["reason"]) == ("Denied", "WrongName")
    assert "192.0.2.1 do not belong to beta" in told["message"]
    assert "CertificateDenied" in [event.reason for event in api.events]


def test_requests_of_nobodys_account_are_denied_under_no_mesh(api: MemoryApi) -> None:
    api.put(csr_body("r", beta_pem(), account="system:serviceaccount:wgmesh-system:default"))
    api.put(csr_body("s", beta_pem(), account=f"system:serviceaccount:{NAMESPACE}:wgmesh-red"))
    settle(api, "")
    settle(api, "red")
    assert kinds(api, "r") == kinds(api, "s") == ["Denied"]


def test_what_a_person_approved_is_judged_all_the_same(api: MemoryApi) -> None:
    body = csr_body("r", beta_pem(), nodes=["alpha"])
    api.put(body | {"status": {"conditions": [{"type": "Approved", "status": "True"}]}})
    settle(api)
    assert kinds(api, "r") == ["Approved", "Failed"]
    found = api.get("CertificateSigningRequest", "r")
    assert found is not None
    assert "certificate" not in found["status"]


def test_other_signers_requests_are_not_even_read() -> None:
    # the watch and the lists ask for this signer's alone
    from wgmesh_operator.api_resources import FIELD_SELECTORS, WatchedResource

    assert FIELD_SELECTORS[WatchedResource.REQUESTS] == f"spec.signerName={SIGNER}"


@pytest.mark.parametrize(
    ("asked", "got"),
    [(None, 720 * 3600), (3600, 3600), (10, 300), (10**9, 720 * 3600)],
)
def test_life_is_the_meshs_or_less_if_asked_for(api: MemoryApi, asked: int | None, got: int) -> None:
    grant = judged(api, csr_body("r", beta_pem(), nodes=["beta"], expiration=asked))
    assert isinstance(grant, Approval)
    assert grant.lifetime == timedelta(seconds=got)


def test_no_certificate_is_older_than_its_members_object(api: MemoryApi) -> None:
    grant = judged(api, csr_body("r", beta_pem(), nodes=["beta"]))
    assert isinstance(grant, Approval)
    authority = read_authority(api.state().secrets["wgmesh-blue-ca"]).signing
    young = x509.load_pem_x509_certificate(sign(grant, authority, NOW + timedelta(minutes=1), entropy()))
    assert young.not_valid_before_utc == NOW
    old = x509.load_pem_x509_certificate(sign(grant, authority, NOW + timedelta(hours=1), entropy()))
    assert old.not_valid_before_utc == NOW + timedelta(minutes=55)


@pytest.mark.parametrize(
    ("username", "mesh"),
    [
        (f"system:serviceaccount:{NAMESPACE}:wgmesh-blue", "blue"),
        (f"system:serviceaccount:{NAMESPACE}:default", None),
        ("system:serviceaccount:other:wgmesh-blue", None),
        ("", None),
    ],
)
def test_accounts_tell_their_mesh(username: str, mesh: str | None) -> None:
    assert mesh_of_requester(username, NAMESPACE) == mesh
