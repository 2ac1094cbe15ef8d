"""TLS credentials of the Mesh service: key, certificate and CA files of both ends, and the identity of a peer."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from wgmesh_agent.mesh.caller import Caller
from wgmesh_agent.mesh.grpc_peer import source_of
from wgmesh_agent.runtime.bounded_file import FileFault, read_bounded
from wgmesh_api.identity import IdentityError
from wgmesh_api.parsed_certificate import (
    ParsedCertificate,
    UnreadableCertificate,
    load_certificates,
    parse_certificate,
    parse_pem,
)

MAX_FILE_BYTES = 1024 * 1024
"""Of a key, a certificate chain or a bundle of CA certificates: a full set of public CAs is 220 KiB."""
MAX_AUTHORITIES = 1024
USABLE_CURVES = ("secp256r1", "secp384r1")
USABLE_KEYS = "RSA of at least 2048 bits, or elliptic curve P-256 or P-384"
"""Kinds of key with which gRPC completes TLS handshakes, measured with 1.85: P-521 and Ed25519 end in
NO_COMMON_SIGNATURE_ALGORITHMS (grpc/grpc#24252, #41089). Admission records are verified with RSA keys of at least 2048
bits only.
"""


class TLSFileError(Exception):
    """A key or certificate file cannot be used; names the file."""


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """PEM bytes of this node's key and certificate chain, and of the CA certificates it trusts."""

    key: bytes = field(repr=False)
    certificate: bytes
    authorities: bytes

    def leaf(self) -> x509.Certificate:
        """This node's own certificate. Raises UnreadableCertificate (a ValueError)."""
        return load_certificates(self.certificate)[0]


class Credentials:
    """This node's current TLS files. Replacing `files` affects the next handshake on either end, and closes no
    connection.
    """

    def __init__(self, files: TLSFiles, server_name: str | None = None) -> None:
        """
        Args:
            server_name: the name that server certificates must carry; None: the address that is called.
        """
        self.files = files
        self.server_name = server_name

    def server(self) -> grpc.ServerCredentials:
        """Requires a client certificate from one of the CAs."""
        served, lock = self.files, threading.Lock()

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            # Called at every handshake, from gRPC's threads. None if nothing changed: gRPC would install an unchanged
            # configuration in place of one that other handshakes use at that moment, and a hundred at once ended the
            # process (1.85).
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
        """For one channel: gRPC cannot replace those of an open channel."""
        return grpc.ssl_channel_credentials(self.files.authorities, self.files.key, self.files.certificate)


def _configuration(files: TLSFiles) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(files.key, files.certificate)], root_certificates=files.authorities
    )


def load_tls_files(key: Path, certificate: Path, *, authority: Path | None, folder: Path | None) -> TLSFiles:
    """Reads and verifies the files.

    Args:
        authority: a file of CA certificates, or None if `folder` is given.
        folder: a folder whose `*.pem` and `*.crt` files are CA certificates.

    Raises:
        TLSFileError: a file is missing, too large, not PEM, or of a kind that gRPC cannot use; or key and certificate
            do not match.
    """
    key_pem, certificate_pem = _read(key), _read(certificate)
    if folder is not None:
        names = sorted(p for p in _listing(folder) if p.suffix in (".pem", ".crt"))
        if len(names) > MAX_AUTHORITIES:
            raise TLSFileError(
                f"{folder} contains {len(names)} certificate files, more than {MAX_AUTHORITIES}"
            )
        authorities = b"\n".join(_read(name) for name in names)
        source = folder
    else:
        source = authority if authority is not None else certificate
        authorities = _read(source)
    return validated(
        TLSFiles(key_pem, certificate_pem, authorities),
        key=str(key),
        certificate=str(certificate),
        authorities=str(source),
    )


def validated(files: TLSFiles, *, key: str, certificate: str, authorities: str) -> TLSFiles:
    """The same files, verified.

    Args:
        key, certificate, authorities: names of the sources, for errors.

    Raises:
        TLSFileError: one is not PEM, or key and certificate do not match.
    """
    leaf = _parsed(files.certificate, certificate)
    try:
        load_certificates(files.authorities)
    except UnreadableCertificate as error:
        raise TLSFileError(f"{authorities} contains no PEM certificate: {error}") from error
    try:
        private = serialization.load_pem_private_key(files.key, password=None)
        spki = private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    except Exception as error:
        # The exception of the library depends on the bytes.
        raise TLSFileError(f"{key} is not an unencrypted PEM private key: {error}") from error
    if spki != leaf.spki:
        raise TLSFileError(f"{key} is not the private key of {certificate}")
    kind = _unusable_kind(leaf)
    if kind is not None:
        raise TLSFileError(f"{certificate} has {kind}, which gRPC cannot use: create one with {USABLE_KEYS}")
    return files


def _unusable_kind(certificate: ParsedCertificate) -> str | None:
    """The kind of a key with which gRPC completes no handshake; None for a usable one."""
    key = certificate.public_key
    if isinstance(key, rsa.RSAPublicKey):
        return None if key.key_size >= 2048 else f"an RSA key of {key.key_size} bits"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return None if key.curve.name in USABLE_CURVES else f"an elliptic curve key on {key.curve.name}"
    return f"a key of the kind {type(key).__name__.removesuffix('PublicKey').lstrip('_')}"


def caller_of(auth_context: Mapping[str, Iterable[bytes]], peer: str) -> Caller:
    """The caller: by its certificate if it has one, otherwise by its address.

    Args:
        auth_context: of the gRPC call; empty without TLS.
        peer: gRPC's name of the other end, `ipv4:10.0.0.2:4711`.

    Raises:
        wgmesh_api.identity.IdentityError: the certificate contains a malformed identity.
        UnreadableCertificate: a part of the certificate cannot be decoded.
    """
    pem = list(auth_context.get("x509_pem_cert", ()))
    if not pem:
        return Caller(holder=source_of(peer), is_anonymous=True)
    certificate = parse_pem(pem[0])[0]
    if certificate.identity_fault:
        raise IdentityError(certificate.identity_fault)
    return Caller(
        holder=certificate.fingerprint.hex(),
        identity=certificate.identity,
        name=str(certificate.identity) if certificate.identity else certificate.subject,
        not_before=certificate.not_before,
    )


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, MAX_FILE_BYTES)
    except FileFault as error:
        raise TLSFileError(str(error)) from error


def _listing(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise TLSFileError(f"cannot read the folder {folder}: {error.strerror}") from error


def _parsed(pem: bytes, source: str) -> ParsedCertificate:
    try:
        return parse_certificate(load_certificates(pem)[0])
    except UnreadableCertificate as error:
        raise TLSFileError(f"{source} contains no PEM certificate: {error}") from error
