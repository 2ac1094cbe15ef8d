"""Join bundle: one JSON file with which an external machine joins a cluster's mesh.

The operator writes it (`wgmesh_operator.decisions.trust.join_bundles`): `mesh`, `node`, `bootstraps` (list of
`address:port`), `addresses` (list), `ca`, `certificate`, `key` (PEM), `secrets` (list, base64; may be missing). Other
fields are ignored, for later versions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509

from wgmesh_agent.mesh.credentials import Credentials, TLSFileError, TLSFiles, validated
from wgmesh_agent.runtime.bounded_file import FileFault, read_bounded
from wgmesh_agent.settings import parsing
from wgmesh_agent.settings.errors import SettingsError
from wgmesh_agent.settings.model import Bundle, HostPort, IPAddress
from wgmesh_api.certificates import is_issued_by
from wgmesh_api.identity import IdentityError, NodeIdentity, Role, identity_of
from wgmesh_api.names import is_mesh_name, is_node_name
from wgmesh_api.parsed_certificate import load_certificates
from wgmesh_api.preshared import MOST_SECRETS
from wgmesh_api.roster import bootstrap_dns_name
from wgmesh_api.values import parse_address

MAX_BYTES = 256 * 1024
MAX_BOOTSTRAPS = 64
MAX_ADDRESSES = 8
WARN_BEFORE = timedelta(days=30)
WARN_FROM = 2 / 3
FETCH = "fetch it again: kubectl get secret, the key bundle.json, decoded from base64"


class BundleError(SettingsError):
    """An unusable bundle; one sentence, which names the file."""


def read_bundle(path: Path) -> Bundle:
    """Raises BundleError: it cannot be read, or is incomplete or inconsistent."""
    try:
        data = read_bounded(path, MAX_BYTES)
    except FileFault as error:
        raise BundleError(f"{error}: a join bundle is one file of some KiB") from error
    return parse_bundle(data, path)


def parse_bundle(data: bytes, path: Path) -> Bundle:
    """Like `read_bundle`, for the file's content; at most MAX_BYTES. Does not check the validity period."""
    if len(data) > MAX_BYTES:
        raise BundleError(f"{path} is not a join bundle: it is larger than {MAX_BYTES // 1024} KiB")
    if not data.strip():
        raise BundleError(f"{path} is empty: {FETCH}")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not a join bundle, or is incomplete: {FETCH}") from error
    if not isinstance(content, Mapping):
        raise BundleError(f"{path} is not a join bundle: {FETCH}")
    if content.get("kind") == "Secret":
        raise BundleError(f"{path} is the Secret that contains the bundle, not the bundle: {FETCH}")
    bundle = Bundle(
        path=path,
        mesh=_name(content, path, "mesh"),
        node=_name(content, path, "node"),
        bootstraps=_bootstraps(content, path),
        addresses=_addresses(content, path),
        authorities=_text(content, path, "ca").encode(),
        certificate=_text(content, path, "certificate").encode(),
        key=_text(content, path, "key").encode(),
        secrets=tuple(_list(content, path, "secrets", MOST_SECRETS)) if "secrets" in content else (),
    )
    _check_certificate(bundle)
    return bundle


def tls_files_of(bundle: Bundle) -> TLSFiles:
    return TLSFiles(bundle.key, bundle.certificate, bundle.authorities)


def credentials_of(bundle: Bundle) -> Credentials:
    """TLS credentials to join with. The server must be a bootstrap node of the mesh, at any address."""
    return Credentials(tls_files_of(bundle), bootstrap_dns_name(bundle.mesh))


def validity_problem(bundle: Bundle, now: datetime) -> str | None:
    """What is wrong with the certificate's validity period at `now` (aware), one sentence; None: nothing."""
    leaf = tls_files_of(bundle).leaf()
    if now >= leaf.not_valid_after_utc:
        return f"the certificate in {bundle.path} expired on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: {FETCH}"
    if now < leaf.not_valid_before_utc:
        return (
            f"the certificate in {bundle.path} is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} "
            "UTC: check this machine's clock"
        )
    return None


def expires_soon(leaf: x509.Certificate, now: datetime) -> bool:
    """Whether it is time to fetch another bundle: a month before expiry, or in the last third of a shorter validity
    period.
    """
    begun, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    return now >= max(end - WARN_BEFORE, begun + (end - begun) * WARN_FROM)


def _check_certificate(bundle: Bundle) -> None:
    names = {
        "key": f"the key in {bundle.path}",
        "certificate": f"the certificate in {bundle.path}",
        "authorities": f"the ca in {bundle.path}",
    }
    try:
        files = validated(tls_files_of(bundle), **names)
        leaf = files.leaf()
        identity = identity_of(leaf)
    except (TLSFileError, IdentityError) as error:
        raise BundleError(str(error)) from error
    wanted = NodeIdentity(bundle.mesh, bundle.node, Role.NODE)
    if identity != wanted:
        raise BundleError(
            f"the certificate in {bundle.path} is for {identity or 'no wgmesh identity'}, not for {wanted}"
        )
    if not any(is_issued_by(leaf, ca) for ca in load_certificates(bundle.authorities)):
        raise BundleError(f"the certificate in {bundle.path} is not issued by the ca in it")


def _text(content: Mapping[str, Any], path: Path, key: str) -> str:
    value = content.get(key)
    if not isinstance(value, str) or not value or not value.isascii():
        raise BundleError(f"{path} is not a join bundle, or is incomplete: it has no {key}; {FETCH}")
    return value


def _name(content: Mapping[str, Any], path: Path, key: str) -> str:
    name = _text(content, path, key)
    if not (is_mesh_name(name) if key == "mesh" else is_node_name(name)):
        raise BundleError(f"{path}: {name!r:.80} is not a valid {key} name")
    return name


def _bootstraps(content: Mapping[str, Any], path: Path) -> tuple[HostPort, ...]:
    parse = parsing.host_port(parsing.DEFAULT_BOOTSTRAP_PORT)
    found = []
    for text in _list(content, path, "bootstraps", MAX_BOOTSTRAPS):
        try:
            found.append(parse(text))
        except ValueError as error:
            raise BundleError(f"{path}: bootstraps: {error}") from error
    if not found:
        raise BundleError(f"{path} does not list a bootstrap node: {FETCH}")
    return tuple(dict.fromkeys(found))


def _addresses(content: Mapping[str, Any], path: Path) -> tuple[IPAddress, ...]:
    if "addresses" not in content:
        return ()
    try:
        return tuple(parse_address(text) for text in _list(content, path, "addresses", MAX_ADDRESSES))
    except ValueError as error:
        raise BundleError(f"{path}: addresses: {error}") from error


def _list(content: Mapping[str, Any], path: Path, key: str, most: int) -> list[str]:
    value = content.get(key)
    if isinstance(value, list) and len(value) <= most:
        texts = [text for text in value if isinstance(text, str) and text.isascii()]
        if len(texts) == len(value):
            return texts
    raise BundleError(f"{path}: {key} is not a list of at most {most} texts")
