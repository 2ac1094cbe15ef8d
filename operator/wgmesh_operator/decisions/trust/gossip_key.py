"""A mesh's gossip key: its Secret, and its rotation without interruption.

The Secret contains `keyring`, a JSON list of keys in base64, the primary key first, and `since`, when that was decided
(unix seconds). It is mounted into every agent's pod and authoritative: agents use the later of their own keyring and
the mounted one, so an agent started at any moment has a current keyring. A rotation has two phases:

| `keyring` | phase | ends when |
|---|---|---|
| old | - | a new value of the annotation wgmesh.dev/rotate-gossip-key, or the key is older than spec.rotation permits |
| old, new | installing | every live node has the new one; after INSTALL_DEADLINE it is rolled back instead |
| new, old | switching | every live node encrypts with the new one |
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from wgmesh_api.fields import read_time, write_time
from wgmesh_api.roster import GROUP, gossip_key_id
from wgmesh_api.text import shortened
from wgmesh_operator.decisions import names
from wgmesh_operator.decisions.actions import Action, Create
from wgmesh_operator.decisions.entropy import Entropy
from wgmesh_operator.decisions.model import AnyMesh, Mesh, Secret
from wgmesh_operator.decisions.trust.secret_manifests import (
    MeshSecret,
    SecretIdentity,
    create_secret,
    secret_of_mesh,
)

KEY_BYTES = 32
KEYRING, DECIDED = "keyring", "since"
"""The Secret's keys."""
INSTALL_DEADLINE = timedelta(minutes=10)
"""How long nodes may take to install a new key before it is rolled back: kubelets deliver a changed Secret within two
minutes.
"""
RETRY_AFTER = timedelta(hours=1)
"""Pause of a schedule after a rotation that was rolled back."""
MAX_NAMED = 5
"""How many nodes a message names."""
INSTALLING, SWITCHING = "installing", "switching"
PHASE = f"{GROUP}/gossip-key-phase"
SINCE = f"{GROUP}/gossip-key-phase-since"
MADE = f"{GROUP}/gossip-key-made"
ROTATED = f"{GROUP}/rotated-gossip-key"


@dataclass(frozen=True, slots=True)
class MemberRing:
    """A live member's report on its gossip keys: their ids, the primary key first; none if it reports none."""

    node: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeyPlan:
    actions: list[Action] = field(default_factory=list)
    requeue_at: datetime | None = None


def first_keyring(mesh: Mesh, namespace: str, now: datetime, entropy: Entropy) -> Create:
    annotations = {ROTATED: mesh.metadata.annotations.get(names.ROTATE_GOSSIP_KEY, ""), MADE: write_time(now)}
    data = _content([entropy.random_bytes(KEY_BYTES)], now)
    return create_secret(_identity(mesh, namespace), data, annotations)


def key_created_at(mesh: AnyMesh, secret: Secret | None) -> datetime | None:
    """When the primary key was created; None while there is none."""
    return None if secret is None else read_time(secret.annotations.get(MADE)) or mesh.metadata.created


def plan_key_rotation(
    mesh: Mesh,
    secret: Secret,
    members: Iterable[MemberRing],
    namespace: str,
    now: datetime,
    entropy: Entropy,
) -> KeyPlan:
    """The next step of a rotation, if it is due. `members` are the live ones."""
    ring = _read(secret)
    if ring is None:
        # Members have their keys; a malformed keyring is not overwritten.
        return KeyPlan()
    phase, since = secret.annotations.get(PHASE, ""), read_time(secret.annotations.get(SINCE))
    step = _RotationStep(MeshSecret(mesh, _identity(mesh, namespace), secret), now)
    if phase == INSTALLING and len(ring) > 1:
        new, deadline = ring[-1], (since or now) + INSTALL_DEADLINE
        lacking = [member.node for member in members if gossip_key_id(new) not in member.keys]
        if not lacking:
            return step.switch([new, *ring[:-1]])
        return step.roll_back(ring[:-1], lacking) if now >= deadline else KeyPlan(requeue_at=deadline)
    if phase == SWITCHING and len(ring) > 1:
        late = [member.node for member in members if member.keys[:1] != (gossip_key_id(ring[0]),)]
        return KeyPlan() if late else step.finish(ring[:1])
    token = mesh.metadata.annotations.get(names.ROTATE_GOSSIP_KEY, "")
    if token and token != secret.annotations.get(ROTATED, ""):
        return step.begin([*ring, entropy.random_bytes(KEY_BYTES)], token, "as requested")
    due = _due(mesh, secret, since)
    if due is not None and now >= due:
        return step.begin([*ring, entropy.random_bytes(KEY_BYTES)], token, "because of the old one's age")
    return KeyPlan(requeue_at=due)


