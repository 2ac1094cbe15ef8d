"""TLS for the Mesh service: the files, the credentials of both ends, and who a peer's certificate says it is."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization

from wgmesh_agent.join.admission import Caller
from wgmesh_api.identity import identity_of


class TLSFileError(Exception):
    """A key or certificate file cannot be used; names the file."""


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """PEM bytes of this node's key and certificate chain, and of the authorities it trusts."""

    key: bytes = field(repr=False)
    certificate: bytes
    authorities: bytes

    def leaf(self) -> x509.Certificate:
        return x509.load_pem_x509_certificates(self.certificate)[0]


class Credentials:
    """This node's TLS as it is now: who replaces `files` changes the next handshake on either end, and cuts nothing."""

    def __init__(self, files: TLSFiles, server_name: str | None = None) -> None:
        """
        Args:
            server_name: what the certificates of those asked must be made out to; None: the address they are asked at.
        """
        self.files = files
        self.server_name = server_name

    def server(self) -> grpc.ServerCredentials:
        """Demands a client certificate from one of the authorities."""
        served, lock = self.files, threading.Lock()

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            # Asked at every handshake, from gRPC's threads. A configuration that is the same is not none: gRPC puts it
            # in place of one that other handshakes use just then, and a hundred at once ended the process (1.85).
            nonlocal served
            with lock:
                files = self.files
                if files is served:
                    return None
                served = files
            return _configuration(files)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(served),
            renewed,  # type: ignore[arg-type]
            require_client_authentication=True,
        )

    def channel(self) -> grpc.ChannelCredentials:
        """For one channel: gRPC cannot change those of a channel that is open."""
        return grpc.ssl_channel_credentials(self.files.authorities, self.files.key, self.files.certificate)


def _configuration(files: TLSFiles) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(files.key, files.certificate)], root_certificates=files.authorities
    )


def load_tls_files(key: Path, certificate: Path, *, authority: Path | None, folder: Path | None) -> TLSFiles:
    """Reads and checks the files.

    Args:
        authority: a file of CA certificates, or None if `folder` is given.
        folder: a folder whose `*.pem` and `*.crt` files are CA certificates.

    Raises:
        TLSFileError: a file is missing, is no PEM, or key and certificate don't belong together.
    """
    key_pem, certificate_pem = _read(key), _read(certificate)
    if folder is not None:
        names = sorted(p for p in _listing(folder) if p.suffix in (".pem", ".crt"))
        authorities = b"\n".join(_read(name) for name in names)
        source = folder
    else:
        source = authority if authority is not None else certificate
        authorities = _read(source)
    return checked(
        TLSFiles(key_pem, certificate_pem, authorities),
        key=str(key), certificate=str(certificate), authorities=str(source),
    )  # fmt: skip


def checked(files: TLSFiles, *, key: str, certificate: str, authorities: str) -> TLSFiles:
    """The same, if it is what it should be.

    Args:
        key, certificate, authorities: what to call each of them.

    Raises:
        TLSFileError: one is no PEM, or key and certificate don't belong together.
    """
    leaf = _certificates(files.certificate, certificate)[0]
    _certificates(files.authorities, authorities)
    try:
        private = serialization.load_pem_private_key(files.key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TLSFileError(f"{key} is no unencrypted PEM private key: {error}") from error
    spki = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    try:
        certified = leaf.public_key().public_bytes(*spki)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TLSFileError(f"{certificate} holds a key of an unknown kind: {error}") from error
    if private.public_key().public_bytes(*spki) != certified:
        raise TLSFileError(f"{key} is not the private key of {certificate}")
    return files


def caller_of(auth_context: Mapping[str, Iterable[bytes]], peer: str) -> Caller:
    """Who called: by its certificate where there is one, else by its address.

    Args:
        auth_context: of the gRPC call; empty without TLS.
        peer: gRPC's name of the other end, `ipv4:10.0.0.2:4711`.

    Raises:
        wgmesh_api.identity.IdentityError: the certificate carries an identity that makes no sense.
    """
    pem = list(auth_context.get("x509_pem_cert", ()))
    if not pem:
        return Caller(holder=peer.rpartition(":")[0])
    certificate = x509.load_pem_x509_certificate(pem[0])
    identity = identity_of(certificate)
    name = str(identity) if identity else certificate.subject.rfc4514_string()
    return Caller(
        holder=certificate.fingerprint(hashes.SHA256()).hex(),
        identity=identity,
        name=name,
        not_before=certificate.not_valid_before_utc,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TLSFileError(f"cannot read {path}: {error.strerror}") from error


def _listing(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise TLSFileError(f"cannot read the folder {folder}: {error.strerror}") from error


def _certificates(pem: bytes, source: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise TLSFileError(f"{source} holds no PEM certificate: {error}") from error
