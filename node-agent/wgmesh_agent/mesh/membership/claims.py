"""Claims and bindings: a member's name, WireGuard key and mesh addresses, fixed when it was admitted."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Protocol

from wgmesh_agent.mesh.caller import Caller
from wgmesh_agent.mesh.membership.admission_record import AdmissionRecord
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Endpoint, IPAddress, Network


class Origin(enum.StrEnum):
    """First source of a binding; only the first four are authenticated."""

    ADMITTED = "admitted"  # this node's own Join service
    ROSTER = "roster"  # the cluster's own list of members
    PEERS = "peers"  # a bootstrap node's Peers() stream
    RECORD = "record"  # an admission record, from any source
    ANNOUNCED = "announced"  # the user event _j
    GOSSIP = "gossip"  # a member's own tags


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim about a member.

    Attributes:
        node: its name; empty in announcements of the original, which do not contain one.
        public_key: its WireGuard key.
        addresses: its mesh addresses, at least one, the primary one first.
        endpoints: of its WireGuard, best first; may be empty.
        bootstrap: whether it admits joiners.
        admission: the record signed by a bootstrap node; proves nothing before it is verified.
        routes: networks behind it, from an authorised source; None: unknown.
        secret_ids: ids of the secrets for pre-shared keys that it holds, the newest first; None: unknown.
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
    """An accepted claim.

    Attributes:
        claim: name, key and addresses as accepted; endpoints and role as last received.
        origin: its first source.
        since: unix seconds of the first acceptance.
        last_seen: unix seconds when gossip last reported it alive; 0 if never.
        identity: the identity that this node's Join service authenticated; empty if unknown.
    """

    claim: Claim
    origin: Origin
    since: float
    last_seen: float = 0.0
    identity: str = ""

    def is_held_by(self, caller: Caller) -> bool:
        """Whether the caller's certificate has the identity that was admitted with this binding."""
        if caller.identity is not None:
            return caller.identity.node == self.claim.node
        return bool(caller.name) and caller.name == self.identity


class Accepting(Protocol):
    """Accepts or rejects a claim; `MembershipTracker` implements it."""

    def accept(self, claim: Claim, origin: Origin) -> bool:
        """Whether the claim was accepted."""
