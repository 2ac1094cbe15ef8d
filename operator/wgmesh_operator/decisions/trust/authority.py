"""A mesh's CA: its Secret, and its rotation with two trusted CAs.

The Secret contains `ca.crt` and `ca.key`, which sign. A rotation has two phases, identified by the Secret's further
content:

| content | phase | trusted | ends when |
|---|---|---|---|
| - | steady | ca | a new value of the annotation wgmesh.dev/rotate-ca, or the CA's age |
| `next.crt`, `next.key` | announcing | ca, next | every live member trusts next, or ANNOUNCE_FOR has passed |
| `previous.crt` | switched | ca (the new one), previous | all live members' certificates are issued by ca, or old ones
have expired |

If the Secret is lost, a new CA is created; the certificates distributed to members stay trusted as previous.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from wgmesh_api.certificates import (
    CertificateAuthority,
    CertificateError,
    cert_to_pem,
    key_to_pem,
    load_authority,
    make_ca,
)
from wgmesh_api.fields import read_time, write_time
from wgmesh_api.roster import GROUP
from wgmesh_operator.decisions import names
from wgmesh_operator.decisions.actions import Action, Create
from wgmesh_operator.decisions.entropy import Entropy
from wgmesh_operator.decisions.model import Mesh, Secret
from wgmesh_operator.decisions.trust.secret_manifests import (
    MeshSecret,
    SecretIdentity,
    create_secret,
    secret_of_mesh,
)

CA_LIFETIME = timedelta(days=3650)
RENEW_AFTER = 0.8
"""Share of a CA's lifetime after which it is rotated automatically."""
ANNOUNCE_FOR = timedelta(minutes=10)
"""How long members may take to trust the next CA before it signs without their confirmation."""
ROTATED = f"{GROUP}/rotated-ca"
SINCE = f"{GROUP}/ca-phase-since"


@dataclass(frozen=True, slots=True)
class MemberTrust:
    """A live member's report on its certificates: fingerprints in hexadecimal; empty if it reports none."""

    node: str
    issuer: str
    trusted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Authority:
    """The signing CA, and the certificates to trust, with that one first."""

    signing: CertificateAuthority
    next: CertificateAuthority | None
    previous: tuple[x509.Certificate, ...]

    @property
    def trusted(self) -> tuple[x509.Certificate, ...]:
        return (self.signing.cert, *((self.next.cert,) if self.next else ()), *self.previous)

    @property
    def trust_bundle(self) -> str:
        return "".join(cert_to_pem(cert).decode() for cert in self.trusted)

    @property
    def rotating(self) -> bool:
        return self.next is not None or bool(self.previous)


@dataclass(frozen=True, slots=True)
class AuthorityPlan:
    actions: list[Action] = field(default_factory=list)
    requeue_at: datetime | None = None


def fingerprint(cert: x509.Certificate) -> str:
    """SHA-256 in hexadecimal."""
    return cert.fingerprint(hashes.SHA256()).hex()


def read_authority(secret: Secret) -> Authority:
    """Raises CertificateError if the Secret contains no usable CA."""
    data = secret.data
    try:
        signing = load_authority(data["ca.crt"], data["ca.key"])
        following = load_authority(data["next.crt"], data["next.key"]) if "next.crt" in data else None
        previous = (
            tuple(x509.load_pem_x509_certificates(data["previous.crt"])) if "previous.crt" in data else ()
        )
    except (KeyError, ValueError) as error:
        raise CertificateError(f"Secret {secret.name} contains no usable CA: {error}") from error
    return Authority(signing, following, previous)


def first_authority(mesh: Mesh, namespace: str, now: datetime, entropy: Entropy) -> Create:
    """The Secret of a mesh that has none."""
    told = str(mesh.status.get("trustBundle") or "").encode()
    cert, key = _new_ca(mesh, now, entropy)
    data = {"ca.crt": cert, "ca.key": key, **({"previous.crt": told} if told else {})}
    annotations = {ROTATED: mesh.metadata.annotations.get(names.ROTATE_CA, ""), SINCE: write_time(now)}
    return create_secret(_identity(mesh, namespace), data, annotations)


