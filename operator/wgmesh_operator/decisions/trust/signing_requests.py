"""CertificateSigningRequests: evaluates them, and signs certificates.

A request is evaluated only by its requester (as the API server attests it) and the member's WgMeshNode; it may request
less than that permits, never more. Approved requests are evaluated again before they are signed: people can approve,
too.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from wgmesh_api.certificates import BACKDATE, CertificateAuthority, CertificateError, cert_to_pem, issue
from wgmesh_api.fields import IPAddress, write_time
from wgmesh_api.identity import IdentityError, NodeIdentity, Role
from wgmesh_api.roster import NODE_NAME_EXTRA, agent_service_account, bootstrap_dns_name
from wgmesh_operator.decisions.actions import Action, Emit, Json, Kind, Replace
from wgmesh_operator.decisions.cluster_node import ClusterNode
from wgmesh_operator.decisions.entropy import Entropy
from wgmesh_operator.decisions.faults import explained
from wgmesh_operator.decisions.membership.spec_conflicts import SpecConflict
from wgmesh_operator.decisions.model import AnyMesh, Member, Mesh, SigningRequest

_USAGES = frozenset({"digital signature", "key encipherment", "client auth", "server auth"})
_ACCOUNT = "system:serviceaccount:{namespace}:{account}"
MINIMUM_LIFETIME = timedelta(minutes=5)
DENIAL_LIMIT = 1024
"""Characters of a denial's message: a request may carry a megabyte of names, which the message would quote."""
MAX_REQUESTS_PER_PASS = 200
"""Requests handled in one pass: signing takes time that other decisions wait for."""


@dataclass(frozen=True, slots=True)
class Approval:
    """The granted certificate's content."""

    identity: NodeIdentity
    public_key: ec.EllipticCurvePublicKey
    addresses: tuple[IPAddress, ...]
    dns_names: tuple[str, ...]
    not_before: datetime
    lifetime: timedelta


@dataclass(frozen=True, slots=True)
class Denial:
    """A denial: `reason` for programs, `message` for people."""

    reason: str
    message: str


def mesh_of_requester(username: str, namespace: str) -> str | None:
    """The mesh whose agents' service account `username` is, by its name only; None if it is no such account."""
    prefix = _ACCOUNT.format(namespace=namespace, account=agent_service_account(""))
    return username.removeprefix(prefix) if username.startswith(prefix) else None


def evaluate(
    request: SigningRequest,
    mesh: Mesh,
    members: Mapping[str, Member],
    nodes: Mapping[str, ClusterNode],
    namespace: str,
    refused: Mapping[str, SpecConflict] | None = None,
) -> Approval | Denial:
    """The grant of the CA of `mesh` for `request`. `refused`: members that claim properties of another, and why."""
    account = _ACCOUNT.format(namespace=namespace, account=agent_service_account(mesh.name))
    if request.requester.username != account:
        return Denial("WrongRequester", f"{request.requester.username} is not the agents' account {account}")
    if len(request.requester.node_names) != 1:
        return Denial(
            "NodeUnknown", f"the token is not bound to a node ({NODE_NAME_EXTRA}): use the token of a pod"
        )
    name = request.requester.node_names[0]
    member = members.get(name)
    if member is None or member.roster.external:
        return Denial("NotAMember", f"node {name} is not a member of mesh {mesh.name}: it has no WgMeshNode")
    if member.roster.deleting:
        return Denial("MemberTerminating", f"WgMeshNode {member.roster.name} is being deleted")
    if refused and name in refused:
        return Denial(refused[name].reason, refused[name].message)
    odd = [usage for usage in request.usages if usage not in _USAGES]
    if odd or "client auth" not in request.usages:
        return Denial(
            "WrongUsages", f"usages {', '.join(request.usages)}: request client auth, and server auth at most"
        )
    return _evaluate_content(request, mesh, member, nodes.get(name))


