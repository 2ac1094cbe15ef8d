"""Tracks the pre-shared key of each peer: the secret in use, and that of the last handshake."""

from __future__ import annotations

from dataclasses import replace

import structlog

from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.local_node import LocalNode, TagsTooLarge
from wgmesh_agent.mesh.psk.derivation import (
    NO_SECRET,
    PSKHandshakeState,
    SecretSet,
    newest_common,
    select_secret,
)
from wgmesh_agent.mesh.psk.secret_file import SecretFile
from wgmesh_agent.wireguard.keys import PresharedKey, PublicKey
from wgmesh_agent.wireguard.model import DesiredDevice, DesiredPeer, Device, Peer

log = structlog.get_logger()


class PSKManager:
    """Pre-shared keys of one session."""

    def __init__(self, source: SecretFile, local: LocalNode, ledger: Ledger) -> None:
        self._source = source
        self._local = local
        self._ledger = ledger
        self._held = source.current
        self._standings: dict[PublicKey, PSKHandshakeState] = {}
        self._keys: dict[tuple[bytes, PublicKey, PublicKey], PresharedKey] = {}

    async def run(self) -> None:
        """Reloads changed secrets, until cancelled."""
        await self._source.run(self.replace_secrets)

    def replace_secrets(self, held: SecretSet) -> bool:
        """Uses these from now on. Returns False, and keeps the previous ones, if their ids cannot be advertised."""
        before, self._held = self._held, held
        try:
            self._local.set_secret_ids(held.ids)
        except TagsTooLarge as error:
            self._held = before
            log.error("secret ids do not fit into gossip tags", error=str(error), next="set fewer tags")
            return False
        return True

    def observe(self, device: Device) -> None:
        """Records which secrets handshakes used; takes the device exactly as read."""
        if self._is_idle():
            return
        own = device.public_key
        self._keys = {at: key for at, key in self._keys.items() if at[2] in device.peers and at[1] == own}
        self._standings = {
            key: self._standings.get(key, PSKHandshakeState()).observe(
                peer.last_handshake, self._secret_in_use(peer, own)
            )
            for key, peer in device.peers.items()
        }

    def refine(self, desired: DesiredDevice, actual: Device, now_unix: float) -> DesiredDevice:
        """The desired device, with the pre-shared key that every peer is to have now."""
        if self._is_idle():
            return desired
        own = desired.private_key.public()
        peers = tuple(
            self._refined_peer(peer, actual.peers.get(peer.public_key), own, now_unix)
            for peer in desired.peers
        )
        return replace(desired, peers=peers)

    def _is_idle(self) -> bool:
        return not self._held.secrets and not self._held.previous

    def is_protected(self, device: Device, public_key: PublicKey) -> bool:
        """Whether the WireGuard session with a peer is from a handshake with a pre-shared key; takes the device as
        read.
        """
        peer = device.peers.get(public_key)
        if peer is None:
            return False
        # Not evaluated yet: it was created with its current key.
        standing = self._standings.get(public_key, PSKHandshakeState())
        return bool(
            standing.observe(peer.last_handshake, self._secret_in_use(peer, device.public_key)).last_used
        )

    def has_common_secret(self, public_key: PublicKey) -> bool:
        """Whether this node and that one hold a secret in common, by its advertised ids."""
        return self._preferred_secret(public_key) != NO_SECRET

    def _refined_peer(
        self, peer: DesiredPeer, held: Peer | None, own: PublicKey, now_unix: float
    ) -> DesiredPeer:
        key, wanted = peer.public_key, self._preferred_secret(peer.public_key)
        standing = self._standings.get(key, PSKHandshakeState())
        # The reconciler converts the timestamp into an age, whatever was done to the clock.
        timed = replace(standing, handshake=held.last_handshake if held is not None else 0.0)
        target = select_secret(wanted, timed, now_unix, patient=own > key)
        preshared = self._key(target, own, key)
        if preshared is None:
            target, preshared = wanted, self._key(wanted, own, key)
        if target != wanted:
            log.debug("falling back to the previous secret", pubkey=str(key), id=target.hex())
        if held is not None and held.preshared_key != preshared:
            self._standings[key] = standing.psk_changed()
        return replace(peer, preshared_key=preshared)

    def _preferred_secret(self, public_key: PublicKey) -> bytes:
        binding = self._ledger.by_key(public_key)
        told = binding.claim.secret_ids if binding is not None else None
        return newest_common(self._local.secret_ids, told or ())

    def _secret_in_use(self, peer: Peer, own: PublicKey | None) -> bytes | None:
        """The id of the secret whose key WireGuard has for this peer; None for a foreign key."""
        if not peer.preshared_key:
            return NO_SECRET
        for secret in (*self._held.secrets, *self._held.previous):
            if own is not None and self._key(secret.id, own, peer.public_key) == peer.preshared_key:
                return secret.id
        return None

    def _key(self, id_: bytes, own: PublicKey, public_key: PublicKey) -> PresharedKey | None:
        """The pair's key by the secret of this id; None if this node does not have that secret."""
        at = (id_, own, public_key)
        found = self._keys.get(at)
        if found is None:
            found = self._held.pair_key(id_, own, public_key)
            if found is not None:
                self._keys[at] = found
        return found
