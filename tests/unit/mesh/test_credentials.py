"""Keys and certificates for the Mesh service: usable by gRPC, or one sentence that names the file."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import NameOID
from tests.unit.factories import version_2
from tests.unit.mesh.join.server_harness import Authority

from wgmesh_agent.mesh.credentials import MAX_FILE_BYTES, TLSFileError, caller_of, load_tls_files
from wgmesh_api.identity import IdentityError
from wgmesh_api.parsed_certificate import UnreadableCertificate

NOW = datetime.datetime.now(datetime.UTC)
PEM = serialization.Encoding.PEM
Key = (
    ec.EllipticCurvePrivateKey
    | rsa.RSAPrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | dsa.DSAPrivateKey
)


def certificate(key: Key, *extensions: x509.ExtensionType) -> x509.Certificate:
    """Of this key, by an authority of its own."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + datetime.timedelta(days=1))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())


def write(folder: Path, key: Key) -> tuple[Path, Path]:
    """Key and certificate files in `folder`."""
    clear = serialization.NoEncryption()
    (folder / "key").write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, clear))
    (folder / "cert").write_bytes(certificate(key).public_bytes(PEM))
    return folder / "key", folder / "cert"


@pytest.mark.parametrize(
    "make",
    [
        lambda: ec.generate_private_key(ec.SECP256R1()),
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-256", "P-384", "RSA"],
)
def test_a_key_that_grpc_can_use_is_accepted(tmp_path: Path, make: Callable[[], Key]) -> None:
    key, cert = write(tmp_path, make())
    assert load_tls_files(key, cert, authority=None, folder=None).key == key.read_bytes()


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: ec.generate_private_key(ec.SECP521R1()), "secp521r1"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "secp256k1"),
        (lambda: rsa.generate_private_key(65537, 1024), "RSA key of 1024 bits"),
        (ed25519.Ed25519PrivateKey.generate, "Ed25519"),
        (ed448.Ed448PrivateKey.generate, "Ed448"),
        (lambda: dsa.generate_private_key(2048), "DSA"),
    ],
    ids=["P-521", "secp256k1", "RSA-1024", "Ed25519", "Ed448", "DSA"],
)
def test_a_key_that_grpc_cannot_use_is_refused_with_the_kinds_it_can(
    tmp_path: Path, make: Callable[[], Key], kind: str
) -> None:
    key, cert = write(tmp_path, make())
    with pytest.raises(TLSFileError, match=rf"{kind}.*P-256 or P-384"):
        load_tls_files(key, cert, authority=None, folder=None)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("which", ["key", "cert", "ca"])
@pytest.mark.parametrize(
    "spoil",
    [
        Path.unlink,
        directory,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:100]),
        lambda path: path.write_bytes(b"\xff\xfe\x00" * 50),
        lambda path: path.write_bytes(bytes(10 * MAX_FILE_BYTES)),
        lambda path: path.write_text(
            "-----BEGIN CERTIFICATE-----\n" + "AAAA" * 50 + "\n-----END CERTIFICATE-----\n"
        ),
    ],
    ids=["missing", "directory", "empty", "half", "binary", "10 MiB", "other content"],
)
def test_a_broken_file_is_one_sentence_that_names_it(
    tmp_path: Path, which: str, spoil: Callable[[Path], object]
) -> None:
    key, cert = write(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    authority = tmp_path / "ca"
    authority.write_bytes(cert.read_bytes())
    spoil(tmp_path / which)
    with pytest.raises(TLSFileError) as caught:
        load_tls_files(key, cert, authority=authority, folder=None)
    assert str(tmp_path / which) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_caller_s_certificate_that_cannot_be_read_is_no_caller() -> None:
    cert = x509.load_pem_x509_certificate(Authority().files("a").certificate)
    der = version_2(cert.public_bytes(serialization.Encoding.DER))
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"
    with pytest.raises(UnreadableCertificate):
        caller_of({"x509_pem_cert": [pem]}, "ipv4:192.0.2.1:1")


def test_a_caller_without_a_certificate_is_its_ipv4_address_or_its_64() -> None:
    def holder(peer: str) -> str:
        return caller_of({}, peer).holder

    assert holder("ipv6:[2001:db8::1]:1") == holder("ipv6:[2001:db8::ffff:2]:2")
    assert holder("ipv6:[2001:db8::1]:1") != holder("ipv6:[2001:db8:0:1::1]:1")
    assert holder("ipv6:[fe80::1%eth0]:1") == holder("ipv6:[fe80::2]:1")
    assert holder("ipv4:192.0.2.1:1") == holder("ipv4:192.0.2.1:2") != holder("ipv4:192.0.2.2:1")
    assert holder("unix:/x") == "unix"


def test_a_caller_with_a_malformed_identity_is_no_caller() -> None:
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("wgmesh://blue/king/x")])
    cert = certificate(ec.generate_private_key(ec.SECP256R1()), names)
    with pytest.raises(IdentityError):
        caller_of({"x509_pem_cert": [cert.public_bytes(PEM)]}, "ipv4:192.0.2.1:1")
