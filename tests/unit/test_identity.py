"""The URI that states the identity of a certificate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_api.identity import IdentityError, NodeIdentity, Role, identity_of
from wgmesh_api.names import MESH_NAME, NODE_NAME, is_mesh_name, is_node_name

KEY = ec.generate_private_key(ec.SECP256R1())
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def cert(*names: x509.GeneralName) -> x509.Certificate:
    subject = x509.Name([])
    builder = (
        x509.CertificateBuilder(subject, subject, KEY.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, hashes.SHA256())


def uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(text)


@given(
    st.from_regex(MESH_NAME, fullmatch=True), st.from_regex(NODE_NAME, fullmatch=True), st.sampled_from(Role)
)
def test_an_identity_read_from_its_uri_is_itself(mesh: str, node: str, role: Role) -> None:
    identity = NodeIdentity(mesh, node, role)
    assert NodeIdentity.from_uri(identity.uri) == identity
    assert is_mesh_name(mesh)
    assert is_node_name(node)


def test_a_certificate_with_one_identity_has_it() -> None:
    names = (x509.DNSName("alpha"), uri("https://example.org"), uri("wgmesh://blue/node/alpha"))
    assert identity_of(cert(*names)) == NodeIdentity("blue", "alpha", Role.NODE)
    assert str(NodeIdentity("blue", "boot-1", Role.BOOTSTRAP)) == "wgmesh://blue/bootstrap/boot-1"


@pytest.mark.parametrize("names", [(), (x509.DNSName("alpha"),), (uri("spiffe://blue/node/alpha"),)])
def test_a_certificate_of_another_kind_has_none(names: tuple[x509.GeneralName, ...]) -> None:
    assert identity_of(cert(*names)) is None


@pytest.mark.parametrize(
    "text",
    [
        "wgmesh://blue/node/",
        "wgmesh://blue/node",
        "wgmesh://blue/admin/alpha",
        "wgmesh:///node/alpha",
        "wgmesh://blue/node/alpha/",
        "wgmesh://blue/node/../alpha",
        "wgmesh://blue/node/alpha?x",
        "wgmesh://blue/node/al%70ha",
        "wgmesh://elevenchars/node/alpha",
        "wgmesh://blue/node/-alpha",
        "WGMESH://blue/node/alpha",
        "wgmesh:blue",
        " wgmesh://blue/node/alpha",
    ],
)
def test_a_malformed_identity_is_refused(text: str) -> None:
    with pytest.raises(IdentityError):
        NodeIdentity.from_uri(text)
    if text.lower().startswith("wgmesh:"):
        with pytest.raises(IdentityError):
            identity_of(cert(uri(text)))


def test_two_identities_are_refused_even_if_they_are_the_same() -> None:
    same = uri("wgmesh://blue/node/alpha")
    with pytest.raises(IdentityError, match="2 identities"):
        identity_of(cert(same, same))
    with pytest.raises(IdentityError, match="2 identities"):
        identity_of(cert(same, uri("wgmesh://blue/bootstrap/alpha")))


@pytest.mark.parametrize(
    ("mesh", "node"), [("", "a"), ("blue", ""), ("b/x", "a"), ("blue", "a/b"), ("blue", "a\n")]
)
def test_names_that_would_forge_a_uri_make_no_identity(mesh: str, node: str) -> None:
    with pytest.raises(IdentityError):
        NodeIdentity(mesh, node, Role.NODE)


def test_broken_extensions_are_an_identity_error() -> None:
    broken = (
        x509.CertificateBuilder(x509.Name([]), x509.Name([]), KEY.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(
            x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x05nope!"), critical=False
        )
        .sign(KEY, hashes.SHA256())
    )
    with pytest.raises(IdentityError):
        identity_of(broken)
