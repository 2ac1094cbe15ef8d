"""Joins again via a bootstrap node: a node that is isolated or lost its mesh, and one that changes its key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import structlog

from wgmesh_agent.agent.gossip_joiner import GossipJoiner
from wgmesh_agent.agent.gossip_keys import GossipKeys
from wgmesh_agent.agent.policies import Policies
from wgmesh_agent.agent.session_end import SessionEnd
from wgmesh_agent.agent.session_start import SessionConfig, SessionStart
from wgmesh_agent.gossip.serf.foreign_key_detector import ForeignKeyDetector
from wgmesh_agent.mesh.dataplane.reconciler import Reconciler
from wgmesh_agent.mesh.discovery.advertised_endpoint import NoUsableEndpoint
from wgmesh_agent.mesh.join.bootstrap_directory import BootstrapDirectory
from wgmesh_agent.mesh.join.client import JoinRefused, JoinResult, JoinUnreachable
from wgmesh_agent.mesh.join.joiner import EndpointLookup, JoinTarget, join_via, mesh_record_from
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.local_node import LocalNode
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.mesh.membership.tracker import MembershipTracker
from wgmesh_agent.runtime.backoff import jittered
from wgmesh_agent.settings.model import HostPort
from wgmesh_agent.state.store import StateStore
from wgmesh_agent.wireguard.keys import PrivateKey

log = structlog.get_logger()
ISOLATED_AFTER_SECONDS = 15.0
POLL_INTERVAL_SECONDS = 2.0


class KeyReplacementJoin:
    """Admission of this member with a new key in place of its old one."""

    def __init__(
        self, role: SessionConfig, local: LocalNode, lookup: EndpointLookup, directory: BootstrapDirectory
    ) -> None:
        self._role = role
        self._local = local
        self._lookup = lookup
        self.bootstraps = directory.bootstraps

    async def join_with_new_key(
        self,
        bootstrap: HostPort,
        old: PrivateKey,
        new: PrivateKey,
        before_joining: Callable[[], Awaitable[None]],
    ) -> JoinResult:
        """Joins with the new key. Raises JoinRefused or JoinUnreachable."""
        record = self._local.record
        target = JoinTarget(
            bootstraps=(),
            tls=self._role.client_tls,
            mesh=record.mesh,
            node=record.node,
            public_key=new.public(),
            routes=record.routes,
            replaces=old,
            secrets=self._role.secrets,
        )
        try:
            admitted = await join_via(target, bootstrap, self._lookup, before_joining)
        except NoUsableEndpoint as error:
            raise JoinUnreachable(str(error)) from error
        if admitted.addresses != record.addresses:
            raise JoinRefused(f"it gave another address: {', '.join(map(str, admitted.addresses))}")
        return admitted


class Isolation:
    """Whether this node is isolated from its mesh."""

    def __init__(self, members: MemberView, tracker: MembershipTracker, keys: GossipKeys) -> None:
        self._members = members
        self._tracker = tracker
        self._keys = keys

    async def after(self, seconds: float, *, hurried: bool) -> bool:
        """Whether this node is isolated at the end of `seconds`; or, with `hurried`, keeps receiving messages that its
        keyring cannot decrypt while members are missing: keys were rotated while it, and all members it can reach, were
        down.
        """
        loop, keyring = asyncio.get_running_loop(), self._keys.keyring
        deadline, strangers = loop.time() + seconds, ForeignKeyDetector()
        while (left := deadline - loop.time()) > 0:
            await asyncio.sleep(min(left, POLL_INTERVAL_SECONDS))
            if keyring is None or not hurried:
                continue
            persists = strangers.persists(keyring.foreign_key_messages, keyring.primary, loop.time())
            if persists and self._tracker.failed():
                log.warning(
                    "members use a gossip key this node lacks",
                    next="requesting the keys from bootstrap nodes",
                )
                return True
        return self._members.is_isolated()


class Readmitter:
    """Asks the bootstrap nodes known now, in turn, to admit this member again."""

    def __init__(
        self,
        target: JoinTarget,
        bootstraps: BootstrapDirectory,
        lookup: EndpointLookup,
        local: LocalNode,
        store: StateStore,
    ) -> None:
        self._target = target
        self._bootstraps = bootstraps
        self._lookup = lookup
        self._local = local
        self._store = store

    async def admit(self) -> tuple[MeshRecord, tuple[Claim, ...]] | None:
        """The record of the admission and the members in it; None: no bootstrap node admits this node now."""
        for bootstrap in self._bootstraps.bootstraps():
            key = self._local.private_key
            target = replace(self._target, public_key=key.public(), own_key=key)
            try:
                admitted = await join_via(target, bootstrap, self._lookup)
            except (JoinRefused, JoinUnreachable, NoUsableEndpoint) as error:
                log.warning("isolated, and rejoin failed", bootstrap=str(bootstrap), error=str(error))
                continue
            self._target = replace(self._target, replaces=None)
            await asyncio.to_thread(self._store.forget_earlier_key)
            earlier = self._local.record
            record = mesh_record_from(admitted, target.mesh, earlier, bootstrap=earlier.bootstrap)
            return record, admitted.peers
        return None


class Adoption:
    """Changes by a repeated admission of a running member: gossip keys and members, and nothing else."""

    def __init__(
        self,
        local: LocalNode,
        keys: GossipKeys,
        tracker: MembershipTracker,
        reconciler: Reconciler,
        joiner: GossipJoiner,
    ) -> None:
        self._local = local
        self._keys = keys
        self._tracker = tracker
        self._reconciler = reconciler
        self._joiner = joiner

    def adopt_keys(self, record: MeshRecord) -> bool:
        """Adopts the gossip keys of a record that is equal otherwise; False if it is not."""
        own = self._local.record
        ring, since = record.gossip_keys, record.gossip_keys_since
        others = replace(
            record,
            created_unix=own.created_unix,
            gossip_keys=own.gossip_keys,
            gossip_keys_since=own.gossip_keys_since,
        )
        if others != own or bool(ring) != bool(own.gossip_keys):
            return False
        if ring != own.gossip_keys:
            try:
                self._keys.replace(ring, since)
            except OSError as error:
                log.error("cannot adopt gossip keys", error=str(error))
        return True

    async def meet(self, peers: Sequence[Claim]) -> None:
        """Binds these members, and joins gossip at their addresses."""
        for claim in peers:
            self._tracker.accept(claim, Origin.PEERS)
        await self._reconciler.reconcile()
        await self._joiner.join_known()


class Rejoin:
    """Joins again if no member knows this node any more, after a long absence or a lost mesh."""

    def __init__(
        self,
        role: SessionConfig,
        policies: Policies,
        isolation: Isolation,
        readmitter: Readmitter,
        adoption: Adoption,
        members: MemberView,
        end: SessionEnd,
    ) -> None:
        self._role = role
        self._policies = policies
        self._isolation = isolation
        self._readmitter = readmitter
        self._adoption = adoption
        self._members = members
        self._end = end

    async def run(self) -> None:
        """Runs until the session is to restart with other facts, or is cancelled."""
        # A node that knows no members, because it lost its member snapshot, has none to wait for.
        pause, hurried = ISOLATED_AFTER_SECONDS if self._members.has_bound_members() else 0.0, True
        while True:
            cut_off = await self._isolation.after(jittered(pause), hurried=hurried)
            pause, hurried = ISOLATED_AFTER_SECONDS, not cut_off
            admitted = await self._readmitter.admit() if cut_off else None
            if admitted is None:
                continue
            record, peers = admitted
            if not self._adoption.adopt_keys(record):
                log.warning(
                    "rejoined with different addresses or settings",
                    addresses=[str(a) for a in record.addresses],
                )
                self._end.restart_with(SessionStart(self._role, self._policies, record, peers, fresh=True))
                return
            await self._adoption.meet(peers)
