"""Join bundles: everything that an external machine needs to join, in one Secret for each.

Only here the operator generates a member's key: the machine has no access to the API to send a request with its own.
The Secret's `bundle.json` is an object: `mesh`, `node`, `bootstraps` (list of `address:port`), `addresses` (list),
`ca`, `certificate`, `key` (PEM), `secrets` (list, base64, for pre-shared keys; the newest first).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509

from wgmesh_api.certificates import BACKDATE, CertificateError, cert_to_pem, issue, key_to_pem
from wgmesh_api.identity import NodeIdentity, Role
from wgmesh_api.roster import API_VERSION, GROUP, LEAVE_FINALIZER
from wgmesh_operator.decisions import names
from wgmesh_operator.decisions.actions import Action, Delete, Emit, Kind
from wgmesh_operator.decisions.entropy import Entropy
from wgmesh_operator.decisions.model import AnyMesh, Member, Secret
from wgmesh_operator.decisions.trust.authority import Authority
from wgmesh_operator.decisions.trust.secret_manifests import (
    SecretIdentity,
    create_secret,
    replace_secret,
)

BUNDLE = "bundle.json"
LIFETIME = timedelta(days=365)
"""Lifetime of the certificate in a bundle. It is needed for joining only, and revoked by deleting the WgMeshNode."""
RENEW_AFTER = 2 / 3
MEMBER_UID = f"{GROUP}/node-uid"


def plan_bundle(
    mesh: AnyMesh,
    member: Member,
    secret: Secret | None,
    authority: Authority,
    bootstraps: Sequence[str],
    secrets: Sequence[str],
    namespace: str,
    now: datetime,
    entropy: Entropy,
) -> list[Action]:
    """Creates the bundle, or renews it: changed fields are updated, the certificate only if necessary."""
    roster = member.roster
    if not bootstraps or not roster.addresses or LEAVE_FINALIZER not in member.finalizers:
        # there is no bootstrap node to join, or it is not accepted as a member
        return []
    outer = {
        "mesh": mesh.name,
        "node": roster.node,
        "bootstraps": list(bootstraps),
        "addresses": [str(address) for address in roster.addresses],
        "ca": authority.trust_bundle,
        "secrets": list(secrets),
    }
    held = _current_bundle(secret, roster.uid, authority, now)
    if held is not None and held == {**held, **outer}:
        return []
    try:
        identity = (
            _issue(mesh, member, authority, now, entropy)
            if held is None
            else {key: held[key] for key in ("certificate", "key")}
        )
    except CertificateError as error:
        return [_event(member, "BundleFailed", f"no join bundle: {error}", warning=True)]
    place, annotations = _identity(mesh, member, namespace), {MEMBER_UID: roster.uid}
    data = {BUNDLE: json.dumps(outer | identity, indent=2).encode()}
    message = f"join bundle in Secret {place.name} of {namespace}"
    if secret is None:
        return [create_secret(place, data, annotations), _event(member, "BundleCreated", message)]
    renewed = [_event(member, "BundleRenewed", message)] if held is None else []
    return [replace_secret(place, secret, data, annotations), *renewed]


def plan_stale_bundles(mesh: str, members: Iterable[Member], secrets: Iterable[Secret]) -> list[Action]:
    """Deletes bundles of deleted members."""
    there = {member.roster.uid for member in members}
    return [
        Delete(Kind.SECRET, secret.name, secret.uid)
        for secret in secrets
        if secret.mesh == mesh
        and MEMBER_UID in secret.annotations
        and secret.annotations[MEMBER_UID] not in there
    ]


def _current_bundle(
    secret: Secret | None, uid: str, authority: Authority, now: datetime
) -> Mapping[str, Any] | None:
    """The Secret's content, if its certificate is this member's, issued by the signing CA, and fresh."""
    if secret is None or secret.annotations.get(MEMBER_UID) != uid:
        return None
    try:
        bundle = json.loads(secret.data[BUNDLE])
        cert = x509.load_pem_x509_certificate(bundle["certificate"].encode())
        cert.verify_directly_issued_by(authority.signing.cert)
    except Exception:
        # whatever is wrong with it, it is created again
        return None
    fresh_until = cert.not_valid_before_utc + RENEW_AFTER * (
        cert.not_valid_after_utc - cert.not_valid_before_utc
    )
    return bundle if now < fresh_until and isinstance(bundle, dict) and "key" in bundle else None


def _issue(
    mesh: AnyMesh, member: Member, authority: Authority, now: datetime, entropy: Entropy
) -> dict[str, str]:
    key = entropy.key()
    cert = issue(
        authority.signing,
        NodeIdentity(mesh.name, member.roster.node, Role.NODE),
        key.public_key(),
        now=now,
        lifetime=LIFETIME,
        serial=entropy.serial(),
        addresses=member.roster.addresses,
        not_before=max(member.roster.created, now - BACKDATE),
    )
    return {"certificate": cert_to_pem(cert).decode(), "key": key_to_pem(key).decode()}


def _event(member: Member, reason: str, message: str, *, warning: bool = False) -> Emit:
    return Emit(Kind.MEMBER, member.roster.name, member.roster.uid, reason, message, warning=warning)


def _identity(mesh: AnyMesh, member: Member, namespace: str) -> SecretIdentity:
    """The Secret is deleted with the WgMeshNode."""
    roster = member.roster
    return SecretIdentity(
        name=names.join_secret(mesh.name, roster.node),
        namespace=namespace,
        labels=names.labels(mesh.name, "join-bundle", roster.node),
        owner={"apiVersion": API_VERSION, "kind": "WgMeshNode", "name": roster.name, "uid": roster.uid},
    )
