"""A CA kept in a folder: ca.pem and ca-key.pem, and for each node NAME.pem and NAME-key.pem."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from wgmesh_agent.cli.failure import CommandFailed
from wgmesh_agent.cli.units import printable
from wgmesh_agent.runtime.atomic_file import write_together
from wgmesh_agent.runtime.bounded_file import FileFault, read_bounded
from wgmesh_api.certificates import (
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
from wgmesh_api.identity import NodeIdentity, Role
from wgmesh_api.parsed_certificate import UnreadableCertificate, load_certificates, parse_certificate

CA_CERT = "ca.pem"
CA_KEY = "ca-key.pem"
_CERT_MODE = 0o644
_KEY_MODE = 0o600
MAX_PEM_BYTES = 1024 * 1024
_PEM_MARK = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Made:
    """Two files just written. `shortened`: the certificate expires earlier than requested, with its CA."""

    cert: Path
    key: Path
    not_after: datetime
    shortened: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """The subject of a certificate. `mesh` may be None if the CA states it."""

    name: str
    mesh: str | None
    bootstrap: bool
    addresses: tuple[IPv4Address | IPv6Address, ...]
    dns_names: tuple[str, ...]


def make_authority(mesh: str, folder: Path, *, days: int, force: bool) -> Made:
    """Writes a new CA into `folder`, which is created if missing. Raises CommandFailed."""
    key = generate_key()
    cert = make_ca(mesh, key, now=_now(), lifetime=timedelta(days=days), serial=x509.random_serial_number())
    made = Made(folder / CA_CERT, folder / CA_KEY, cert.not_valid_after_utc)
    _write_pair(made, cert, key, force=force)
    return made


def issue_certificate(wanted: Wanted, ca_folder: Path, out: Path, *, days: int, force: bool) -> Made:
    """Writes a new key and its certificate, signed by the CA in `ca_folder`, into `out`. Raises CommandFailed."""
    authority = _authority(ca_folder)
    mesh = wanted.mesh or mesh_of_ca(authority.cert)
    if mesh is None:
        raise CommandFailed(f"the CA in {ca_folder} does not state its mesh: give --mesh NAME.")
    if {f"{wanted.name}.pem", f"{wanted.name}-key.pem"} & {CA_CERT, CA_KEY}:
        raise CommandFailed(f"the files of a node named {wanted.name} would overwrite those of the CA.")
    key, now = generate_key(), _now()
    role = Role.BOOTSTRAP if wanted.bootstrap else Role.NODE
    try:
        cert = issue(
            authority,
            NodeIdentity(mesh, wanted.name, role),
            key.public_key(),
            now=now,
            lifetime=timedelta(days=days),
            serial=x509.random_serial_number(),
            addresses=wanted.addresses,
            dns_names=wanted.dns_names,
        )
    except CertificateError as error:
        raise CommandFailed(f"no certificate for {wanted.name}: {error}.") from error
    made = Made(
        out / f"{wanted.name}.pem",
        out / f"{wanted.name}-key.pem",
        cert.not_valid_after_utc,
        shortened=authority.cert.not_valid_after_utc < now + timedelta(days=days),
    )
    _write_pair(made, cert, key, force=force)
    return made


def describe(path: Path) -> Iterator[str]:
    """Lines about each certificate in `path`, a PEM file or a folder of them. Raises CommandFailed."""
    files = _pem_files(path) if path.is_dir() else [path]
    if not files:
        raise CommandFailed(f"there are no certificates in {path}.")
    first = True
    for file in files:
        for cert in _certificates(file):
            if not first:
                yield ""
            first = False
            yield from _described(file, cert)


def _authority(folder: Path) -> CertificateAuthority:
    try:
        return load_authority(_read(folder / CA_CERT), _read(folder / CA_KEY))
    except CertificateError as error:
        raise CommandFailed(f"the CA in {folder} is not usable: {error}.") from error


def _write_pair(made: Made, cert: x509.Certificate, key: ec.EllipticCurvePrivateKey, *, force: bool) -> None:
    _check_free(made, force=force)
    try:
        made.key.parent.mkdir(parents=True, exist_ok=True)
        # The certificate last: without its key it would look complete. Both are written before either replaces a file,
        # or a full disk would leave the old certificate with the new key.
        pair = ((made.key, key_to_pem(key), _KEY_MODE), (made.cert, cert_to_pem(cert), _CERT_MODE))
        write_together(pair, replace=force)
    except OSError as error:
        raise CommandFailed(f"cannot write into {made.key.parent}: {error.strerror or error}.") from error


def _check_free(made: Made, *, force: bool) -> None:
    for path, holds_cert in ((made.key, False), (made.cert, True)):
        if not path.exists():
            continue
        if not force:
            raise CommandFailed(f"{path} already exists; --force overwrites it.")
        # the certificate of a node named a-key has the file name of the key of a node named a
        if holds_cert != (_PEM_MARK in _read(path)):
            raise CommandFailed(f"{path} already exists and is not a regular file: move it first.")


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, MAX_PEM_BYTES)
    except FileFault as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise CommandFailed(f"there is no {path}; `wgmesh ca init` creates a CA.") from error
        raise CommandFailed(f"{error}.") from error


def _pem_files(folder: Path) -> list[Path]:
    try:
        files = sorted(folder.glob("*.pem"), key=lambda file: (file.name != CA_CERT, file.name))
        return [file for file in files if file.is_file() and _PEM_MARK in _read(file)]
    except OSError as error:
        raise CommandFailed(f"cannot read {folder}: {error.strerror}.") from error


def _certificates(file: Path) -> list[x509.Certificate]:
    try:
        return load_certificates(read_bounded(file, MAX_PEM_BYTES))
    except FileFault as error:
        raise CommandFailed(f"{error}.") from error
    except UnreadableCertificate as error:
        raise CommandFailed(f"{file} contains no certificate in PEM form.") from error


def _described(file: Path, cert: x509.Certificate) -> Iterator[str]:
    try:
        parse_certificate(cert)
        summary = summary_of(cert)
    except (CertificateError, UnreadableCertificate) as error:
        raise CommandFailed(f"{file}: {error}.") from error
    identity = summary.identity
    if identity is not None:
        role = f"{identity.role} {identity.node} of mesh {identity.mesh}"
    else:
        role = f"CA of mesh {mesh_of_ca(cert) or '(unknown)'}" if summary.is_ca else "no wgmesh identity"
    yield str(file)
    for label, value in (
        ("Role", role),
        ("Subject", summary.subject),
        ("Issuer", summary.issuer),
        ("Names", ", ".join(summary.names) or "none"),
        ("Valid from", f"{summary.not_before:%Y-%m-%d %H:%M} UTC"),
        ("Valid until", f"{summary.not_after:%Y-%m-%d %H:%M} UTC{_remark(summary.not_after)}"),
        ("SHA-256", summary.fingerprint),
    ):
        yield printable(f"  {label + ':':<13}{value}")


def _remark(not_after: datetime) -> str:
    left = not_after - _now()
    return " (EXPIRED)" if left < timedelta() else f" ({left.days} days left)"


def _now() -> datetime:
    return datetime.now(UTC)
