"""A mesh's secrets for pre-shared keys: one Secret, mounted into every agent's pod, and their replacement without
interruption.

The Secret contains `secrets`, one per line, the newest first (`wgmesh_api.preshared`). Members advertise which they
hold, and each pair uses the newest it has in common: so a new one is added in front, and the previous one is removed
when every live member holds the new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wgmesh_api.preshared import SECRET_BYTES, SecretsError, read_secrets, secret_id, write_secrets
from wgmesh_api.roster import GROUP
from wgmesh_operator.decisions import names
from wgmesh_operator.decisions.actions import Action, Delete, Emit, Kind
from wgmesh_operator.decisions.entropy import Entropy
from wgmesh_operator.decisions.membership.external_members import reports_by_external_member
from wgmesh_operator.decisions.model import Member, Mesh, Secret
from wgmesh_operator.decisions.trust.secret_manifests import MeshSecret, create_secret, secret_of_mesh

SECRETS = "secrets"
"""The Secret's key."""
ROTATED = f"{GROUP}/rotated-psk"


def plan_preshared(
    mesh: Mesh,
    secret: Secret | None,
    holders: Iterable[Sequence[str]],
    namespace: str,
    entropy: Entropy,
) -> list[Action]:
    """Creates the secret, replaces it, removes the previous one, or removes all, as the mesh's spec and annotation
    require.

    `holders`: for each live member the ids of the secrets that it holds.
    """
    wanted = mesh.spec.wireguard.preshared_keys
    token = mesh.metadata.annotations.get(names.ROTATE_PSK, "")
    identity = secret_of_mesh(mesh, namespace, names.psk_secret(mesh.name), "psk")
    if secret is None and not wanted:
        return []
    if secret is None:
        made = create_secret(identity, _content([entropy.random_bytes(SECRET_BYTES)]), {ROTATED: token})
        message = "pre-shared keys are enabled: tunnels use them from their next handshake"
        return [made, Emit(Kind.MESH, mesh.name, mesh.uid, "PresharedKeysEnabled", message)]
    if not wanted:
        message = "pre-shared keys are disabled: tunnels stop using them from their next handshake"
        event = Emit(Kind.MESH, mesh.name, mesh.uid, "PresharedKeysDisabled", message)
        return [Delete(Kind.SECRET, secret.name, secret.uid), event]
    return _plan_rotation(MeshSecret(mesh, identity, secret), holders, token, entropy)


def _plan_rotation(
    own: MeshSecret, holders: Iterable[Sequence[str]], token: str, entropy: Entropy
) -> list[Action]:
    held = _read(own.current)
    if not held:
        # Members have theirs; malformed secrets are not overwritten.
        return []
    rotated = own.current.annotations.get(ROTATED, "")
    if token and token != rotated:
        message = "created another secret for pre-shared keys, as requested, in addition to the previous one"
        data = _content([entropy.random_bytes(SECRET_BYTES), held[0]])
        return own.write(data, {ROTATED: token}, "PresharedSecretCreated", message)
    newest, told = secret_id(held[0], own.mesh.name).hex(), [set(ids) for ids in holders]
    if len(held) > 1 and told and all(newest in ids for ids in told):
        message = "all live members hold the new secret for pre-shared keys; the old one was removed"
        return own.write(_content(held[:1]), {ROTATED: rotated}, "PresharedSecretReplaced", message)
    return []


def secrets_held(live: Iterable[Member], members: Mapping[str, Member]) -> list[tuple[str, ...]]:
    """The secrets that live members report to hold, and those reported of external machines with a link up."""
    found = [member.roster.report.secret_ids for member in live]
    for reports in reports_by_external_member(members).values():
        found += [outside.secret_ids for outside in reports if outside.heard]
    return found


def secrets_for_bundle(secret: Secret | None) -> list[str]:
    """The secrets as a join bundle has them."""
    return write_secrets(_read(secret)).split() if secret is not None else []


def _read(secret: Secret) -> tuple[bytes, ...]:
    """The secrets in the Secret; none if they are malformed."""
    try:
        return read_secrets(secret.data.get(SECRETS, b"").decode("ascii"))
    except (SecretsError, UnicodeDecodeError):
        return ()


def _content(secrets: Sequence[bytes]) -> dict[str, bytes]:
    return {SECRETS: write_secrets(secrets).encode("ascii")}