def plan_ca_rotation(
    mesh: Mesh,
    secret: Secret,
    authority: Authority,
    members: Iterable[MemberTrust],
    namespace: str,
    now: datetime,
    entropy: Entropy,
) -> AuthorityPlan:
    """The next step of a rotation, if it is due. `members` are the live ones."""
    since = read_time(secret.annotations.get(SINCE)) or now
    step = _RotationStep(MeshSecret(mesh, _identity(mesh, namespace), secret), now)
    if authority.next is not None:
        wanted = fingerprint(authority.next.cert)
        deaf = [member.node for member in members if wanted not in member.trusted]
        if not deaf or now >= since + ANNOUNCE_FOR:
            return step.switch(authority, deaf)
        return AuthorityPlan(requeue_at=since + ANNOUNCE_FOR)
    if authority.previous:
        wanted = fingerprint(authority.signing.cert)
        late = [member.node for member in members if member.issuer != wanted]
        ended = since + mesh.certificate_lifetime
        if not late or now >= ended:
            return step.finish()
        return AuthorityPlan(requeue_at=ended)
    token = mesh.metadata.annotations.get(names.ROTATE_CA, "")
    asked = bool(token) and token != secret.annotations.get(ROTATED, "")
    cert = authority.signing.cert
    old_at = cert.not_valid_before_utc + RENEW_AFTER * (cert.not_valid_after_utc - cert.not_valid_before_utc)
    if asked or now >= old_at:
        return step.announce(token, _new_ca(mesh, now, entropy), asked=asked)
    return AuthorityPlan(requeue_at=old_at)


@dataclass(frozen=True, slots=True)
class _RotationStep:
    secret: MeshSecret
    now: datetime

    def announce(self, token: str, made: tuple[bytes, bytes], *, asked: bool) -> AuthorityPlan:
        data = {**self.secret.current.data, "next.crt": made[0], "next.key": made[1]}
        why = "as requested" if asked else "because of the old one's age"
        return self._write(
            data,
            {ROTATED: token},
            "CARotationStarted",
            f"created a new CA, {why}; distributing it to members",
        )

    def switch(self, authority: Authority, deaf: list[str]) -> AuthorityPlan:
        data = {
            "ca.crt": self.secret.current.data["next.crt"],
            "ca.key": self.secret.current.data["next.key"],
            "previous.crt": b"".join(cert_to_pem(c) for c in (authority.signing.cert, *authority.previous)),
        }
        doubt = f"; not confirmed by {', '.join(sorted(deaf)[:5])}" if deaf else ""
        return self._write(data, {}, "CASwitched", f"the new CA now signs certificates{doubt}")

    def finish(self) -> AuthorityPlan:
        data = {key: value for key, value in self.secret.current.data.items() if key != "previous.crt"}
        return self._write(data, {}, "CARotated", "the old CA is no longer trusted")

    def _write(
        self, data: Mapping[str, bytes], annotations: Mapping[str, str], reason: str, message: str
    ) -> AuthorityPlan:
        rotated = self.secret.current.annotations.get(ROTATED, "")
        noted = {ROTATED: rotated, **annotations, SINCE: write_time(self.now)}
        return AuthorityPlan(self.secret.write(data, noted, reason, message))


def _new_ca(mesh: Mesh, now: datetime, entropy: Entropy) -> tuple[bytes, bytes]:
    key = entropy.key()
    cert = make_ca(mesh.name, key, now=now, lifetime=CA_LIFETIME, serial=entropy.serial())
    return cert_to_pem(cert), key_to_pem(key)


def _identity(mesh: Mesh, namespace: str) -> SecretIdentity:
    return secret_of_mesh(mesh, namespace, names.ca_secret(mesh.name), "ca")