def _evaluate_content(
    request: SigningRequest, mesh: Mesh, member: Member, node: ClusterNode | None
) -> Approval | Denial:
    try:
        csr = x509.load_pem_x509_csr(request.request)
        key, signed = csr.public_key(), csr.is_signature_valid
        asked = _subject_names(csr)
        common_names = [str(a.value) for a in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except Exception as error:
        # cryptography parses lazily, and raises exceptions without a common base class: UnsupportedGeneralNameType for
        # an X.400 name, DuplicateExtension, UnsupportedAlgorithm, ValueError for a NULL in the subject
        return unreadable(error)
    if not signed:
        return Denial("InvalidRequest", "the request is not signed with the key in it")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        return Denial("WrongKey", "the key is not an elliptic curve key of P-256")
    roster = member.roster
    role = Role.BOOTSTRAP if roster.bootstrap else Role.NODE
    identity = NodeIdentity(mesh.name, roster.node, role)
    reached_at = node.addresses.every if node is not None else ()
    own = (*roster.addresses, *(reached_at if roster.bootstrap else ()))
    dns_names = (bootstrap_dns_name(mesh.name),) if roster.bootstrap else ()
    if common_names != [roster.node]:
        return Denial("WrongName", f"the subject's common name is {common_names}, not {roster.node}")
    for uri in asked.uris:
        try:
            claimed = NodeIdentity.from_uri(uri)
        except IdentityError as error:
            return Denial("WrongName", str(error))
        if (claimed.mesh, claimed.node) != (identity.mesh, identity.node):
            return Denial("WrongName", f"{uri} is not the requester's identity {identity.uri}")
        if claimed.role is Role.BOOTSTRAP and role is not Role.BOOTSTRAP:
            return Denial("NotABootstrap", f"{roster.node} is not a bootstrap node: request {identity.uri}")
    # all addresses of the node are its own, even if its role does not use them in a certificate
    permitted = {*roster.addresses, *reached_at}
    foreign = [str(address) for address in asked.addresses if address not in permitted]
    foreign += [name for name in asked.dns_names if name not in dns_names]
    if foreign or asked.others:
        return Denial(
            "WrongName",
            f"{', '.join([*foreign, *asked.others])} do not belong to {roster.node}: request its own names only",
        )
    return Approval(identity, key, own, dns_names, roster.created, _lifetime(request, mesh))


def unreadable(error: Exception) -> Denial:
    """The denial of a request whose handling fails."""
    return Denial(
        "InvalidRequest", f"the request is malformed: {explained(error)}: create it again without that"
    )


@dataclass(frozen=True, slots=True)
class _SubjectNames:
    uris: tuple[str, ...] = ()
    addresses: tuple[IPAddress, ...] = ()
    dns_names: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def _subject_names(csr: x509.CertificateSigningRequest) -> _SubjectNames:
    try:
        names = list(csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return _SubjectNames()
    addresses, others = [], []
    for name in names:
        if isinstance(name, x509.IPAddress) and isinstance(name.value, IPv4Address | IPv6Address):
            addresses.append(name.value)
        elif not isinstance(name, x509.UniformResourceIdentifier | x509.DNSName):
            others.append(str(name.value))
    return _SubjectNames(
        uris=tuple(n.value for n in names if isinstance(n, x509.UniformResourceIdentifier)),
        addresses=tuple(addresses),
        dns_names=tuple(n.value for n in names if isinstance(n, x509.DNSName)),
        others=tuple(others),
    )


def _lifetime(request: SigningRequest, mesh: Mesh) -> timedelta:
    lifetime = mesh.certificate_lifetime
    if request.expiration_seconds is not None:
        lifetime = min(lifetime, max(MINIMUM_LIFETIME, timedelta(seconds=request.expiration_seconds)))
    return lifetime


def sign(grant: Approval, authority: CertificateAuthority, now: datetime, entropy: Entropy) -> bytes:
    """The certificate of `grant` (PEM). Raises CertificateError.

    It is not valid before its WgMeshNode was created, so that one issued for a deleted namesake can be distinguished.
    """
    cert = issue(
        authority,
        grant.identity,
        grant.public_key,
        now=now,
        lifetime=grant.lifetime,
        serial=entropy.serial(),
        addresses=grant.addresses,
        dns_names=grant.dns_names,
        not_before=max(grant.not_before, now - BACKDATE),
    )
    return cert_to_pem(cert)


def plan_denial(request: SigningRequest, denial: Denial, mesh: AnyMesh | None, now: datetime) -> list[Action]:
    """Denies `request`; reports it on `mesh`, if there is one."""
    # an approval cannot be reverted, but it need not be signed
    denial = Denial(denial.reason, denial.message[:DENIAL_LIMIT])
    kind, subresource = ("Failed", "status") if request.state.approved else ("Denied", "approval")
    body = _with_condition(request, kind, denial.reason, denial.message, now)
    actions: list[Action] = [Replace(Kind.REQUEST, body, subresource)]
    if mesh is not None:
        asker = (
            request.requester.node_names[0] if request.requester.node_names else request.requester.username
        )
        message = f"certificate request {request.name} of {asker} denied: {denial.message}"
        actions.append(Emit(Kind.MESH, mesh.name, mesh.uid, "CertificateDenied", message, warning=True))
    return actions


def plan_approval(
    request: SigningRequest,
    grant: Approval,
    authority: CertificateAuthority,
    now: datetime,
    entropy: Entropy,
) -> list[Action]:
    """Approves, then signs. One step per pass: the next is decided on the API server's state after it."""
    if not request.state.approved:
        message = f"{grant.identity.node} requests its own certificate of mesh {grant.identity.mesh}"
        return [
            Replace(Kind.REQUEST, _with_condition(request, "Approved", "Member", message, now), "approval")
        ]
    try:
        certificate = sign(grant, authority, now, entropy)
    except CertificateError as error:
        body = _with_condition(request, "Failed", "SigningFailed", str(error), now)
    else:
        body = _copy(request)
        body["status"]["certificate"] = base64.b64encode(certificate).decode()
    return [Replace(Kind.REQUEST, body, "status")]


def _copy(request: SigningRequest) -> Json:
    body = dict(request.body)
    body["status"] = dict(body.get("status") or {})
    return body


def _with_condition(request: SigningRequest, kind: str, reason: str, message: str, now: datetime) -> Json:
    body = _copy(request)
    condition = {
        "type": kind,
        "status": "True",
        "reason": reason,
        "message": message,
        "lastUpdateTime": write_time(now),
        "lastTransitionTime": write_time(now),
    }
    body["status"]["conditions"] = [*(body["status"].get("conditions") or []), condition]
    return body
