"""Where an admission record ends being fresh, valid or readable, and whose records a verifier remembers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from tests.unit.factories import make_authority
from tests.unit.kube.harness import claim

from wgmesh_agent.mesh.membership import admission_record as module
from wgmesh_agent.mesh.membership.admission_record import (
    LIFETIME,
    MAX_CLOCK_SKEW,
    AdmissionFaultReason,
    AdmissionRecord,
    InvalidAdmission,
    Signer,
    Verifier,
    newest,
)
from wgmesh_api.certificates import cert_to_pem, generate_key, issue, key_to_pem
from wgmesh_api.identity import NodeIdentity, Role
from wgmesh_api.meshservice_pb2 import Admission as AdmissionMessage

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)
BETA = claim("beta", 2)
CA = make_authority(now=NOW - timedelta(days=1))


def signer(node: str = "alpha") -> Signer:
    key = generate_key()
    certificate = issue(
        CA,
        NodeIdentity("blue", node, Role.BOOTSTRAP),
        key.public_key(),
        now=NOW - timedelta(days=1),
        lifetime=timedelta(days=9),
        serial=2,
    )
    return Signer(key_to_pem(key), cert_to_pem(certificate))


def verifier() -> Verifier:
    return Verifier("blue", cert_to_pem(CA.cert))


def record_by(by: Signer, now: datetime = NOW) -> AdmissionRecord:
    return by.sign("blue", "beta", BETA.public_key, BETA.addresses, now)


def fault(by: Verifier, record: AdmissionRecord, now: datetime) -> AdmissionFaultReason:
    with pytest.raises(InvalidAdmission) as caught:
        by.verify(record, now)
    return caught.value.reason


def test_a_record_lasts_from_its_moment_for_a_day_to_the_microsecond() -> None:
    record, by = record_by(signer()), verifier()
    assert record.not_before == round(NOW.timestamp() * 1e6)
    assert record.not_after == round((NOW + LIFETIME).timestamp() * 1e6)
    assert timedelta(hours=24) == LIFETIME
    assert by.verify(record, NOW + LIFETIME - TICK) == record
    assert fault(by, record, NOW + LIFETIME) is AdmissionFaultReason.EXPIRED


def test_a_signer_s_clock_may_be_five_minutes_ahead() -> None:
    record, by = record_by(signer()), verifier()
    assert timedelta(minutes=5) == MAX_CLOCK_SKEW
    assert by.verify(record, NOW - MAX_CLOCK_SKEW) == record
    assert fault(by, record, NOW - MAX_CLOCK_SKEW - TICK) is AdmissionFaultReason.NOT_YET_VALID


def test_a_record_is_fresh_while_more_than_half_of_its_time_is_left() -> None:
    record = record_by(signer())
    assert record.is_fresh(NOW + LIFETIME / 2 - TICK)
    assert not record.is_fresh(NOW + LIFETIME / 2)


def test_a_record_is_since_its_moment_and_any_earlier_one() -> None:
    record = record_by(signer())
    assert record.is_since(NOW)
    assert record.is_since(NOW - TICK)
    assert not record.is_since(NOW + TICK)


def test_of_two_of_one_moment_the_first_holds() -> None:
    one, other = (record_by(signer()) for _ in range(2))
    assert newest(one, other) is one
    assert newest(other, one) is other
    assert newest(None, None) is None


def test_a_signer_s_name_is_known_once_a_record_of_its_was_believed() -> None:
    by, own = verifier(), signer()
    record = record_by(own)
    assert by.admitting() == frozenset()
    assert not by.knows(record.signer)
    by.verify(record, NOW)
    assert by.admitting() == frozenset({"alpha"})
    assert by.knows(record.signer)
    # From now on it needs no certificates, and gets them back.
    bare = replace(record, certificates=())
    assert by.verify(bare, NOW).certificates == record.certificates


def test_the_signers_seen_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SIGNERS", 2)
    by = verifier()
    first, second, third = (record_by(signer(f"s{number}")) for number in range(3))
    for record in (first, second, first, third):
        by.verify(record, NOW)
    assert by.admitting() == frozenset({"s0", "s2"})
    assert not by.knows(second.signer)
    assert fault(by, replace(second, certificates=()), NOW) is AdmissionFaultReason.UNKNOWN_SIGNER


def test_a_signer_remembers_its_chain_and_signs_with_no_more_of_it_than_a_record_may_have() -> None:
    one = signer()
    one.chain = (*one.chain * 6,)
    assert len(record_by(one).certificates) == module.MAX_CERTIFICATES == 4


def test_a_key_that_no_member_could_verify_signs_nothing() -> None:
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(ValueError, match="elliptic curve or RSA keys only"):
        Signer(pem, cert_to_pem(CA.cert))


@pytest.mark.parametrize("raw", [b"", b"123", bytes(5), bytes(17), bytes(4), bytes(16)])
def test_an_address_that_is_none_makes_the_record_none(raw: bytes) -> None:
    message = record_by(signer()).message()
    content = AdmissionMessage.FromString(message.admission)
    content.addresses.append(raw)
    message.admission = content.SerializeToString()
    with pytest.raises(InvalidAdmission) as caught:
        AdmissionRecord.from_message(message)
    assert caught.value.reason is AdmissionFaultReason.MALFORMED


def test_each_field_is_read_back_from_its_bytes() -> None:
    routes = (ip_network("192.168.7.0/24"), ip_network("fd07::/48"))
    addresses = (ip_address("10.232.0.7"), ip_address("fd32::7"))
    written = signer().sign("blue", "beta", BETA.public_key, addresses, NOW, routes)
    assert AdmissionRecord.from_bytes(written.to_bytes()) == written
    assert written.without_certificates() == replace(written, certificates=())
    with pytest.raises(InvalidAdmission) as caught:
        AdmissionRecord.from_bytes(b"\xff\xff")
    assert caught.value.reason is AdmissionFaultReason.MALFORMED


def test_reasons_are_in_metrics_by_these_words() -> None:
    assert [reason.value for reason in AdmissionFaultReason] == [
        "admission_malformed",
        "admission_other_mesh",
        "admission_unknown_signer",
        "admission_signer_may_not_admit",
        "admission_bad_signature",
        "admission_expired",
        "admission_not_yet_valid",
        "admission_mismatch",
        "admission_replayed",
    ]


def test_the_bytes_that_are_signed_are_the_record_s_after_this_context() -> None:
    """Members of other releases verify it."""
    own = signer()
    record = record_by(own)
    key = own.chain[0].public_key
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(record.signature, b"wgmesh admission 1\0" + record.blob, ec.ECDSA(hashes.SHA256()))
