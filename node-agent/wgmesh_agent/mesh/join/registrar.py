"""Registrar: the bootstrap side of a join, without gRPC; from a validated request to an admitted member.

The ledger is the reservation: a joiner is bound before the first await, so concurrent joins never see the same name,
key or address as free. A binding that other bootstrap nodes have not confirmed yet is excluded from `peers()`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from wgmesh_agent.mesh.caller import Caller
from wgmesh_agent.mesh.join.address_allocator import AddressAllocator, RangeExhausted, Share
from wgmesh_agent.mesh.join.decision import DenialReason, Denied, JoinApplicant, evaluate
from wgmesh_agent.mesh.membership.claims import Binding, Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.names import default_node_name
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import IPAddress, Network
from wgmesh_api.addresses import is_usable_host
from wgmesh_api.meshservice_pb2 import JoinRequest

MAX_CLAIM_ATTEMPTS = 16
RESERVATION_SECONDS = 30.0
MAX_PROMISES = 4096
MAX_PROMISES_AN_ASKER = 1024
"""Far above what a bootstrap node admits in RESERVATION_SECONDS, and far below the addresses of a common mesh."""
JOIN_DEADLINE_SECONDS = 60.0


class MeshPort(Protocol):
    """The part of the running mesh that the registrar uses."""

    def is_alive(self, node: str) -> bool:
        """Whether gossip reports the member alive, or not yet certainly failed."""

    async def is_reachable(self, binding: Binding) -> bool:
        """Whether the machine that holds this member's key answers a probe through its tunnel now."""

    def bootstraps(self) -> tuple[str, ...]:
        """The names of all known bootstrap nodes, including this one."""

    def assigned_addresses(self, node: str, caller: Caller) -> tuple[IPAddress, ...] | None:
        """The addresses that a roster assigns to a node; None without a roster. Raises Denied if it must not join."""

    def allowed_routes(self, node: str, asked: tuple[Network, ...]) -> tuple[Network, ...]:
        """The networks behind a node that this one signs, of those it requests."""

    async def claim_elsewhere(self, claim: Claim) -> bool:
        """Queries the other reachable bootstrap nodes; False if one has promised an address to another key."""

    async def on_admitted(self, binding: Binding, replaced: Binding | None) -> None:
        """Programs the new peer and announces it; `replaced` is the previous binding of the same node."""

    async def on_reservation_expired(self, binding: Binding) -> None:
        """Announces that an admitted joiner never joined."""


@dataclass(frozen=True, slots=True)
class _Reservation:
    public_key: PublicKey
    expires: float
    asker: str


