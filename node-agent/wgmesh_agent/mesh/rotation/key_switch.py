"""This node's WireGuard key while it runs: another one used, and accepted by the mesh."""

from __future__ import annotations

import asyncio
from typing import Protocol

from wgmesh_agent.mesh.dataplane.handshake_trigger import HandshakeTrigger
from wgmesh_agent.mesh.membership.admission_record import AdmissionRecord
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.local_node import LocalNode
from wgmesh_agent.runtime.clock import Clock
from wgmesh_agent.wireguard.keys import PrivateKey


class KeyStore(Protocol):
    """Where the key is kept; `StateStore` does. Raises OSError."""

    def save_private_key(self, key: PrivateKey, earlier: PrivateKey | None) -> None:
        """And the one before, as long as the mesh may know only that."""

    def forget_earlier_key(self) -> None:
        """The mesh knows the one in use."""


class Programming(Protocol):
    """Programs WireGuard; `Reconciler` does."""

    async def reconcile(self, *, check_interface: bool) -> object:
        """One pass. Raises BackEndError."""


class KeySwitch:
    """One instance a node."""

    def __init__(
        self,
        local: LocalNode,
        ledger: Ledger,
        reconciler: Programming,
        store: KeyStore,
        clock: Clock,
        trigger: HandshakeTrigger,
    ) -> None:
        self._local = local
        self._ledger = ledger
        self._reconciler = reconciler
        self._store = store
        self._clock = clock
        self._trigger = trigger

    async def use(self, key: PrivateKey, earlier: PrivateKey | None) -> None:
        """Has the tunnels use another key from now on; `earlier` is remembered on disk until `confirm`.

        An agent that ends in between starts with the new key, and asks to be admitted with it in the place of the
        earlier. All members are knocked at: to those that do not know the key yet, WireGuard then sends nothing for
        five seconds, so that theirs will be the only handshake when they do (`dataplane/handshake_retry.py` says what
        two at once come to).

        Raises:
            OSError: the key cannot be kept; nothing has changed.
            BackEndError: the interface may have either key.
        """
        await asyncio.to_thread(self._store.save_private_key, key, earlier)
        self._local.use_key(key)
        await self._reconciler.reconcile(check_interface=False)
        self._trigger(binding.claim.addresses[0] for binding in self._ledger)

    async def confirm(self, admission: AdmissionRecord | None) -> None:
        """The mesh has accepted the key in use: tells everybody, and forgets the one before.

        Args:
            admission: this node's record with it; None where it is still to be told.

        Raises:
            OSError: that cannot be kept; the next start asks to be admitted once more.
        """
        self._local.update_record(admission=admission, wireguard_key_since=int(self._clock.unix()))
        self._local.announce_key()
        await asyncio.to_thread(self._local.persist)
        await asyncio.to_thread(self._store.forget_earlier_key)
