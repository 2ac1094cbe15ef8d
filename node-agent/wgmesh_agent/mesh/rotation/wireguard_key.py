"""Key rotation of this node's WireGuard key, without packet loss.

An interface has one private key. When it changes, WireGuard queues outgoing packets (up to 128 per peer) until there
is a new session, and keeps receiving in the existing ones. Therefore this node uses its new key first, and is
admitted with it only then: each peer that learns of it replaces the old key by the new one in one step, and completes
a handshake. Peers that have not learned of it yet can still send to this node. The pause lasts as long as the
announcement takes; nothing is sent that would be dropped.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Protocol

import structlog

from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.mesh.dataplane.device_cache import DeviceCache
from wgmesh_agent.mesh.join.client import JoinRefused, JoinResult, JoinUnreachable
from wgmesh_agent.mesh.membership.admission_record import AdmissionRecord
from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.mesh.membership.local_node import LocalNode
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.membership.peer_codec import peer_message
from wgmesh_agent.mesh.rotation.announcement_proxy import AGREED, HERALD_QUERY
from wgmesh_agent.mesh.rotation.gossip_key import RotationFailed
from wgmesh_agent.mesh.rotation.key_policy import KeyPolicy
from wgmesh_agent.mesh.rotation.key_switch import KeySwitch
from wgmesh_agent.runtime.clock import Clock
from wgmesh_agent.settings.model import HostPort
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.keys import PrivateKey

log = structlog.get_logger()
ATTEMPTS = 2
MAX_PROXIES = 5
PROXY_QUERY_TIMEOUT_SECONDS = 2.0
PROXY_RETRY_SECONDS = 3.0
HANDSHAKES_SECONDS = 15.0
HANDSHAKE_TIMEOUT_SECONDS = 5.0
POLL_INTERVAL_SECONDS = 0.05
SHORTEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.05, 0.5


class Readmission(Protocol):
    """Bootstrap nodes, and the admission by one of them with another key."""

    def bootstraps(self) -> Sequence[HostPort]:
        """Their service addresses, as far as this node knows them."""

    async def join_with_new_key(
        self,
        bootstrap: HostPort,
        old: PrivateKey,
        new: PrivateKey,
        before_joining: Callable[[], Awaitable[None]],
    ) -> JoinResult:
        """Joins with the new key in place of the old one; calls `before_joining` right before the request, once the
        bootstrap node has proved to support it. Raises JoinRefused or JoinUnreachable.
        """


class RoundTrips(Protocol):
    """Round-trip times to members; `GossipNode` implements it."""

    def rtt(self, node: str) -> float | None:
        """Seconds, by coordinates; None: unknown."""


class Issuer(Protocol):
    """Issues admission records, if this node may; `AdmissionService` implements it."""

    required: bool
    """Whether members are bound with records only."""

    def issue(self, claim: Claim) -> AdmissionRecord | None:
        """None: this node may issue none."""


class WireGuardKeyRotation:
    """Rotates the WireGuard key; one rotation at a time."""

    def __init__(
        self,
        switch: KeySwitch,
        local: LocalNode,
        admissions: Issuer,
        members: MemberView,
        rtts: RoundTrips,
        device: DeviceCache,
        keys: KeyPolicy,
        readmission: Readmission,
        clock: Clock,
        rng: Random,
    ) -> None:
        self._switch = switch
        self._local = local
        self._admissions = admissions
        self._members = members
        self._rtts = rtts
        self._device = device
        self._keys = keys
        self._readmission = readmission
        self._clock = clock
        self._rng = rng
        self._lock = asyncio.Lock()

    async def rotate(self) -> str:
        """Returns a sentence on how many tunnels use the new key. Raises RotationFailed: the old one is in use
        again.
        """
        if self._lock.locked():
            raise RotationFailed("a rotation is already in progress on this node: wait until it completes")
        async with self._lock:
            if not self._admissions.required:
                raise RotationFailed(
                    "no node of this mesh can vouch for a member's new key: bootstrap nodes have no TLS "
                    "certificates that permit them to admit"
                )
            new = PrivateKey.generate(os.urandom)
            await self._keys.before_new_key(new.public())
            return await self._rotate(new)

    async def _rotate(self, new: PrivateKey) -> str:
        old = self._local.private_key
        record = self._admissions.issue(replace(self._local.claim(), public_key=new.public()))
        try:
            begun = await (
                self._via_bootstrap(old, new) if record is None else self._via_proxy(old, new, record)
            )
        except (BackEndError, OSError) as error:
            await self._roll_back(old, str(error))
            raise RotationFailed(f"{error}; the old key is in use") from error
        log.info("WireGuard key rotated", pubkey=str(new.public()), instead_of=str(old.public()))
        return await self._outcome(begun)

    async def _via_bootstrap(self, old: PrivateKey, new: PrivateKey) -> float:
        begun, answers = 0.0, dict[HostPort, str]()

        async def use() -> None:
            nonlocal begun
            if not begun:
                begun = self._clock.unix()
                await self._switch.use(new, old)
                await asyncio.sleep(self._trigger_delay())

        for _ in range(ATTEMPTS):
            for bootstrap in self._readmission.bootstraps():
                try:
                    admitted = await self._readmission.join_with_new_key(bootstrap, old, new, use)
                except JoinRefused as error:
                    answers[bootstrap] = f"refused: {error}"
                    continue
                except JoinUnreachable as error:
                    answers[bootstrap] = str(error)
                    continue
                await self._switch.confirm(admitted.admission)
                return begun
            if not begun:
                break
        said = "; ".join(f"{bootstrap} {answer}" for bootstrap, answer in answers.items())
        if begun and await self._has_handshake(begun):
            # The admission succeeded, and its response was lost.
            await self._switch.confirm(None)
            return begun
        if begun:
            await self._roll_back(old, said)
        raise RotationFailed(f"{said or 'no bootstrap node is known'}; the old key is in use")

    async def _via_proxy(self, old: PrivateKey, new: PrivateKey, record: AdmissionRecord) -> float:
        claim = replace(self._local.claim(), public_key=new.public(), admission=record.without_certificates())
        message = peer_message(claim).SerializeToString()
        heralds = self._proxy_candidates()
        if heralds and not await self._is_announced_by_proxy(heralds[:MAX_PROXIES], message):
            # A member that did not know this node's signature rejected it, and has requested it since.
            await asyncio.sleep(PROXY_RETRY_SECONDS)
            if not await self._is_announced_by_proxy(heralds[:MAX_PROXIES], message):
                raise RotationFailed("no member agreed to announce the new key; the old one is in use")
        begun = self._clock.unix()
        await self._switch.use(new, old)
        if heralds and not await self._has_handshake(begun):
            await self._roll_back(old, "no peer completes a handshake with it")
            raise RotationFailed("no peer completed a handshake with the new key; the old one is in use")
        await self._switch.confirm(record)
        return begun

    async def _is_announced_by_proxy(self, heralds: Sequence[str], message: bytes) -> bool:
        """Whether one of them agreed to announce it; they are queried in turn."""
        for herald in heralds:
            try:
                told = await self._members.query(
                    HERALD_QUERY, message, nodes=[herald], direct=True, timeout=PROXY_QUERY_TIMEOUT_SECONDS
                )
            except GossipError as error:
                raise RotationFailed(
                    f"no member could be queried to announce the new key: {error}"
                ) from error
            if told.responses.get(herald) == AGREED:
                return True
        return False

    def _trigger_delay(self) -> float:
        """Seconds until the members have received, and not understood, the first packets of this node's new key."""
        rtts = (self._rtts.rtt(member.name) for member in self._members.present())
        return min(
            LONGEST_WAIT_SECONDS, SHORTEST_WAIT_SECONDS + max((rtt for rtt in rtts if rtt), default=0.0)
        )

    def _proxy_candidates(self) -> list[str]:
        """Live members that support this query, other bootstrap nodes first."""
        found = self._members.living_claims()
        self._rng.shuffle(found)
        return [claim.node for claim in sorted(found, key=lambda claim: not claim.bootstrap)]

    async def _roll_back(self, old: PrivateKey, why: str) -> None:
        if self._local.private_key == old:
            return
        log.error("WireGuard key not rotated", error=why, next="restoring the previous key")
        try:
            await self._switch.use(old, None)
        except (BackEndError, OSError) as error:
            log.error("cannot restore the previous WireGuard key", error=str(error), next="retrying")
            self._device.request()

    async def _has_handshake(self, begun: float) -> bool:
        deadline = self._clock.monotonic() + HANDSHAKE_TIMEOUT_SECONDS
        while self._clock.monotonic() < deadline:
            if any(peer.last_handshake >= begun for peer in (await self._device.read()).peers.values()):
                return True
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
        return False

    async def _outcome(self, begun: float) -> str:
        deadline = self._clock.monotonic() + HANDSHAKES_SECONDS
        while True:
            device = await self._device.read()
            wanted = self._members.living_claims()
            late = sorted(
                claim.node
                for claim in wanted
                if (peer := device.peers.get(claim.public_key)) is None or peer.last_handshake < begun
            )
            if not late:
                return f"{len(wanted)} of {len(wanted)} tunnels use the new WireGuard key {self._public()}"
            if self._clock.monotonic() > deadline:
                return (
                    f"{len(wanted) - len(late)} of {len(wanted)} tunnels use the new WireGuard key {self._public()} so "
                    f"far; not yet: {', '.join(late[:5])}"
                )
            await asyncio.sleep(POLL_INTERVAL_SECONDS)

    def _public(self) -> str:
        return str(self._local.private_key.public())
