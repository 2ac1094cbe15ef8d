"""A binding: one member's name, WireGuard key and mesh addresses, fixed when it was admitted."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Protocol

from wgmesh_agent.mesh.caller import Caller
from wgmesh_agent.mesh.membership.admission_record import AdmissionRecord
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Endpoint, IPAddress, Network


class Origin(enum.StrEnum):
    """Who told of a binding first; only the first four come from somebody authenticated."""

    ADMITTED = "admitted"  # this node's own Join service
    ROSTER = "roster"  # the cluster's own list of members
    PEERS = "peers"  # a bootstrap node's Peers() stream
    RECORD = "record"  # an admission record, wherever it came from
    ANNOUNCED = "announced"  # the user event _j
    GOSSIP = "gossip"  # a member's own tags


@dataclass(frozen=True, slots=True)
class Claim:
    """What somebody says of a member.

    Attributes:
        node: its name; empty where a peer of the original announces, which does not send one.
        public_key: its WireGuard key.
        addresses: its mesh addresses, at least one, the primary one first.
        endpoints: where its WireGuard can be reached, best first; may be empty.
        bootstrap: whether it admits joiners.
        admission: what a bootstrap node vouches for; says nothing before it was verified.
        routes: networks behind it, as somebody who may say so gave them; None: nothing is said of them.
        secret_ids: ids of the secrets for pre-shared keys that it holds, the newest first; None: nothing is said.
    """

    node: str
    public_key: PublicKey
    addresses: tuple[IPAddress, ...]
    endpoints: tuple[Endpoint, ...]
    bootstrap: bool = False
    admission: AdmissionRecord | None = field(default=None, compare=False, repr=False)
    routes: tuple[Network, ...] | None = None
    secret_ids: tuple[bytes, ...] | None = None


@dataclass(frozen=True, slots=True)
class Binding:
    """A claim that was accepted.

    Attributes:
        claim: name, key and addresses as accepted; endpoints and role as last heard.
        origin: who told of it first.
        since: unix seconds of the first acceptance.
        last_seen: unix seconds when gossip last had it alive; 0 if never.
        identity: what authenticated it to this node's Join service; empty if unknown.
    """

    claim: Claim
    origin: Origin
    since: float
    last_seen: float = 0.0
    identity: str = ""

    def is_held_by(self, caller: Caller) -> bool:
        """Whether the caller's certificate is of the identity that was admitted with this binding."""
        if caller.identity is not None:
            return caller.identity.node == self.claim.node
        return bool(caller.name) and caller.name == self.identity


class Accepting(Protocol):
    """Takes a claim into the ledger, or not; `MembershipTracker` does."""

    def accept(self, claim: Claim, origin: Origin) -> bool:
        """Whether it did."""
