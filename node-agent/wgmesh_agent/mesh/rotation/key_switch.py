"""This node's WireGuard key while it runs: another one used, and accepted by the mesh."""

from __future__ import annotations

import asyncio
import time

from wgmesh_agent.agent.node import MeshNode
from wgmesh_agent.mesh.dataplane.handshake_trigger import trigger_handshakes
from wgmesh_agent.mesh.membership.admission_record import AdmissionRecord
from wgmesh_agent.wireguard.keys import PrivateKey


async def switch_key(node: MeshNode, key: PrivateKey, earlier: PrivateKey | None) -> None:
    """Has the node's tunnels use another key from now on; `earlier` is remembered on disk until `confirm_key`.

    An agent that ends in between starts with the new key, and asks to be admitted with it in the place of the earlier.
    All members are knocked at: to those that do not know the key yet, WireGuard then sends nothing for five seconds, so
    that theirs will be the only handshake when they do (`dataplane/handshake_retry.py` says what two at once come to).

    Raises:
        OSError: the key cannot be kept; nothing has changed.
        BackEndError: the interface may have either key.
    """
    await asyncio.to_thread(node.store.save_private_key, key, earlier)
    node.local.use_key(key)
    await node.reconciler.reconcile(check_interface=False)
    trigger_handshakes(binding.claim.addresses[0] for binding in node.ledger)


async def confirm_key(node: MeshNode, admission: AdmissionRecord | None) -> None:
    """The mesh has accepted the key in use: tells everybody, and forgets the one before.

    Args:
        admission: this node's record with it; None where it is still to be told.

    Raises:
        OSError: that cannot be kept; the next start asks to be admitted once more.
    """
    node.local.update_record(admission=admission, wireguard_key_since=int(time.time()))
    node.local.announce_key()
    await asyncio.to_thread(node.local.persist)
    await asyncio.to_thread(node.store.forget_earlier_key)
