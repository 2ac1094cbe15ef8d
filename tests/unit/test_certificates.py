"""Certificates made here, judged by others: cryptography's verifier and a real mTLS handshake of grpc."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, ip_address
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from wgmesh_api.certificates import (
    BACKDATE,
    CertificateAuthority,
    CertificateError,
    cert_to_pem,
    generate_key,
    issue,
    key_to_pem,
    load_authority,
    make_ca,
    mesh_of_ca,
    summary_of,
)
from wgmesh_api.identity import NodeIdentity, Role, identity_of
from wgmesh_api.meshservice_pb2 import HandshakeRequest, HandshakeResponse
from wgmesh_api.meshservice_pb2_grpc import MeshServicer, MeshStub, add_MeshServicer_to_server

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
CA_KEY = generate_key()
CA = CertificateAuthority(make_ca("blue", CA_KEY, now=NOW, lifetime=30 * DAY, serial=1), CA_KEY)
KEY = generate_key()
NODE = NodeIdentity("blue", "alpha", Role.NODE)
BOOTSTRAP = NodeIdentity("blue", "boot", Role.BOOTSTRAP)


def issued(
    identity: NodeIdentity, lifetime: timedelta = DAY, authority: CertificateAuthority = CA
) -> x509.Certificate:
    return issue(
        authority,
        identity,
        KEY.public_key(),
        now=NOW,
        lifetime=lifetime,
        serial=2,
        addresses=[ip_address("127.0.0.1"), ip_address("fd00::1")],
        dns_names=["boot.example"],
    )


def purposes(cert: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def builder(*authorities: x509.Certificate, at: datetime = NOW) -> PolicyBuilder:
    return PolicyBuilder().store(Store(list(authorities))).time(at)


class TestVerifier:
    def test_a_bootstrap_certificate_serves_its_addresses_and_names(self) -> None:
        cert = issued(BOOTSTRAP)
        for subject in (x509.DNSName("boot.example"), x509.IPAddress(IPv4Address("127.0.0.1"))):
            chain = builder(CA.cert).build_server_verifier(subject).verify(cert, [])
            assert chain == [cert, CA.cert]
        with pytest.raises(VerificationError):
            builder(CA.cert).build_server_verifier(x509.DNSName("other.example")).verify(cert, [])

    def test_both_kinds_may_call(self) -> None:
        for identity in (NODE, BOOTSTRAP):
            cert = issued(identity)
            verified = builder(CA.cert).build_client_verifier().verify(cert, [])
            assert verified.chain == [cert, CA.cert]

    def test_a_node_may_not_serve(self) -> None:
        with pytest.raises(VerificationError):
            builder(CA.cert).build_server_verifier(x509.DNSName("boot.example")).verify(issued(NODE), [])

    def test_another_ca_does_not_vouch(self) -> None:
        other = make_ca("blue", generate_key(), now=NOW, lifetime=DAY, serial=1)
        with pytest.raises(VerificationError):
            builder(other).build_client_verifier().verify(issued(NODE), [])

    def test_a_member_cannot_make_members(self) -> None:
        member = issued(BOOTSTRAP)
        child_key = generate_key()
        child = (
            x509.CertificateBuilder(member.subject, member.subject, child_key.public_key())
            .serial_number(3)
            .not_valid_before(NOW - BACKDATE)
            .not_valid_after(NOW + DAY)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("x")]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(KEY.public_key()), critical=False
            )
            .sign(KEY, hashes.SHA256())
        )
        with pytest.raises(VerificationError):
            builder(CA.cert).build_client_verifier().verify(child, [member])

    @pytest.mark.parametrize("at", [NOW - BACKDATE, NOW, NOW + DAY])
    def test_it_is_valid_from_five_minutes_before_until_its_end(self, at: datetime) -> None:
        builder(CA.cert, at=at).build_client_verifier().verify(issued(NODE), [])

    @pytest.mark.parametrize("at", [NOW - BACKDATE - timedelta(seconds=1), NOW + DAY + timedelta(seconds=1)])
    def test_and_not_outside(self, at: datetime) -> None:
        with pytest.raises(VerificationError):
            builder(CA.cert, at=at).build_client_verifier().verify(issued(NODE), [])

    def test_a_ca_of_another_tool_can_sign_too(self) -> None:
        key = generate_key()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Acme root")])
        foreign = (
            x509.CertificateBuilder(name, name, key.public_key())
            .serial_number(9)
            .not_valid_before(NOW)
            .not_valid_after(NOW + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier(b"named by hand"), critical=False)
            .sign(key, hashes.SHA256())
        )
        cert = issued(NODE, authority=CertificateAuthority(foreign, key))
        assert mesh_of_ca(foreign) is None
        assert cert.not_valid_before_utc == NOW
        identifier = cert.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        assert identifier.key_identifier == b"named by hand"


class TestProfile:
    def test_the_identity_is_in_it(self) -> None:
        assert identity_of(issued(NODE)) == NODE
        assert identity_of(issued(BOOTSTRAP)) == BOOTSTRAP
        assert identity_of(CA.cert) is None

    def test_purposes_follow_the_role(self) -> None:
        assert purposes(issued(NODE)) == [ExtendedKeyUsageOID.CLIENT_AUTH]
        assert purposes(issued(BOOTSTRAP)) == [
            ExtendedKeyUsageOID.SERVER_AUTH,
            ExtendedKeyUsageOID.CLIENT_AUTH,
        ]

    def test_it_does_not_outlive_its_ca(self) -> None:
        assert issued(NODE, lifetime=90 * DAY).not_valid_after_utc == CA.cert.not_valid_after_utc

    def test_the_same_inputs_say_the_same(self) -> None:
        assert issued(NODE).tbs_certificate_bytes == issued(NODE).tbs_certificate_bytes

    def test_a_ca_that_has_ended_signs_nothing(self) -> None:
        with pytest.raises(CertificateError, match="the CA expired"):
            issue(CA, NODE, KEY.public_key(), now=NOW + 31 * DAY, lifetime=DAY, serial=2)

    def test_a_ca_signs_for_its_mesh_only(self) -> None:
        assert mesh_of_ca(CA.cert) == "blue"
        with pytest.raises(CertificateError, match="'blue', not 'red'"):
            issued(NodeIdentity("red", "alpha", Role.NODE))

    def test_a_dns_name_that_is_none_is_refused(self) -> None:
        with pytest.raises(CertificateError, match="DNS name"):
            issue(
                CA, BOOTSTRAP, KEY.public_key(), now=NOW, lifetime=DAY, serial=2, dns_names=["bücher.example"]
            )


class TestAuthority:
    def test_it_is_read_back_from_its_files(self) -> None:
        again = load_authority(cert_to_pem(CA.cert), key_to_pem(CA_KEY))
        assert again.cert == CA.cert

    def test_a_key_of_another_is_refused(self) -> None:
        with pytest.raises(CertificateError, match="do not belong together"):
            load_authority(cert_to_pem(CA.cert), key_to_pem(generate_key()))

    def test_a_certificate_that_is_no_ca_is_refused(self) -> None:
        with pytest.raises(CertificateError, match="not a CA"):
            load_authority(cert_to_pem(issued(NODE)), key_to_pem(KEY))

    @pytest.mark.parametrize(("cert", "key"), [(b"", b""), (cert_to_pem(CA.cert), b"nonsense")])
    def test_files_that_cannot_be_read_are_refused(self, cert: bytes, key: bytes) -> None:
        with pytest.raises(CertificateError, match="cannot be read"):
            load_authority(cert, key)


def test_a_summary_says_what_people_ask() -> None:
    summary = summary_of(issued(BOOTSTRAP))
    assert summary.subject == "CN=boot,O=blue"
    assert summary.names == ("wgmesh://blue/bootstrap/boot", "127.0.0.1", "fd00::1", "boot.example")
    assert summary.identity == BOOTSTRAP
    assert not summary.is_ca
    assert len(summary.fingerprint) == 64
    assert summary_of(CA.cert).is_ca


class Greeter(MeshServicer):
    """Answers with the identity of the caller."""

    def Begin(self, request: HandshakeRequest, context: grpc.ServicerContext) -> HandshakeResponse:
        shown: Any = context.auth_context()["x509_pem_cert"]
        return HandshakeResponse(joinToken=str(identity_of(x509.load_pem_x509_certificate(shown[0]))))


class TestHandshake:
    """grpc's own TLS on both ends."""

    def call(
        self,
        server: x509.Certificate,
        client: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
        trusted_by_client: Sequence[x509.Certificate] = (CA.cert,),
    ) -> str:
        grpc_server = grpc.server(ThreadPoolExecutor(1))
        add_MeshServicer_to_server(Greeter(), grpc_server)  # type: ignore[no-untyped-call]
        credentials = grpc.ssl_server_credentials(
            [(key_to_pem(KEY), cert_to_pem(server))], cert_to_pem(CA.cert), require_client_auth=True
        )
        port = grpc_server.add_secure_port("127.0.0.1:0", credentials)
        grpc_server.start()
        try:
            roots = b"".join(cert_to_pem(cert) for cert in trusted_by_client)
            shown = grpc.ssl_channel_credentials(
                roots,
                key_to_pem(client[1]) if client else None,
                cert_to_pem(client[0]) if client else None,
            )
            with grpc.secure_channel(f"127.0.0.1:{port}", shown) as channel:
                stub = MeshStub(channel)  # type: ignore[no-untyped-call]
                answer: HandshakeResponse = stub.Begin(HandshakeRequest(meshName="blue"), timeout=10)
                return answer.joinToken
        finally:
            grpc_server.stop(None).wait()

    def test_a_node_reaches_a_bootstrap_by_address_and_is_known_by_its_identity(self) -> None:
        assert self.call(issued(BOOTSTRAP), (issued(NODE), KEY)) == "wgmesh://blue/node/alpha"

    def test_a_bootstrap_reaches_a_bootstrap(self) -> None:
        assert self.call(issued(BOOTSTRAP), (issued(BOOTSTRAP), KEY)) == "wgmesh://blue/bootstrap/boot"

    @pytest.mark.parametrize("who", ["nobody", "stranger"])
    def test_others_are_not_let_in(self, who: str) -> None:
        key = generate_key()
        foreign = CertificateAuthority(make_ca("blue", key, now=NOW, lifetime=DAY, serial=1), key)
        client = (issued(NODE, authority=foreign), KEY) if who == "stranger" else None
        with pytest.raises(grpc.RpcError) as caught:
            self.call(issued(BOOTSTRAP), client)
        assert isinstance(caught.value, grpc.Call)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE

    def test_a_node_passing_itself_off_as_a_bootstrap_is_not_believed(self) -> None:
        with pytest.raises(grpc.RpcError):
            self.call(issued(NODE), (issued(NODE), KEY))
