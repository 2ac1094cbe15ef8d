"""Reconciles the WireGuard device with the ledger: reads it, computes the difference, applies only that."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import structlog

from wgmesh_agent.linux.interface_addresses import sources_of
from wgmesh_agent.linux.port_owner import taken
from wgmesh_agent.mesh.dataplane.desired_device import desired_device
from wgmesh_agent.mesh.dataplane.device_cache import DeviceCache
from wgmesh_agent.mesh.dataplane.handshake_retry import HandshakeRetry
from wgmesh_agent.mesh.dataplane.handshake_trigger import HandshakeTrigger, trigger_in_chunks
from wgmesh_agent.mesh.dataplane.repair_rate_limit import Repairs, changed_by_others
from wgmesh_agent.mesh.dataplane.transform import DeviceObserver, DeviceTransform, InterfacePlan
from wgmesh_agent.mesh.membership.claims import Binding
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.runtime.clock import Clock
from wgmesh_agent.runtime.reminders import Reminders
from wgmesh_agent.runtime.single_flight import SingleFlight
from wgmesh_agent.wireguard.backend import Backend, BackendKind
from wgmesh_agent.wireguard.diff import Change, RemovePeer, SetPeer, diff, superseded_removals
from wgmesh_agent.wireguard.errors import BackEndError, number_of
from wgmesh_agent.wireguard.handshake_ages import HandshakeAges
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import DesiredDevice, Device, InterfaceSpec, IPAddress, Network, Peer

log = structlog.get_logger()
INTERVAL_SECONDS = 15.0
RETRY_SECONDS = 2.0
DEFER_REMOVALS_SECONDS = 60.0
BATCH_PAUSE_SECONDS_PER_PEER, MAX_BATCH_PAUSE_SECONDS = 0.005, 0.5
"""Minimum pause between two passes: with many peers a pass is expensive."""
DRAIN_SECONDS = 0.05
"""Grace period for packets in flight to a peer whose ranges have moved to another."""


class TunnelSettings(Protocol):
    """Properties of this node that its interface has, such as `LocalNode`."""

    @property
    def private_key(self) -> PrivateKey:
        """The private key in use."""

    @property
    def listen_port(self) -> int:
        """WireGuard's UDP port."""

    @property
    def keepalive_seconds(self) -> int | None:
        """Persistent keepalive of all peers; None: unchanged."""


