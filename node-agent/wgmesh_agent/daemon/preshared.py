"""The pre-shared keys of this node's peers: which secret each pair uses now, and which its last handshake used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import structlog

from wgmesh_agent.daemon.secret_source import SecretSource
from wgmesh_agent.membership.ledger import Ledger
from wgmesh_agent.membership.preshared import NO_SECRET, Held, Standing, aim, common
from wgmesh_agent.wireguard.keys import NO_PRESHARED_KEY, PresharedKey, PublicKey
from wgmesh_agent.wireguard.model import DesiredDevice, DesiredPeer, Device, Peer

log = structlog.get_logger()


class Preshared:
    """One instance a session."""

    def __init__(self, source: SecretSource, ledger: Ledger) -> None:
        self._source = source
        self._ledger = ledger
        self._held = source.held
        self._standings: dict[PublicKey, Standing] = {}
        self._own: PublicKey | None = None
        self._keys: dict[tuple[bytes, PublicKey], PresharedKey] = {}

    @property
    def ids(self) -> tuple[bytes, ...]:
        """What this node tells others that it holds, the newest first."""
        return self._held.ids

    def forgo(self) -> None:
        """Uses no secret in this session, as others cannot be told of them."""
        self._held = Held((), self._held.secrets)

    async def follow(self, told: Callable[[], bool]) -> None:
        """Takes up other secrets when there are any, until it is cancelled."""
        await self._source.follow(self.taking(told))

    def taking(self, told: Callable[[], bool]) -> Callable[[Held], bool]:
        """Args:
        told: tells others what this node holds now; False: it cannot, and those before stay in use.
        """

        def take(held: Held) -> bool:
            before, self._held = self._held, held
            if told():
                return True
            self._held = before
            return False

        return take

    def shape(self, desired: DesiredDevice, actual: Device, now_unix: float) -> DesiredDevice:
        """What is desired, with every peer's pre-shared key as it is to be now."""
        own = desired.private_key.public()
        if own != self._own:
            self._own = own
            self._keys.clear()
        if not self._held.secrets and not self._held.former:
            # Nothing to derive: what is to go is what others may have set.
            return replace(desired, peers=tuple(map(_without, desired.peers)))
        self._standings = {
            peer.public_key: self._standings.get(peer.public_key, Standing()) for peer in desired.peers
        }
        self._keys = {at: key for at, key in self._keys.items() if at[1] in self._standings}
        peers = tuple(
            self._shaped(peer, actual.peers.get(peer.public_key), now_unix) for peer in desired.peers
        )
        return replace(desired, peers=peers)

    def protects(self, peer: Peer) -> bool:
        """Whether the handshake that this peer's session comes from had a pre-shared key."""
        standing = self._standings.get(peer.public_key)
        if standing is None or not peer.last_handshake:
            return False
        standing = standing.seen(peer.last_handshake, self._which(peer))
        return bool(standing.worked)

    def is_agreed(self, public_key: PublicKey) -> bool:
        """Whether this node and that one hold a secret in common, as far as it is told."""
        return self._wanted(public_key) != NO_SECRET

    def _shaped(self, peer: DesiredPeer, held: Peer | None, now_unix: float) -> DesiredPeer:
        key, wanted = peer.public_key, self._wanted(peer.public_key)
        standing = self._standings[key]
        if held is not None:
            standing = standing.seen(held.last_handshake, self._which(held))
        assert self._own is not None
        target = aim(wanted, standing, now_unix, patient=self._own > key)
        preshared = self._key(target, key)
        if preshared is None:
            target, preshared = wanted, self._key(wanted, key)
        if target != wanted:
            log.debug("trying what worked before", pubkey=str(key), id=target.hex())
        if held is not None and held.preshared_key != preshared:
            standing = standing.set_anew()
        self._standings[key] = standing
        return replace(peer, preshared_key=preshared)

    def _wanted(self, public_key: PublicKey) -> bytes:
        binding = self._ledger.by_key(public_key)
        told = binding.claim.secret_ids if binding is not None else None
        return common(self._held.ids, told or ())

    def _which(self, peer: Peer) -> bytes | None:
        """The id of the secret of the key that WireGuard has for this peer; None for a foreign key."""
        if not peer.preshared_key:
            return NO_SECRET
        for secret in (*self._held.secrets, *self._held.former):
            if self._key(secret.id, peer.public_key) == peer.preshared_key:
                return secret.id
        return None

    def _key(self, id_: bytes, public_key: PublicKey) -> PresharedKey | None:
        """The pair's key by the secret of this id; None if this node does not have that."""
        assert self._own is not None
        found = self._keys.get((id_, public_key))
        if found is None:
            found = self._held.key(id_, self._own, public_key)
            if found is not None:
                self._keys[id_, public_key] = found
        return found


def _without(peer: DesiredPeer) -> DesiredPeer:
    return replace(peer, preshared_key=NO_PRESHARED_KEY)