class Registrar:
    """Admits joiners on one bootstrap node; `now` is monotonic seconds, `now_unix` the wall clock."""

    def __init__(self, mesh_name: str, ledger: Ledger, allocator: AddressAllocator, mesh: MeshPort) -> None:
        self._mesh_name = mesh_name
        self._ledger = ledger
        self._allocator = allocator
        self._mesh = mesh
        self._tentative: set[PublicKey] = set()
        self._reservations: OrderedDict[IPAddress, _Reservation] = OrderedDict()
        self._promised_to: Counter[str] = Counter()

    async def admit(
        self,
        request: JoinRequest,
        caller: Caller,
        *,
        now: float,
        now_unix: float,
        proven: PublicKey | None = None,
    ) -> Binding:
        """Validates, binds and announces one joiner.

        Args:
            proven: the previous key whose possession the caller has proven.

        Raises:
            Denied: with a message for the joining user.
        """
        applicant = await self._examine(request, caller, now_unix, proven)
        if applicant.public_key in self._tentative:
            raise Denied(
                DenialReason.KEY_IN_USE, "a join with this public key is in progress: try again in a second"
            )
        if applicant.replaces is not None and applicant.replaces.claim.public_key in self._tentative:
            raise Denied(
                DenialReason.NAME_IN_USE, "a join under this name is in progress: try again in a second"
            )
        assigned = self._mesh.assigned_addresses(applicant.node, caller)
        earlier = applicant.replaces
        if applicant.existing is not None and assigned not in (None, applicant.existing.claim.addresses):
            earlier = applicant.existing
        if earlier is not None:
            self._ledger.remove(earlier.claim.public_key)
        self._tentative.add(applicant.public_key)
        try:
            try:
                binding = await self._bind(applicant, assigned, caller, now, now_unix)
            except BaseException:
                # The previous member keeps its tunnel. There was no await since it was withdrawn: its addresses are
                # those to be bound, about which no other bootstrap node is queried.
                if earlier is not None:
                    self._ledger.restore(earlier)
                raise
            await self._mesh.on_admitted(binding, applicant.replaces)
        finally:
            self._tentative.discard(applicant.public_key)
        return binding

    def require_listed(self, caller: Caller) -> None:
        """Raises Denied for a node that is no longer in the roster, whatever it requests."""
        if caller.identity is not None:
            self._mesh.assigned_addresses(caller.identity.node, caller)

    async def _examine(
        self, request: JoinRequest, caller: Caller, now_unix: float, proven: PublicKey | None
    ) -> JoinApplicant:
        """Validates. A certificate cannot take over the name of a live machine under the key it was admitted with,
        without a proof that it is that machine.

        Two machines with one certificate would take the name from each other indefinitely. A machine that lost its key
        is silent under it, whatever gossip still reports: so the member to be replaced is probed.
        """
        asked: PublicKey | None = None
        while True:
            # Validates again after a probe, because the state may have changed; from here to the binding there is no
            # await.
            applicant = evaluate(
                request,
                caller,
                self._mesh_name,
                self._ledger,
                lambda node: self._is_present(node, now_unix),
                proven,
            )
            earlier = applicant.replaces
            if earlier is None or earlier.claim.public_key in (asked, proven):
                return applicant
            if not self._mesh.is_alive(earlier.claim.node):
                return applicant
            asked = earlier.claim.public_key
            if await self._mesh.is_reachable(earlier):
                raise Denied(
                    DenialReason.NAME_IN_USE,
                    f"the member {earlier.claim.node} is alive on another machine: each machine needs its own "
                    "certificate or bundle; if this one is to replace it, stop the other first",
                )

    def members(self) -> Iterator[Binding]:
        """The bindings that may be sent to a joiner."""
        return (binding for binding in self._ledger if binding.claim.public_key not in self._tentative)

    def reserve(self, claim: Claim, now: float, asker: str = "") -> bool:
        """Answers another bootstrap node's query whether these addresses are free for this key.

        A positive answer reserves them for half a minute; by then the announcement of the new member has arrived.
        Addresses outside the mesh are not promised, and no bootstrap node gets more promises than
        MAX_PROMISES_AN_ASKER.
        """
        self._drop_expired(now)
        count = len(claim.addresses)
        if (
            self._promised_to[asker] + count > MAX_PROMISES_AN_ASKER
            or len(self._reservations) + count > MAX_PROMISES
            or not all(self._may_be_had(address) for address in claim.addresses)
            or any(self._is_taken(address, claim.public_key) for address in claim.addresses)
        ):
            return False
        for address in claim.addresses:
            self._forget_promise(address)
            self._reservations[address] = _Reservation(claim.public_key, now + RESERVATION_SECONDS, asker)
            self._promised_to[asker] += 1
        return True

    def _may_be_had(self, address: IPAddress) -> bool:
        return any(is_usable_host(address, network) for network in self._ledger.local.ranges)

    def _forget_promise(self, address: IPAddress) -> None:
        promise = self._reservations.pop(address, None)
        if promise is not None:
            self._promised_to[promise.asker] -= 1
            if not self._promised_to[promise.asker]:
                del self._promised_to[promise.asker]

    def _drop_expired(self, now: float) -> None:
        """In the order of creation, which is that of expiry."""
        while self._reservations:
            address, promise = next(iter(self._reservations.items()))
            if promise.expires > now:
                return
            self._forget_promise(address)

    async def sweep(self, now_unix: float) -> None:
        """Reverts admissions of joiners that did not appear in gossip within JOIN_DEADLINE_SECONDS."""
        late = [
            binding
            for binding in self._ledger
            if binding.origin is Origin.ADMITTED
            and not binding.last_seen
            and binding.since < now_unix - JOIN_DEADLINE_SECONDS
            and binding.claim.public_key not in self._tentative
        ]
        for binding in late:
            self._ledger.remove(binding.claim.public_key)
            await self._mesh.on_reservation_expired(binding)

    def _is_present(self, node: str, now_unix: float) -> bool:
        """Alive in gossip, or admitted a moment ago and not yet there."""
        binding = self._ledger.by_name(node)
        expected = (
            binding is not None and not binding.last_seen and now_unix - binding.since < JOIN_DEADLINE_SECONDS
        )
        return expected or self._mesh.is_alive(node)

    async def _bind(
        self,
        applicant: JoinApplicant,
        assigned: tuple[IPAddress, ...] | None,
        caller: Caller,
        now: float,
        now_unix: float,
    ) -> Binding:
        addresses = assigned or applicant.kept_addresses
        for attempt in range(MAX_CLAIM_ATTEMPTS):
            fresh = not addresses
            if fresh and attempt == 0:
                addresses = self._former_addresses(applicant)
            if not addresses:
                addresses = self._allocate(applicant.public_key, now)
            node = applicant.node or default_node_name(self._mesh_name, addresses[0])
            routes = self._mesh.allowed_routes(node, applicant.routes)
            claim = Claim(
                node,
                applicant.public_key,
                addresses,
                (applicant.endpoint,),
                routes=routes,
                secret_ids=applicant.secret_ids,
            )
            refusal = self._ledger.accept(claim, Origin.ADMITTED, now_unix, identity=caller.name)
            if refusal is not None:
                raise Denied(DenialReason.NAME_IN_USE, refusal.message)
            if not fresh or await self._claim(claim):
                binding = self._ledger.by_key(applicant.public_key)
                if binding is None:
                    raise Denied(DenialReason.KEY_IN_USE, "the member left while it joined: try again")
                return binding
            self._ledger.remove(applicant.public_key)
            addresses = ()
        raise Denied(DenialReason.EXHAUSTED, "the bootstrap nodes could not agree on an address: try again")

    async def _claim(self, claim: Claim) -> bool:
        try:
            return await self._mesh.claim_elsewhere(claim)
        except BaseException:
            self._ledger.remove(claim.public_key)
            raise

    def _former_addresses(self, applicant: JoinApplicant) -> tuple[IPAddress, ...]:
        """The node's addresses before it left: gossip elsewhere may consider its name at another address an
        impostor's.
        """
        former = self._ledger.former_addresses(applicant.node)
        return () if any(self._is_taken(address, applicant.public_key) for address in former) else former

    def _allocate(self, public_key: PublicKey, now: float) -> tuple[IPAddress, ...]:
        self._drop_expired(now)
        share = Share(self._ledger.local.node, self._mesh.bootstraps())
        try:
            return self._allocator.allocate(lambda address: self._is_taken(address, public_key), share)
        except RangeExhausted as error:
            raise Denied(DenialReason.EXHAUSTED, f"the mesh is full: {error}") from error

    def _is_taken(self, address: IPAddress, public_key: PublicKey) -> bool:
        promise = self._reservations.get(address)
        holder = self._ledger.by_address(address)
        return (
            address in self._ledger.local.addresses
            or (holder is not None and holder.claim.public_key != public_key)
            or (promise is not None and promise.public_key != public_key)
        )
