"""`wgmesh ca`: files that are right, private, and never lost by accident."""

from __future__ import annotations

import errno
import os
import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.verification import PolicyBuilder, Store

from wgmesh_api.certificates import cert_to_pem, generate_key, key_to_pem, make_ca
from wgmesh_api.identity import NodeIdentity, Role, identity_of


@pytest.fixture
def folder(cli: Any, tmp_path: Path) -> Path:
    """A CA for the mesh blue."""
    folder = tmp_path / "ca"
    outcome = cli("ca", "init", "--mesh", "blue", "--dir", str(folder))
    assert outcome.code == 0, outcome.err
    return folder


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def days_left(cert: x509.Certificate) -> float:
    return (cert.not_valid_after_utc - datetime.now(UTC)) / timedelta(days=1)


def test_keys_are_their_owners_alone(cli: Any, folder: Path) -> None:
    cli("ca", "issue", "--dir", str(folder), "alpha")
    for name in ("ca-key.pem", "alpha-key.pem"):
        assert mode_of(folder / name) == 0o600
    for name in ("ca.pem", "alpha.pem"):
        assert mode_of(folder / name) == 0o644


def test_a_node_certificate_is_signed_by_the_ca_and_fits_its_key(cli: Any, folder: Path) -> None:
    assert cli("ca", "issue", "-dir", str(folder), "alpha").code == 0
    cert = load(folder / "alpha.pem")
    key = serialization.load_pem_private_key((folder / "alpha-key.pem").read_bytes(), None)
    assert cert.public_key() == key.public_key()
    assert identity_of(cert) == NodeIdentity("blue", "alpha", Role.NODE)
    PolicyBuilder().store(Store([load(folder / "ca.pem")])).build_client_verifier().verify(cert, [])
    assert 364 < days_left(cert) <= 365


