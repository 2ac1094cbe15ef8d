"""The ledger: which member holds which name, key and addresses.

Every member holds the gossip key, so gossip may announce a member but never another key or address for a bound one
(design, rules of the data plane). The ledger rejects a conflicting claim, with one sentence.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from wgmesh_agent.mesh.membership.admission_record import newest
from wgmesh_agent.mesh.membership.claims import Binding, Claim, Origin
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Endpoint, IPAddress
from wgmesh_api.addresses import is_usable_host
from wgmesh_api.names import is_node_name
from wgmesh_api.values import UnusableValue, check_address, embedded_ipv4

MAX_ENDPOINTS = 8
MAX_FORMER_ADDRESSES = 4096


class RejectionReason(enum.StrEnum):
    """Why a claim was rejected; the label of the counter."""

    OWN_NAME = "own_name"
    OWN_KEY = "own_key"
    OWN_ADDRESS = "own_address"
    BAD_NAME = "bad_name"
    BAD_ADDRESS = "bad_address"
    NAME_BOUND = "name_bound"
    KEY_BOUND = "key_bound"
    ADDRESS_BOUND = "address_bound"
    ADDRESS_CHANGED = "address_changed"


@dataclass(frozen=True, slots=True)
class Rejection:
    """A rejected claim, and one sentence on why."""

    claim: Claim
    reason: RejectionReason
    message: str


class LocalFacts(Protocol):
    """The properties of this node that other members' claims must not touch; `LocalNode` implements it."""

    @property
    def node(self) -> str:
        """Its name."""

    @property
    def public_key(self) -> PublicKey:
        """The key that its tunnels use."""

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Its mesh addresses."""

    @property
    def ranges(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The mesh's ranges."""


