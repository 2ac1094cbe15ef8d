"""Where an admission record ends being fresh, valid or readable, and whose records a verifier remembers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
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


@pytest.mark.parametrize(
    ("mesh", "role", "may"),
    [("blue", "bootstrap", True), ("green", "bootstrap", False), ("blue", "node", False)],
)
def test_of_an_authority_for_several_meshes_only_this_mesh_s_bootstrap_nodes_may_admit(
    mesh: str, role: str, may: bool
) -> None:
    several = Chain(f"wgmesh://{mesh}/{role}/alpha")
    record = record_by(several.signer(2, 1))
    if may:
        assert several.verifier().verify(record, NOW) == record
    else:
        assert fault(several.verifier(), record, NOW) is AdmissionFaultReason.MAY_NOT_ADMIT


def test_a_fault_reads_as_its_sentence() -> None:
    told = InvalidAdmission(AdmissionFaultReason.EXPIRED, "it is past its time")
    assert (str(told), told.reason) == ("it is past its time", AdmissionFaultReason.EXPIRED)


class Chain:
    """An authority, one that it certified, and a server's certificate by that one; all with RSA keys."""

    def __init__(self, identity: str = "") -> None:
        self._identity = identity
        self.keys = [rsa.generate_private_key(65537, 2048) for _ in range(3)]
        names = [
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("top", "mid", "boot")
        ]
        self.certificates = [
            self._certificate(names[0], names[0], 0, 0),
            self._certificate(names[1], names[0], 1, 0),
            self._certificate(names[2], names[1], 2, 1),
        ]

    def _certificate(self, subject: x509.Name, issuer: x509.Name, own: int, by: int) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(self.keys[own].public_key())
            .serial_number(own + 1)
            .not_valid_before(NOW - timedelta(days=1))
            .not_valid_after(NOW + timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=own != 2, path_length=None), critical=True)
        )
        if own == 2:
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
            builder = builder.add_extension(usage, critical=False)
        if own == 2 and self._identity:
            names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(self._identity)])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self.keys[by], hashes.SHA256())

    def signer(self, *chain: int) -> Signer:
        pem = self.keys[2].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Signer(pem, b"".join(cert_to_pem(self.certificates[place]) for place in chain))

    def verifier(self) -> Verifier:
        return Verifier("blue", cert_to_pem(self.certificates[0]))


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain()


def test_an_authority_between_is_believed_where_its_certificate_comes_along(chain: Chain) -> None:
    whole, short = record_by(chain.signer(2, 1)), record_by(chain.signer(2))
    assert chain.verifier().verify(whole, NOW) == whole
    assert len(whole.certificates) == 2
    assert fault(chain.verifier(), short, NOW) is AdmissionFaultReason.UNKNOWN_SIGNER


def test_what_an_rsa_key_did_not_sign_is_not_believed(chain: Chain) -> None:
    record = record_by(chain.signer(2, 1))
    forged = replace(record, signature=bytes(len(record.signature)))
    assert fault(chain.verifier(), forged, NOW) is AdmissionFaultReason.BAD_SIGNATURE


def test_a_verifier_without_identities_does_not_know_who_admits(chain: Chain) -> None:
    by = chain.verifier()
    by.verify(record_by(chain.signer(2, 1)), NOW)
    assert by.admitting() is None