def test_a_bootstrap_certificate_has_what_joiners_dial(cli: Any, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = f"ca issue --dir {folder} boot --bootstrap --ip 192.0.2.1,fd00::1 -ip 192.0.2.2 --dns b.example --out {out}"
    assert cli(*line.split()).code == 0
    cert = load(out / "boot.pem")
    assert identity_of(cert) == NodeIdentity("blue", "boot", Role.BOOTSTRAP)
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == [
        "192.0.2.1",
        "fd00::1",
        "192.0.2.2",
    ]
    assert names.get_values_for_type(x509.DNSName) == ["b.example"]


def test_days_are_as_asked_but_never_past_the_ca(cli: Any, folder: Path) -> None:
    assert "sooner" not in cli("ca", "issue", "--dir", str(folder), "short", "--days", "2").out
    assert 1 < days_left(load(folder / "short.pem")) <= 2
    assert "earlier than requested" in cli("ca", "issue", "--dir", str(folder), "long", "--days", "9999").out
    assert load(folder / "long.pem").not_valid_after_utc == load(folder / "ca.pem").not_valid_after_utc


def test_nothing_is_overwritten_unless_forced(cli: Any, folder: Path) -> None:
    cli("ca", "issue", "--dir", str(folder), "alpha")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for args in (("init", "--mesh", "blue"), ("issue", "alpha")):
        outcome = cli("ca", *args, "--dir", str(folder))
        assert outcome.code == 1
        assert "already exists; --force overwrites it" in outcome.err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert cli("ca", "issue", "alpha", "--dir", str(folder), "--force").code == 0
    assert (folder / "alpha.pem").read_bytes() != before[folder / "alpha.pem"]
    assert cli("ca", "init", "--mesh", "blue", "--dir", str(folder), "--force").code == 0
    assert (folder / "ca.pem").read_bytes() != before[folder / "ca.pem"]


def test_what_fails_between_key_and_certificate_leaves_the_old_pair(
    cli: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("ca", "issue", "--dir", str(folder), "alpha")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    really_write, written = os.write, 0

    def full(descriptor: int, data: bytes) -> int:
        nonlocal written
        written += 1
        if written > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return really_write(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    for args in (("issue", "alpha"), ("init", "--mesh", "blue")):
        written = 0
        assert cli("ca", *args, "--dir", str(folder), "--force").code == 1
        assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["ca", "alpha-key"])
def test_a_nodes_name_never_costs_another_its_files_even_if_forced(cli: Any, folder: Path, name: str) -> None:
    cli("ca", "issue", "--dir", str(folder), "alpha")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert cli("ca", "issue", "--dir", str(folder), name, "--force").code == 1
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_show_tells_role_names_end_and_fingerprint(cli: Any, folder: Path) -> None:
    cli("ca", "issue", "--dir", str(folder), "boot", "--bootstrap", "--ip", "192.0.2.1")
    out = cli("ca", "show", "--dir", str(folder)).out
    ca, boot = out.split("\n\n")
    assert ca.startswith(f"{folder}/ca.pem\n")
    assert "Role:        CA of mesh blue" in ca
    assert "Role:        bootstrap boot of mesh blue" in boot
    assert "Subject:     CN=boot,O=blue" in boot
    assert "Names:       wgmesh://blue/bootstrap/boot, 192.0.2.1" in boot
    assert re.search(r"Valid until: \d{4}-\d\d-\d\d \d\d:\d\d UTC \(36[45] days left\)", boot)
    assert re.search(r"SHA-256:     [0-9a-f]{64}\n", boot)
    assert cli("ca", "show", str(folder / "boot.pem")).out == boot


def test_show_says_when_a_certificate_has_expired(cli: Any, tmp_path: Path) -> None:
    now = datetime(2020, 1, 1, tzinfo=UTC)
    old = make_ca("blue", generate_key(), now=now, lifetime=timedelta(days=1), serial=1)
    (tmp_path / "old.pem").write_bytes(cert_to_pem(old))
    assert "2020-01-02 00:00 UTC (EXPIRED)" in cli("ca", "show", str(tmp_path / "old.pem")).out


def test_a_ca_of_another_tool_needs_to_be_told_the_mesh(cli: Any, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import hashes

    key = generate_key()
    name = x509.Name.from_rfc4514_string("CN=Acme root")
    cert = (
        x509.CertificateBuilder(name, name, key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "ca.pem").write_bytes(cert_to_pem(cert))
    (tmp_path / "ca-key.pem").write_bytes(key_to_pem(key))
    assert "give --mesh NAME" in cli("ca", "issue", "alpha", "--dir", str(tmp_path)).err
    assert cli("ca", "issue", "alpha", "--dir", str(tmp_path), "--mesh", "blue").code == 0


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("ca init --dir {d}", 2, "--mesh"),
        ("ca init --mesh elevenchars --dir {d}", 2, "1 to 10 letters"),
        ("ca issue --dir {d}", 2, "NAME"),
        ("ca issue --dir {d} ../x", 2, "not a node name"),
        ("ca issue --dir {d} boot --bootstrap", 2, "--ip ADDRESS or --dns NAME"),
        ("ca issue --dir {d} boot --bootstrap --ip here", 2, '"here" is not an IP address'),
        ("ca issue --dir {d} boot --bootstrap --dns bücher", 1, "DNS name"),
        ("ca issue --dir {d} alpha --days 0", 2, "--days"),
        ("ca issue --dir {d} alpha --mesh red", 1, "'blue', not 'red'"),
        ("ca issue --dir /nowhere alpha", 1, "wgmesh ca init"),
        ("ca show /nowhere.pem", 1, "/nowhere.pem cannot be read"),
        ("ca show {d}/ca-key.pem", 1, "contains no certificate"),
        ("ca show x --dir {d}", 2, "not both"),
        ("ca init --mesh blue --dir {d}/ca.pem/x", 1, "cannot write"),
    ],
)
def test_mistakes_are_one_sentence(cli: Any, folder: Path, line: str, code: int, said: str) -> None:
    outcome = cli(*line.format(d=folder).split())
    assert outcome.code == code
    assert said in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_ca_whose_key_is_anothers_is_refused(cli: Any, folder: Path) -> None:
    (folder / "ca-key.pem").write_bytes(key_to_pem(generate_key()))
    outcome = cli("ca", "issue", "alpha", "--dir", str(folder))
    assert outcome.code == 1
    assert "do not belong together" in outcome.err


def test_a_folder_without_certificates_is_told(cli: Any, tmp_path: Path) -> None:
    outcome = cli("ca", "show", "--dir", str(tmp_path))
    assert outcome.code == 1
    assert "there are no certificates" in outcome.err