class Ledger:
    """Bindings by key, name and address. Not thread-safe; every method is O(addresses of one member)."""

    def __init__(self, local: LocalFacts, bindings: Iterable[Binding] = ()) -> None:
        self.local = local
        self._by_key: dict[PublicKey, Binding] = {}
        self._by_name: dict[str, PublicKey] = {}
        self._by_address: dict[IPAddress, PublicKey] = {}
        self._former: dict[str, tuple[IPAddress, ...]] = {}
        self.rejected_at_load: list[Rejection] = []
        for binding in bindings:
            self._restore(binding)

    def __iter__(self) -> Iterator[Binding]:
        return iter(self._by_key.values())

    def __len__(self) -> int:
        return len(self._by_key)

    def by_key(self, public_key: PublicKey) -> Binding | None:
        return self._by_key.get(public_key)

    def by_name(self, node: str) -> Binding | None:
        key = self._by_name.get(node)
        return None if key is None else self._by_key[key]

    def by_address(self, address: IPAddress) -> Binding | None:
        key = self._by_address.get(address)
        return None if key is None else self._by_key[key]

    def former_addresses(self, node: str) -> tuple[IPAddress, ...]:
        """The former addresses of a removed member of this name; empty if unknown (4,096 names are kept)."""
        return self._former.get(node, ())

    def addresses(self) -> set[IPAddress]:
        """All mesh addresses in use, this node's included."""
        return {*self._by_address, *self.local.addresses}

    def accept(
        self, claim: Claim, origin: Origin, now_unix: float, *, identity: str = ""
    ) -> Rejection | None:
        """Binds a new member, or updates endpoints and role of a bound one; a rejection changes nothing."""
        refusal = self._refusal(claim)
        if refusal is not None:
            return refusal
        old = self._by_key.get(claim.public_key)
        claim = replace(claim, endpoints=usable_endpoints(claim.endpoints, self.local.ranges))
        if old is None:
            self._put(Binding(claim, origin, since=now_unix, identity=identity))
        else:
            admission = newest(old.claim.admission, claim.admission)
            is_older = claim.admission is not None and admission is not claim.admission
            merged = replace(
                old.claim,
                node=old.claim.node or claim.node,
                endpoints=merge_endpoints(claim.endpoints, old.claim.endpoints),
                bootstrap=claim.bootstrap or old.claim.bootstrap,
                admission=admission,
                routes=old.claim.routes if claim.routes is None or is_older else claim.routes,
                secret_ids=old.claim.secret_ids if claim.secret_ids is None else claim.secret_ids,
            )
            is_news = merged != old.claim or merged.admission is not old.claim.admission
            if is_news or (identity and identity != old.identity):
                self._put(replace(old, claim=merged, identity=identity or old.identity))
        return None

    def bind(self, claim: Claim, origin: Origin, now_unix: float) -> Rejection | None:
        """Binds a claim of a bootstrap node itself, in place of every conflicting binding.

        Rejected, without any change, only if it claims this node's own properties or those that no member may have.
        """
        for reason, message in self._invalid(claim):
            return Rejection(claim, reason, message)
        for rival in self._rivals(claim):
            self.remove(rival)
        return self.accept(claim, origin, now_unix)

    def conflicting_bindings(self, claim: Claim) -> list[Binding]:
        """The bindings that conflict with the claim."""
        return [self._by_key[key] for key in self._rivals(claim)]

    def rejection_of(self, claim: Claim) -> bool:
        """Whether `accept` would reject it."""
        return self._refusal(claim) is not None

    def is_conflicting(self, claim: Claim) -> bool:
        """Whether the claim is valid in itself, and rejected only because of existing bindings."""
        return next(self._invalid(claim), None) is None and next(self._conflicts(claim), None) is not None

    def mark_alive(self, public_key: PublicKey, now_unix: float) -> None:
        """Gossip reported this member alive just now."""
        binding = self._by_key.get(public_key)
        if binding is not None:
            self._by_key[public_key] = replace(binding, last_seen=now_unix)

    def remove(self, public_key: PublicKey) -> Binding | None:
        """Removes a member that left, was reaped or removed; returns its binding."""
        binding = self._by_key.pop(public_key, None)
        if binding is not None:
            if self._by_name.get(binding.claim.node) == public_key:
                del self._by_name[binding.claim.node]
            for address in binding.claim.addresses:
                self._by_address.pop(address, None)
            if binding.claim.node:
                self._remember_former(binding.claim)
        return binding

    def restore(self, binding: Binding) -> None:
        """Reverts a `remove`, unless another binding conflicts with it by now."""
        if self._refusal(binding.claim) is None:
            self._put(binding)

    def _remember_former(self, claim: Claim) -> None:
        self._former.pop(claim.node, None)
        self._former[claim.node] = claim.addresses
        if len(self._former) > MAX_FORMER_ADDRESSES:
            del self._former[next(iter(self._former))]

    def _put(self, binding: Binding) -> None:
        key = binding.claim.public_key
        self._by_key[key] = binding
        if binding.claim.node:
            self._by_name[binding.claim.node] = key
        for address in binding.claim.addresses:
            self._by_address[address] = key

    def _restore(self, binding: Binding) -> None:
        refusal = self._refusal(binding.claim)
        if refusal is None:
            self._put(binding)
        else:
            self.rejected_at_load.append(refusal)

    def _refusal(self, claim: Claim) -> Rejection | None:
        for reason, message in (*self._invalid(claim), *self._conflicts(claim)):
            return Rejection(claim, reason, message)
        return None

    def _invalid(self, claim: Claim) -> Iterator[tuple[RejectionReason, str]]:
        who = claim.node or str(claim.public_key)
        if claim.public_key == self.local.public_key:
            yield RejectionReason.OWN_KEY, f"{who} claims this node's own WireGuard key"
        if claim.node == self.local.node:
            yield RejectionReason.OWN_NAME, f"{claim.public_key} claims this node's own name {claim.node}"
        if claim.node and not is_node_name(claim.node):
            yield (
                RejectionReason.BAD_NAME,
                f"{claim.public_key} claims a name that no member may have: {claim.node!r:.80}",
            )
        if not claim.addresses or len(set(claim.addresses)) != len(claim.addresses):
            yield RejectionReason.BAD_ADDRESS, f"{who} claims no mesh address, or a duplicate one"
        for address in claim.addresses:
            if address in self.local.addresses:
                yield RejectionReason.OWN_ADDRESS, f"{who} claims this node's own mesh address {address}"
            if not any(is_usable_host(address, network) for network in self.local.ranges):
                yield (
                    RejectionReason.BAD_ADDRESS,
                    f"{who} claims {address}, which is not a host address of the mesh's ranges",
                )

    def _conflicts(self, claim: Claim) -> Iterator[tuple[RejectionReason, str]]:
        who = claim.node or str(claim.public_key)
        for address in claim.addresses:
            holder = self._by_address.get(address)
            if holder is not None and holder != claim.public_key:
                yield (
                    RejectionReason.ADDRESS_BOUND,
                    f"{who} claims {address}, which {self._name_of(holder)} holds",
                )
        bound = self._by_name.get(claim.node)
        if bound is not None and bound != claim.public_key:
            yield (
                RejectionReason.NAME_BOUND,
                f"{claim.public_key} claims the name {claim.node}, which {bound} holds",
            )
        old = self._by_key.get(claim.public_key)
        if old is not None:
            if claim.node and old.claim.node and claim.node != old.claim.node:
                yield RejectionReason.KEY_BOUND, f"{claim.node} claims the WireGuard key of {old.claim.node}"
            if not are_compatible_addresses(claim.addresses, old.claim.addresses):
                yield (
                    RejectionReason.ADDRESS_CHANGED,
                    f"{who} is bound to {join_addresses(old.claim.addresses)}"
                    f" and now claims {join_addresses(claim.addresses)}",
                )

    def _rivals(self, claim: Claim) -> set[PublicKey]:
        """The keys whose bindings conflict with the claim."""
        holders = (self._by_name.get(claim.node), *(self._by_address.get(a) for a in claim.addresses))
        rivals = {key for key in holders if key is not None and key != claim.public_key}
        old = self._by_key.get(claim.public_key)
        if old is not None and (
            (claim.node and old.claim.node and claim.node != old.claim.node)
            or not are_compatible_addresses(claim.addresses, old.claim.addresses)
        ):
            rivals.add(claim.public_key)
        return rivals

    def _name_of(self, public_key: PublicKey) -> str:
        return self._by_key[public_key].claim.node or str(public_key)


