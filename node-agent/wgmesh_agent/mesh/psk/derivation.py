"""Pre-shared keys: derived from secrets that members hold, one key per pair; and the choice of the secret per pair.

wgmesh never transmits a secret. Members advertise short ids of those they hold; both ends of a pair select the same
secret from the ids, and derive the pair's key from it and their public keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from wgmesh_agent.wireguard.keys import KEY_BYTES, NO_PRESHARED_KEY, PresharedKey, PublicKey
from wgmesh_api.preshared import (
    MOST_SECRETS,
    SECRET_BYTES,
    SecretsError,
    derived,
    read_secrets,
    secret_id,
)

PAIR_KEY_LABEL = b"wgmesh pre-shared key 1\0"
FALL_BACK_AFTER_SECONDS = 180.0
"""Maximum duration of a WireGuard session: after that no packet passes, whatever was advertised for a pair."""
ALTERNATE_EVERY_SECONDS = 30.0
"""Time for at least two handshakes, which WireGuard starts every five seconds, and a pass of the reconciler."""

NO_SECRET = b""
"""Id of a pair that uses no secret."""


@dataclass(frozen=True, slots=True)
class MeshSecret:
    """32 random bytes that members of one mesh were given out of band."""

    raw: bytes = field(repr=False)
    mesh: str
    id: bytes = field(init=False)
    """Id of the secret: 4 bytes, derived; it identifies the secret and reveals nothing about it."""

    def __post_init__(self) -> None:
        if len(self.raw) != SECRET_BYTES:
            raise SecretsError(f"a secret has {SECRET_BYTES} bytes, not {len(self.raw)}")
        object.__setattr__(self, "id", secret_id(self.raw, self.mesh))

    def pair_key(self, one: PublicKey, other: PublicKey) -> PresharedKey:
        """The pre-shared key of two members, independent of their order. About 10 µs."""
        lower, higher = sorted((one.raw, other.raw))
        return PresharedKey(derived(self.raw, self.mesh, PAIR_KEY_LABEL + lower + higher, KEY_BYTES))


def parse_secrets(text: str, mesh: str) -> tuple[MeshSecret, ...]:
    """The secrets in a file's text, the newest first. Raises SecretsError."""
    return tuple(MeshSecret(raw, mesh) for raw in read_secrets(text))


def newest_common(one: Sequence[bytes], other: Sequence[bytes]) -> bytes:
    """The id of the secret that a pair is to use, given those its two ends hold; NO_SECRET if they have none in common.

    The newest by both lists together; both ends get the same result, whatever the orders.
    """
    both = set(one) & set(other)
    return min(both, key=lambda id_: (one.index(id_) + other.index(id_), id_), default=NO_SECRET)


@dataclass(frozen=True, slots=True)
class PSKHandshakeState:
    """Handshake history of a pair.

    Attributes:
        handshake: the timestamp of the last one exactly as WireGuard has it, unix seconds; 0: never.
        before: value of `handshake` when this node last set the pair's key.
        worked: the id of the secret of the last handshake, NO_SECRET for none; None: unknown.
    """

    handshake: float = 0.0
    before: float = 0.0
    last_used: bytes | None = None

    def observe(self, handshake: float, held: bytes | None) -> PSKHandshakeState:
        """Updates it from the device: `held` is the id of the secret whose key WireGuard has for the pair, None for a
        foreign key.
        """
        is_new = handshake and handshake not in (self.handshake, self.before)
        return PSKHandshakeState(handshake, self.before, held if is_new else self.last_used)

    def psk_changed(self) -> PSKHandshakeState:
        """The pair's key is being replaced."""
        return PSKHandshakeState(self.handshake, self.handshake, self.last_used)


def select_secret(wanted: bytes, standing: PSKHandshakeState, now_unix: float, *, patient: bool) -> bytes:
    """The id of the secret to use for a pair now: the desired one, or in turn with it the one that worked last.

    The other end's advertisement may never arrive if it has to pass the very tunnel: therefore, after 180 s without a
    handshake, each end also tries what worked before, the `patient` one (one of the two) half as often, so that they
    coincide. It never falls back below what worked: an attacker that cuts a link gets no handshake without a secret on
    a link that had one.
    """
    worked = standing.last_used
    if worked is None or worked == wanted or not standing.handshake:
        return wanted
    if now_unix - standing.handshake < FALL_BACK_AFTER_SECONDS:
        return wanted
    turn = int(now_unix // (ALTERNATE_EVERY_SECONDS * (2 if patient else 1)))
    return worked if turn % 2 else wanted


@dataclass(frozen=True, slots=True)
class SecretSet:
    """All secrets from which this node can derive keys.

    Attributes:
        secrets: the current ones, which this node advertises, the newest first.
        former: earlier ones: used only where one worked last and the other end does not seem to have a newer one.
    """

    secrets: tuple[MeshSecret, ...] = ()
    previous: tuple[MeshSecret, ...] = ()

    @property
    def ids(self) -> tuple[bytes, ...]:
        return tuple(secret.id for secret in self.secrets)

    def replace(self, secrets: tuple[MeshSecret, ...]) -> SecretSet:
        """The state after the current secrets were replaced."""
        gone = [old for old in (*self.secrets, *self.previous) if old.id not in {new.id for new in secrets}]
        return SecretSet(secrets, tuple(gone[:MOST_SECRETS]))

    def pair_key(self, id_: bytes, one: PublicKey, other: PublicKey) -> PresharedKey | None:
        """The pair's key by the secret of this id; None if this node does not have that secret."""
        if id_ == NO_SECRET:
            return NO_PRESHARED_KEY
        found = next((secret for secret in (*self.secrets, *self.previous) if secret.id == id_), None)
        return None if found is None else found.pair_key(one, other)
