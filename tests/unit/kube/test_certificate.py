"""A node's certificate in Kubernetes: when it is good, when a new one is due, and what is asked for."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from tests.unit.factories import make_authority

from wgmesh_agent.kube.api_client import KubernetesApi
from wgmesh_agent.kube.certificate import (
    AUTHORITIES,
    CERTIFICATE,
    KEY,
    MEMBER,
    CertificateSpec,
    CertificateStore,
    is_current,
    make_request,
    renewal_time,
    request_certificate,
)
from wgmesh_agent.kube.list_watch import Object
from wgmesh_agent.mesh.credentials import TLSFiles
from wgmesh_api.certificates import (
    CertificateAuthority,
    cert_to_pem,
    generate_key,
    issue,
    key_to_pem,
)
from wgmesh_api.identity import NodeIdentity, Role

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
LIFE = timedelta(days=30)
WANTED = CertificateSpec(
    NodeIdentity("blue", "alpha", Role.NODE), (ip_address("10.232.0.5"),), 30 * 24 * 3600, "uid-1"
)


def authority() -> CertificateAuthority:
    return make_authority(now=BEGUN)


def files(
    ca: CertificateAuthority, wanted: CertificateSpec = WANTED, *, trusted: bytes | None = None
) -> TLSFiles:
    key = generate_key()
    leaf = issue(
        ca, wanted.identity, key.public_key(), now=BEGUN, lifetime=LIFE, serial=2, addresses=wanted.addresses
    )
    return TLSFiles(key_to_pem(key), cert_to_pem(leaf), trusted or cert_to_pem(ca.cert))


def test_a_certificate_is_good_until_two_thirds_of_its_life() -> None:
    found = files(authority())
    due = renewal_time(found.leaf())
    assert is_current(found, WANTED, None, due - timedelta(seconds=1))
    assert not is_current(found, WANTED, None, due)


def test_none_is_not_good() -> None:
    assert not is_current(None, WANTED, None, BEGUN)


@pytest.mark.parametrize(
    "wanted",
    [
        replace(WANTED, identity=NodeIdentity("blue", "beta", Role.NODE)),
        replace(WANTED, identity=NodeIdentity("blue", "alpha", Role.BOOTSTRAP)),
        replace(WANTED, addresses=(ip_address("10.232.0.6"),)),
    ],
)
def test_a_certificate_that_says_something_else_is_not_good(wanted: CertificateSpec) -> None:
    assert not is_current(files(authority()), wanted, None, BEGUN + timedelta(hours=1))


def test_a_certificate_older_than_its_member_belongs_to_one_that_was_deleted() -> None:
    found = files(authority())
    when = BEGUN + timedelta(hours=1)
    assert is_current(found, WANTED, found.leaf().not_valid_before_utc, when)
    assert not is_current(found, WANTED, when, when)


def test_a_certificate_that_lasts_longer_than_wanted_now_is_not_good() -> None:
    found = files(authority())
    end = found.leaf().not_valid_after_utc
    shorter = replace(WANTED, seconds=20 * 24 * 3600)
    assert not is_current(found, shorter, None, end - timedelta(days=21))
    assert is_current(found, shorter, None, end - timedelta(days=20))


def test_a_new_authority_asks_for_a_new_certificate() -> None:
    old, new = authority(), authority()
    both = cert_to_pem(new.cert) + cert_to_pem(old.cert)
    assert not is_current(files(old, trusted=both), WANTED, None, BEGUN + timedelta(hours=1))


def test_the_request_says_who_and_where_and_is_signed_with_the_identity_key() -> None:
    key = generate_key()
    request = x509.load_pem_x509_csr(make_request(key, WANTED))
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["wgmesh://blue/node/alpha"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("10.232.0.5")]
    assert request.is_signature_valid
    assert request.public_key() == key.public_key()


def test_key_and_certificate_are_found_again(tmp_path: Path) -> None:
    identity = CertificateStore(tmp_path)
    assert identity.load() is None
    ca = authority()
    leaf = issue(ca, WANTED.identity, identity.key().public_key(), now=BEGUN, lifetime=LIFE, serial=2)
    saved = identity.save(cert_to_pem(leaf), cert_to_pem(ca.cert))
    assert CertificateStore(tmp_path).load() == saved
    assert (tmp_path / "identity.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\n"])
def test_a_damaged_identity_key_is_set_aside_and_its_certificate_unused(
    tmp_path: Path, damage: bytes
) -> None:
    identity = CertificateStore(tmp_path)
    ca = authority()
    leaf = issue(ca, WANTED.identity, identity.key().public_key(), now=BEGUN, lifetime=LIFE, serial=2)
    identity.save(cert_to_pem(leaf), cert_to_pem(ca.cert))
    (tmp_path / "identity.key").write_bytes(damage)
    assert identity.load() is None
    assert any("damaged" in file.name for file in tmp_path.iterdir())


class Signer(KubernetesApi):
    """An API server beside an operator that signs at once."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.created: Object = {}
        self._answer = answer

    async def create(self, path: str, body: Object) -> Object:
        self.created = body
        return body

    async def get(self, path: str) -> Object:
        assert path.endswith(self.created["metadata"]["name"])
        return {"status": {"certificate": base64.b64encode(self._answer).decode()}}


async def test_a_request_goes_when_its_member_goes_and_its_answer_is_kept(tmp_path: Path) -> None:
    expected = files(authority())
    (tmp_path / KEY).write_bytes(expected.key)
    api = Signer(expected.certificate)
    found = await request_certificate(api, CertificateStore(tmp_path), WANTED, expected.authorities)
    assert (found.certificate, found.authorities) == (expected.certificate, expected.authorities)
    metadata = api.created["metadata"]
    assert metadata["name"].startswith("wgmesh-blue-alpha-")
    assert metadata["ownerReferences"] == [
        {"apiVersion": "wgmesh.dev/v1alpha1", "kind": "WgMeshNode", "name": "blue.alpha", "uid": "uid-1"}
    ]


@pytest.mark.parametrize("name", [KEY, CERTIFICATE, AUTHORITIES, MEMBER])
def test_a_file_that_cannot_be_read_costs_a_request_and_no_start(tmp_path: Path, name: str) -> None:
    identity = CertificateStore(tmp_path)
    found = files(authority())
    (tmp_path / KEY).write_bytes(found.key)
    identity.save(found.certificate, found.authorities)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).mkdir()
    again = CertificateStore(tmp_path)
    assert (again.load() is None) is (name != MEMBER)
    assert again.uid() == ""
    key = again.key()
    assert again.key().private_numbers() == key.private_numbers()


def test_a_key_of_another_kind_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / KEY).write_bytes(
        ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    CertificateStore(tmp_path).key()
    assert any("damaged" in file.name for file in tmp_path.iterdir())
