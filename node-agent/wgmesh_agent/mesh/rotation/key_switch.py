"""Switches this node to a new WireGuard key, and confirms it once the mesh has accepted it."""

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
    """Storage of the key; `StateStore` implements it. Raises OSError."""

    def save_private_key(self, key: PrivateKey, earlier: PrivateKey | None) -> None:
        """Also stores the previous key, while the mesh may know only that."""

    def forget_earlier_key(self) -> None:
        """The mesh knows the key in use."""


class Programming(Protocol):
    """Programs WireGuard; `Reconciler` implements it."""

    async def reconcile(self, *, check_interface: bool) -> object:
        """One pass. Raises BackEndError."""


class KeySwitch:
    """The WireGuard key of this node."""

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
        """Switches the tunnels to another key; `earlier` is kept on disk until `confirm`.

        An agent that terminates in between starts with the new key, and requests admission with it in place of the
        earlier one. A handshake is triggered to all members: to those that do not know the key yet, WireGuard then
        sends nothing for five seconds, so that theirs is the only handshake once they do
        (`dataplane/handshake_retry.py` explains two at once).

        Raises:
            OSError: the key cannot be stored; nothing has changed.
            BackEndError: the interface may have either key.
        """
        await asyncio.to_thread(self._store.save_private_key, key, earlier)
        self._local.use_key(key)
        await self._reconciler.reconcile(check_interface=False)
        self._trigger(binding.claim.addresses[0] for binding in self._ledger)

    async def confirm(self, admission: AdmissionRecord | None) -> None:
        """The mesh has accepted the key in use: announces it, and removes the previous one.

        Args:
            admission: this node's record with it; None if it is announced later.

        Raises:
            OSError: that cannot be stored; the next start requests admission once more.
        """
        self._local.update_record(admission=admission, wireguard_key_since=int(self._clock.unix()))
        self._local.announce_key()
        await asyncio.to_thread(self._local.persist)
        await asyncio.to_thread(self._store.forget_earlier_key)
