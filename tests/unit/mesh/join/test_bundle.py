"""Join bundles: what the operator writes is read back, and what is wrong with another is one clear sentence."""

from __future__ import annotations

import json
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.mesh.join.bundle_fixtures import NOW, bundle_bytes, changed, make_authority

from wgmesh_agent.mesh.join.bundle import (
    MAX_BYTES,
    BundleError,
    credentials_of,
    expires_soon,
    parse_bundle,
    read_bundle,
    tls_files_of,
    validity_problem,
)
from wgmesh_agent.settings.model import HostPort
from wgmesh_api.certificates import generate_key, key_to_pem

FILE = Path("/etc/bundle.json")
AUTHORITY = make_authority()
GOOD = bundle_bytes(AUTHORITY)


def test_what_the_operator_writes_is_read_back() -> None:
    bundle = parse_bundle(GOOD, FILE)
    assert (bundle.mesh, bundle.node) == ("blue", "laptop")
    assert bundle.bootstraps == (HostPort("192.0.2.1", 5000), HostPort("192.0.2.2", 5000))
    assert bundle.addresses == (ip_address("10.232.0.7"),)
    assert "PRIVATE KEY" not in repr(bundle)


def test_whoever_is_asked_must_be_a_bootstrap_node_of_the_mesh_wherever_it_is() -> None:
    credentials = credentials_of(parse_bundle(GOOD, FILE))
    assert credentials.server_name == "bootstrap.blue.wgmesh.dev"
    assert "PRIVATE KEY" not in repr(credentials.files)


def test_fields_of_later_versions_are_no_fault_and_addresses_may_be_missing() -> None:
    assert parse_bundle(changed(GOOD, hue="blue", addresses=None), FILE).addresses == ()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (GOOD[:-200], "is incomplete"),
        (b"\x00\xff", "is not a join bundle"),
        (b"[" * 100_000, "is not a join bundle"),
        (b"9" * 10_000, "is not a join bundle"),
        (b"null", "is not a join bundle"),
        (b"[]", "is not a join bundle"),
        (b'"text"', "is not a join bundle"),
        (b" " * (MAX_BYTES + 1), "larger than 256 KiB"),
        (json.dumps({"kind": "Secret", "data": {"bundle.json": "e30="}}).encode(), "is the Secret"),
        (b"{}", "it has no mesh"),
        (changed(GOOD, certificate=None), "it has no certificate"),
        (changed(GOOD, key=17), "it has no key"),
        (changed(GOOD, ca="\ud800"), "it has no ca"),
        (changed(GOOD, mesh="a/b"), "'a/b' is not a valid mesh name"),
        (changed(GOOD, node="x" * 200), "is not a valid node name"),
        (changed(GOOD, bootstraps=[]), "does not list a bootstrap node"),
        (changed(GOOD, bootstraps="192.0.2.1:5000"), "bootstraps is not a list"),
        (changed(GOOD, bootstraps=[1]), "bootstraps is not a list"),
        (changed(GOOD, bootstraps=["h:5000"] * 65), "bootstraps is not a list of at most 64"),
        (changed(GOOD, bootstraps=["192.0.2.1:99999"]), "is not a port"),
        (changed(GOOD, addresses=["10.232.0.400"]), "addresses: '10.232.0.400'"),
        (changed(GOOD, node="phone"), "is for wgmesh://blue/node/laptop, not for wgmesh://blue/node/phone"),
        (changed(GOOD, mesh="green"), "not for wgmesh://green/node/laptop"),
        (changed(GOOD, key=key_to_pem(generate_key()).decode()), "is not the private key of the certificate"),
        (changed(GOOD, key="secret"), "is not an unencrypted PEM private key"),
        (
            changed(GOOD, certificate="certificate"),
            "the certificate in /etc/bundle.json contains no PEM certificate",
        ),
        (changed(GOOD, ca="ca"), "the ca in /etc/bundle.json contains no PEM certificate"),
        (changed(GOOD, ca=json.loads(bundle_bytes(make_authority()))["ca"]), "is not issued by the ca in it"),
    ],
)
def test_what_is_wrong_is_one_sentence_that_names_the_file(data: bytes, says: str) -> None:
    with pytest.raises(BundleError) as caught:
        parse_bundle(data, FILE)
    assert says in str(caught.value)
    assert str(FILE) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "PRIVATE KEY" not in str(caught.value)


def complaint(data: bytes) -> str:
    """What is said of these bytes; empty if they are a bundle."""
    try:
        parse_bundle(data, FILE)
    except BundleError as error:
        return str(error)
    return ""


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=50).map(lambda tail: GOOD[: -len(tail) or None] + tail))
def test_any_bytes_are_a_bundle_or_a_complaint(data: bytes) -> None:
    assert "\n" not in complaint(data)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["mesh", "node", "bootstraps", "addresses", "ca", "certificate", "key"]), json_values
    )
)
def test_any_content_of_the_fields_is_a_bundle_or_a_complaint(fields: dict[str, object]) -> None:
    assert "\n" not in complaint(changed(GOOD, **fields))


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read: no such file"):
        read_bundle(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="cannot be read: is a directory"):
        read_bundle(tmp_path)
    with pytest.raises(BundleError, match="larger than"):
        read_bundle(Path("/dev/zero"))


def test_a_certificate_out_of_its_time_says_so() -> None:
    bundle = parse_bundle(GOOD, FILE)
    assert validity_problem(bundle, NOW) is None
    ended = validity_problem(bundle, NOW + timedelta(days=365))
    assert ended is not None
    assert "expired on 2027-11-22" in ended
    assert "fetch it again" in ended
    early = validity_problem(bundle, NOW - timedelta(hours=1))
    assert early is not None
    assert "clock" in early


def test_a_month_before_its_end_it_ends_soon() -> None:
    leaf = tls_files_of(parse_bundle(GOOD, FILE)).leaf()
    assert not expires_soon(leaf, leaf.not_valid_after_utc - timedelta(days=31))
    assert expires_soon(leaf, leaf.not_valid_after_utc - timedelta(days=30))