class Reconciler:
    """Reconciles in one task, which owns the back end; all other components use the device cache."""

    def __init__(
        self,
        backend: Backend,
        device: DeviceCache,
        local: TunnelSettings,
        ledger: Ledger,
        plan: InterfacePlan,
        clock: Clock,
        trigger: HandshakeTrigger,
        *,
        ages: HandshakeAges | None = None,
        transforms: Sequence[DeviceTransform] = (),
        observers: Sequence[DeviceObserver] = (),
        repairs: Repairs | None = None,
    ) -> None:
        """
        Args:
            device: receives the result of each pass.
            ages: of handshakes, with what is remembered of the wall clock.
            repairs: receives repaired foreign changes.
        """
        self._backend = backend
        self._device = device
        self._local = local
        self._public = local.private_key.public()
        self._ledger = ledger
        self._plan = plan
        self._clock = clock
        self._trigger = trigger
        self._transforms = tuple(transforms)
        self._observers = tuple(observers)
        self._passes = SingleFlight[Device](device.lock)
        self._to_trigger: list[PublicKey] = []
        self._to_trigger_all = False
        """Handshakes to trigger after the last pass."""
        self._opened: InterfaceSpec | None = None
        self._source_lost = False
        self._left: Device | None = None
        self._left_fingerprint: int | None = None
        """Fingerprint of the device when it was found equal to `_left`."""
        self._check_wanted = self._checked = False
        self._repairs = repairs or Repairs(backend.name)
        self._started = self._clock.monotonic()
        self._bound: set[PublicKey] = set()
        self.first_handshakes = HandshakeRetry(self._public)
        self._ages = ages or HandshakeAges()
        self._reminders = Reminders()

    def check_soon(self) -> None:
        """Another program may have changed the interface: reconciles all of it soon."""
        self._check_wanted = True
        self._device.request()

    async def is_changed(self) -> bool:
        """Whether the device differs from the state after the last pass. Raises BackEndError."""
        async with self._device.lock:
            if self._left is None:
                return False
            # Read before the device: the next poll sees changes made in between.
            fingerprint = await self._backend.fingerprint()
            if fingerprint == self._left_fingerprint:
                return False
            changed = bool(changed_by_others(self._left, await self._backend.read()))
            self._left_fingerprint = None if changed else fingerprint
            return changed

    def source_address_lost(self) -> None:
        """This machine lost an address. wireguard-go may keep it as source address, and then every send fails
        indefinitely.

        It selects a source again for an endpoint that is written, so the current endpoints are written once more.
        """
        self._source_lost = self._backend.kind is BackendKind.USERSPACE
        self._device.request()

    async def network_changed(self) -> None:
        """This machine's addresses or routes have changed: packets sent to peers before may be lost."""
        silent = self.first_handshakes.silent()
        if silent and self.first_handshakes.rerouted(await self._sources(silent), self._clock.monotonic()):
            self._device.request()

    async def _sources(self, keys: Iterable[PublicKey]) -> dict[PublicKey, IPAddress | None]:
        """The local addresses from which packets to peers leave; None: there is no route."""
        peers = self._device.latest.peers if self._device.latest is not None else {}
        targets = {
            key: peer.endpoint.address
            for key in keys
            if (peer := peers.get(key)) is not None and peer.endpoint is not None
        }
        return await asyncio.to_thread(
            lambda: {key: next(iter(sources_of((target,))), None) for key, target in targets.items()}
        )

    async def run(self) -> None:
        """Reconciles on every request, and every 15 s in case of unnoticed foreign changes."""
        seen = self._device.requested.generation
        checked = self._clock.monotonic()
        while True:
            check_due = checked + INTERVAL_SECONDS
            ages_due = self._ages.next_deadline(self._clock.unix())
            if ages_due is not None:
                ages_due += self._clock.monotonic() - self._clock.boot()
            deadlines = (self.first_handshakes.next_deadline(), ages_due)
            due = min([check_due, *(deadline for deadline in deadlines if deadline is not None)])
            await self._device.requested.wait_after(seen, max(0.0, due - self._clock.monotonic()))
            seen, urgent = self._device.requested.generation, self._device.urgent.generation
            check = self._clock.monotonic() >= check_due
            if check:
                checked = self._clock.monotonic()
            try:
                await self.reconcile(check_interface=check)
            except BackEndError as error:
                if not self._checked:
                    # Another program may have removed the interface, or be about to: a pass repairs that.
                    log.debug(
                        "cannot program WireGuard", error=str(error), next="reconciling the whole interface"
                    )
                    self._check_wanted = True
                else:
                    if self._reminders.is_due(str(error), self._clock.monotonic()):
                        log.error("cannot program WireGuard", error=str(error), retry_seconds=RETRY_SECONDS)
                    await asyncio.sleep(RETRY_SECONDS)
                self.check_soon()
            else:
                if self._reminders.over():
                    log.info("WireGuard programmed again")
            # Simultaneous changes, such as all announcements of a newcomer, are programmed together.
            pause = min(MAX_BATCH_PAUSE_SECONDS, BATCH_PAUSE_SECONDS_PER_PEER * len(self._ledger))
            await self._device.urgent.wait_after(urgent, pause)

    async def reconcile(self, *, check_interface: bool = True) -> Device:
        """Runs one pass. Returns the device after it. Concurrent callers share one.

        Raises:
            BackEndError: the interface could not be read or changed; the next pass starts from its actual state.
        """
        try:
            device = await self._passes.run(lambda: self._reconcile(check_interface=check_interface))
            await self._trigger_due()
            return device
        except BackEndError as error:
            if number_of(error) != errno.EADDRINUSE:
                raise
            fault = await asyncio.to_thread(
                taken, self._local.listen_port, ("udp",), "-listen-port, spec.wireguard.port"
            )
            raise BackEndError(str(fault.strerror)) from error

    async def _reconcile(self, *, check_interface: bool) -> Device:
        waiting = self._device.begin_pass()
        try:
            device = await self._pass(check_interface=check_interface)
        except BaseException as error:
            self._device.failed(waiting, error)
            raise
        self._device.passed(waiting, device)
        return device

    async def _pass(self, *, check_interface: bool) -> Device:
        self._follow_key()
        spec = self._plan.interface_spec()
        found_changed: list[str] = []
        self._checked = check_interface or self._check_wanted or spec != self._opened
        if self._checked:
            self._check_wanted = False
            differed = (await self._backend.open(spec)).differed
            found_changed += differed if spec == self._opened else ()
            self._opened = spec
        held = await self._backend.read()
        if self._left is not None:
            found_changed += changed_by_others(self._left, held)
        # A change left incomplete by an error is not a foreign change.
        self._left = self._left_fingerprint = None
        self._repairs.note(found_changed, self._clock.monotonic())
        for observer in self._observers:
            observer.observe(held)
        found = self._ages.update(held, self._clock.unix(), self._clock.boot())
        # Thousands of peers are compared in a thread, so as not to block the event loop.
        desired = await asyncio.to_thread(self._desired, list(self._ledger), self._plan.allowed_ips())
        for transform in self._transforms:
            desired = transform.refine(desired, found, self._clock.unix())
        actual = await self._recreate_silent_peers(found, desired)
        changes = await asyncio.to_thread(self._diff, desired, actual, self._clock.unix())
        changes = tuple(_keep_working_endpoint(change, found) for change in changes)
        changes = self._defer_removals(changes, actual)
        rewrites = self._source_lost
        if rewrites:
            changes = (*changes, *rewrite_endpoints(actual))
        created = [change.public_key for change in changes if isinstance(change, SetPeer) and change.create]
        late = superseded_removals(changes, actual)
        await self._backend.apply([change for change in changes if change not in late])
        if late:
            await self._trigger_members(created)
            await asyncio.sleep(DRAIN_SECONDS)
            await self._backend.apply(late)
        device = await self._backend.read() if changes else actual
        self._left = device
        self._to_trigger, self._to_trigger_all = created, rewrites
        if rewrites:
            self._source_lost = False
        self.first_handshakes.peer_created(created, self._clock.monotonic())
        if changes:
            log.debug("device updated", changes=len(changes), new_peers=len(created))
        return device

    async def _trigger_due(self) -> None:
        """Triggers the handshakes of the last pass, without the lock: thousands of peers take long."""
        created, self._to_trigger = self._to_trigger, []
        to_all, self._to_trigger_all = self._to_trigger_all, False
        if to_all:
            await trigger_in_chunks(self._trigger, [binding.claim.addresses[0] for binding in self._ledger])
        if created:
            self.first_handshakes.leave_from(await self._sources(created))
            await self._trigger_members(created)

    def _follow_key(self) -> None:
        public = self._local.private_key.public()
        if public != self._public:
            self._public, self.first_handshakes = public, HandshakeRetry(public)

    def _desired(
        self, bindings: Sequence[Binding], routes: Mapping[PublicKey, Sequence[Network]]
    ) -> DesiredDevice:
        local = self._local
        return desired_device(
            local.private_key, local.listen_port, bindings, routes, keepalive_seconds=local.keepalive_seconds
        )

    def _diff(self, desired: DesiredDevice, actual: Device, now_unix: float) -> tuple[Change, ...]:
        return diff(desired, actual, now_unix=now_unix, own_public=self._public)

    async def _trigger_members(self, keys: Iterable[PublicKey]) -> None:
        bindings = (binding for key in keys if (binding := self._ledger.by_key(key)) is not None)
        await trigger_in_chunks(self._trigger, [binding.claim.addresses[0] for binding in bindings])

    async def _recreate_silent_peers(self, device: Device, desired: DesiredDevice) -> Device:
        """The device without the peers whose first handshake is to start again; the diff re-creates them."""
        due = self.first_handshakes.due(device, self._clock.monotonic())
        # A peer that sends from another endpoint than it advertises has already sent: its handshake may complete, and
        # this node could not trigger one.
        silent = {key for key in due if self._is_at_advertised_endpoint(device.peers[key])}
        # A previous unsuccessful attempt would delay the next one for five seconds.
        silent.update(
            wanted.public_key
            for wanted in desired.peers
            if wanted.try_now is not None
            and (held := device.peers.get(wanted.public_key)) is not None
            and not held.last_handshake
        )
        if silent:
            log.debug("no handshake, recreating peers", peers=[str(key) for key in sorted(silent)])
        lost = {
            key
            for key in self._ages.blocked_by_clock_step(self._clock.unix(), self._clock.boot())
            if key in device.peers
        }
        if lost:
            log.warning(
                "clock was set back, recreating peers with expired sessions",
                peers=[str(key) for key in sorted(lost)],
            )
        silent |= lost
        if not silent:
            return device
        await self._backend.apply([RemovePeer(key) for key in sorted(silent)])
        return replace(device, peers={key: peer for key, peer in device.peers.items() if key not in silent})

    def _is_at_advertised_endpoint(self, peer: Peer) -> bool:
        binding = self._ledger.by_key(peer.public_key)
        return binding is not None and peer.endpoint in binding.claim.endpoints

    def _defer_removals(self, changes: Sequence[Change], actual: Device) -> tuple[Change, ...]:
        """A peer on an adopted interface may be a member whose announcement the last snapshot missed: it keeps its
        tunnel until gossip had time to deliver it. A peer that was bound since and is not any more is removed at once,
        and so is one whose addresses now belong to another: the former key of a member with a new one.
        """
        if self._clock.monotonic() - self._started > DEFER_REMOVALS_SECONDS:
            return tuple(changes)
        self._bound.update(binding.claim.public_key for binding in self._ledger)
        taken = {one for change in changes if isinstance(change, SetPeer) for one in change.add_allowed_ips}

        def keeps(key: PublicKey) -> bool:
            return key not in self._bound and not actual.peers[key].allowed_ips <= taken

        return tuple(
            change for change in changes if not (isinstance(change, RemovePeer) and keeps(change.public_key))
        )


def _keep_working_endpoint(change: Change, found: Device) -> Change:
    """A re-created peer keeps the endpoint of its last handshake."""
    if not isinstance(change, SetPeer) or not change.create:
        return change
    peer = found.peers.get(change.public_key)
    if peer is None or peer.endpoint is None or not peer.last_handshake:
        return change
    return replace(change, endpoint=peer.endpoint)


def rewrite_endpoints(device: Device) -> Iterator[SetPeer]:
    """Writes every endpoint unchanged."""
    for key, peer in device.peers.items():
        if peer.endpoint is not None:
            yield SetPeer(key, peer.endpoint)
