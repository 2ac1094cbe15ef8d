from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from cryptography import x509
from tests.unit.operator.harness import NOW, MemoryApi, cluster_of, condition, csr_body, csr_pem, settle

from wgmesh_operator.decisions.trust.authority import (
    ANNOUNCE_FOR,
    CA_LIFETIME,
    Authority,
    fingerprint,
    read_authority,
)

SECRET = "wgmesh-blue-ca"


def authority(api: MemoryApi) -> Authority:
    return read_authority(api.state().secrets[SECRET])


def trusted(api: MemoryApi) -> list[str]:
    body = api.get("WgMesh", "blue")
    assert body is not None
    return [
        fingerprint(cert) for cert in x509.load_pem_x509_certificates(body["status"]["trustBundle"].encode())
    ]


def rotate(api: MemoryApi, token: str) -> None:
    body = api.get("WgMesh", "blue")
    assert body is not None
    body["metadata"]["annotations"] = {"wgmesh.dev/rotate-ca": token}
    settle(api)


def say(api: MemoryApi, issuer: str, trusts: list[str]) -> None:
    for number in range(3):
        api.report_ready(f"blue.n{number}", 2, certificateIssuer=issuer, trustedCAs=trusts)
    settle(api)


@pytest.fixture
def api() -> MemoryApi:
    api = cluster_of()
    settle(api)
    (ca,) = trusted(api)
    say(api, ca, [ca])
    return api


def test_a_mesh_has_one_ca_and_keeps_it(api: MemoryApi) -> None:
    before = api.get("Secret", SECRET)
    api.now += timedelta(days=30)
    settle(api)
    assert api.get("Secret", SECRET) == before
    assert trusted(api) == [fingerprint(authority(api).signing.cert)]


def test_both_are_trusted_before_the_new_one_signs_and_until_the_old_one_is_unused(api: MemoryApi) -> None:
    (old,) = trusted(api)
    rotate(api, "1")
    assert trusted(api)[0] == old
    assert len(trusted(api)) == 2
    new = trusted(api)[1]
    assert fingerprint(authority(api).signing.cert) == old
    say(api, old, [old, new])
    assert trusted(api) == [new, old]
    assert fingerprint(authority(api).signing.cert) == new
    for number in range(2):
        api.report_ready(f"blue.n{number}", 2, certificateIssuer=new, trustedCAs=[new, old])
    settle(api)
    assert trusted(api) == [new, old]
    say(api, new, [new, old])
    assert trusted(api) == [new]
    assert [e.reason for e in api.events if e.reason.startswith("CA")] == [
        "CARotationStarted",
        "CASwitched",
        "CARotated",
    ]


def test_one_word_rotates_once(api: MemoryApi) -> None:
    (old,) = trusted(api)
    rotate(api, "1")
    new = trusted(api)[1]
    say(api, old, [old, new])
    say(api, new, [new, old])
    rotate(api, "1")
    assert trusted(api) == [new]
    rotate(api, "2")
    assert len(trusted(api)) == 2


def test_who_never_answers_is_not_waited_for_for_ever(api: MemoryApi) -> None:
    (old,) = trusted(api)
    rotate(api, "1")
    new = trusted(api)[1]
    api.now += ANNOUNCE_FOR - timedelta(seconds=1)
    settle(api)
    assert trusted(api) == [old, new]
    api.now += timedelta(seconds=1)
    settle(api)
    assert trusted(api) == [new, old]
    switched = next(e for e in api.events if e.reason == "CASwitched")
    assert "not confirmed by n0, n1, n2" in switched.message
    api.now += timedelta(hours=720)
    settle(api)
    assert trusted(api) == [new]


def test_dead_nodes_hold_nothing_up(api: MemoryApi) -> None:
    (old,) = trusted(api)
    node = api.get("Node", "n2")
    assert node is not None
    node["status"]["conditions"][0]["status"] = "Unknown"
    rotate(api, "1")
    new = trusted(api)[1]
    for number in range(2):
        api.report_ready(f"blue.n{number}", 2, certificateIssuer=old, trustedCAs=[old, new])
    settle(api)
    assert trusted(api)[0] == new


def test_a_ca_is_rolled_over_before_it_ends(api: MemoryApi) -> None:
    api.now = NOW + 0.79 * CA_LIFETIME
    settle(api)
    assert len(trusted(api)) == 1
    api.now = NOW + 0.81 * CA_LIFETIME
    settle(api)
    assert len(trusted(api)) == 2


def test_a_lost_secret_makes_a_new_ca_beside_the_one_members_have(api: MemoryApi) -> None:
    (old,) = trusted(api)
    api.remove("Secret", SECRET)
    # the ground's few keys must give another CA than before
    settle(api, seed=99)
    first, second = trusted(api)
    assert second == old
    assert first != old
    api.put(csr_body("r", csr_pem("n0", None), nodes=["n0"]))
    settle(api)
    answered = api.get("CertificateSigningRequest", "r")
    assert answered is not None
    cert = x509.load_pem_x509_certificate(base64.b64decode(answered["status"]["certificate"]))
    cert.verify_directly_issued_by(authority(api).signing.cert)


def test_a_damaged_secret_is_told_and_left_for_a_person(api: MemoryApi) -> None:
    body = api.get("Secret", SECRET)
    assert body is not None
    body["data"]["ca.key"] = base64.b64encode(b"oops").decode()
    settle(api)
    assert condition(api, "CertificatesReady")["reason"] == "CAUnusable"
    assert "restore it, or delete it" in condition(api, "Degraded")["message"]
    assert body["data"]["ca.key"] == base64.b64encode(b"oops").decode()