def _due(mesh: Mesh, secret: Secret, since: datetime | None) -> datetime | None:
    every = mesh.gossip_key_interval
    made = key_created_at(mesh, secret)
    if every is None or made is None:
        return None
    due = made + every
    return due if since is None or since <= made else max(due, since + RETRY_AFTER)


@dataclass(frozen=True, slots=True)
class _RotationStep:
    secret: MeshSecret
    now: datetime

    def begin(self, ring: Sequence[bytes], token: str, why: str) -> KeyPlan:
        message = f"created a new gossip key, {why}; distributing it to members"
        return self._write(ring, {PHASE: INSTALLING, ROTATED: token}, "GossipKeyRotationStarted", message)

    def switch(self, ring: Sequence[bytes]) -> KeyPlan:
        message = "all nodes have installed the new gossip key; it is now the primary key"
        noted = {PHASE: SWITCHING, MADE: write_time(self.now)}
        return self._write(ring, noted, "GossipKeySwitched", message)

    def finish(self, ring: Sequence[bytes]) -> KeyPlan:
        return self._write(ring, {PHASE: ""}, "GossipKeyRotated", "removed the old gossip key from all nodes")

    def roll_back(self, ring: Sequence[bytes], lacking: list[str]) -> KeyPlan:
        some = shortened(sorted(lacking), MAX_NAMED)
        message = f"the old gossip key stays in use: {some} did not install the new one"
        return self._write(ring, {PHASE: ""}, "GossipKeyRotationFailed", message, warning=True)

    def _write(
        self,
        ring: Sequence[bytes],
        annotations: Mapping[str, str],
        reason: str,
        message: str,
        *,
        warning: bool = False,
    ) -> KeyPlan:
        current = self.secret.current
        kept = {key: text for key, text in current.annotations.items() if key in (PHASE, MADE, ROTATED)}
        noted = {**kept, **annotations, SINCE: write_time(self.now)}
        data = _content(ring, self.now, _decided(current))
        return KeyPlan(self.secret.write(data, noted, reason, message, warning=warning))


def _read(secret: Secret) -> list[bytes] | None:
    """The keyring in the Secret; None if it contains none."""
    try:
        texts = json.loads(secret.data.get(KEYRING, b""))
        ring = [base64.b64decode(text, validate=True) for text in texts]
    except (ValueError, TypeError, binascii.Error):
        return None
    return ring if ring and all(len(key) in (16, 24, 32) for key in ring) else None


def _decided(secret: Secret) -> int:
    text = secret.data.get(DECIDED, b"")
    return int(text) if text.isdigit() and len(text) < 16 else 0


def _content(ring: Sequence[bytes], now: datetime, before: int = 0) -> dict[str, bytes]:
    """The keyring, decided later than the one decided `before`, whatever the clock is."""
    keys = json.dumps([base64.b64encode(key).decode() for key in ring])
    return {KEYRING: keys.encode(), DECIDED: str(max(int(now.timestamp()), before + 1)).encode()}


def _identity(mesh: Mesh, namespace: str) -> SecretIdentity:
    return secret_of_mesh(mesh, namespace, names.gossip_secret(mesh.name), "gossip")