def usable_endpoints(
    endpoints: Iterable[Endpoint], ranges: Sequence[IPv4Network | IPv6Network]
) -> tuple[Endpoint, ...]:
    """The endpoints outside the mesh's own ranges, at most MAX_ENDPOINTS: a tunnel must not run inside itself."""
    return tuple(dict.fromkeys(e for e in endpoints if usable_endpoint(e, ranges)))[:MAX_ENDPOINTS]


def usable_endpoint(endpoint: Endpoint, ranges: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether WireGuard may send there: a unicast address outside the mesh, also after translation."""
    try:
        if endpoint.port == 0 or check_address(endpoint.address) != endpoint.address:
            return False
    except UnusableValue:
        return False
    inner = embedded_ipv4(endpoint.address)
    addresses = (endpoint.address,) if inner is None else (endpoint.address, inner)
    return not any(
        address.version == network.version and address in network
        for address in addresses
        for network in ranges
    )


def merge_endpoints(fresh: Sequence[Endpoint], known: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """New ones first, then the known ones, without duplicates, at most MAX_ENDPOINTS."""
    return tuple(dict.fromkeys((*fresh, *known)))[:MAX_ENDPOINTS]


def are_compatible_addresses(claimed: Sequence[IPAddress], bound: Sequence[IPAddress]) -> bool:
    """A peer of the original announces one address only, so a subset of the bound ones is no conflict."""
    return set(claimed) <= set(bound)


def join_addresses(addresses: Iterable[IPAddress]) -> str:
    return ", ".join(map(str, addresses))
