"""Events of the gossip core. Membership can always be re-read; events report when to do so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wgmesh_agent.gossip.wire.endpoint import Endpoint, IPAddress
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus


@dataclass(frozen=True, slots=True)
class Member:
    """One member as this node sees it.

    `versions` is its version vector (6 bytes, or none; see the module `versions`), `since` the monotonic time of its
    current status. `says_goodbye`: it has announced its leave itself, from its own address.
    """

    name: str
    address: IPAddress
    port: int
    tags: Mapping[str, str]
    status: MemberStatus
    incarnation: int
    versions: bytes
    since: float
    says_goodbye: bool = False


@dataclass(frozen=True, slots=True)
class MemberJoined:
    """A member is alive that was unknown, failed or left."""

    member: Member


@dataclass(frozen=True, slots=True)
class MemberUpdated:
    """A member has other tags."""

    member: Member


@dataclass(frozen=True, slots=True)
class MemberLeft:
    """A member left gracefully, or was forced to."""

    member: Member


@dataclass(frozen=True, slots=True)
class MemberFailed:
    """A member failed to respond."""

    member: Member


@dataclass(frozen=True, slots=True)
class MemberReaped:
    """A member was removed."""

    member: Member


@dataclass(frozen=True, slots=True)
class UserEventReceived:
    """A user event, delivered once; also this node's own."""

    ltime: int
    name: str
    payload: bytes
    coalesce: bool


@dataclass(frozen=True, slots=True)
class NameConflict:
    """Another node claims the name `name`.

    `theirs` is the address it claims. If the name is this node's own, the cluster is queried for its holder and this
    event is repeated with the outcome in `lost`: True if most members do not know it as this node. None: not
    queried, or not answered yet.
    """

    name: str
    ours: Endpoint
    theirs: Endpoint
    lost: bool | None = None


@dataclass(frozen=True, slots=True)
class QueryReceived:
    """A query for this node; answer with `Serf.respond(id, payload)` before `deadline` (monotonic).

    `source_node` is the sender according to the query. `source_member` is the member from whose address its datagram
    came: the sender, if sent directly, or a member that rebroadcast the query; None if no member has that address.
    """

    ltime: int
    id: int
    source_node: str
    name: str
    payload: bytes
    deadline: float
    source_member: str | None = None


@dataclass(frozen=True, slots=True)
class QueryFinished:
    """A query of this node has all its answers, or has timed out."""

    id: int


@dataclass(frozen=True, slots=True)
class JoinFinished:
    """One address of a join was tried; `error` is None if its state was merged."""

    endpoint: Endpoint
    error: str | None


@dataclass(frozen=True, slots=True)
class LeaveFinished:
    """The leave has been broadcast; the node may be closed."""


@dataclass(frozen=True, slots=True)
class KeyringChanged:
    """A key query changed the keyring: store it."""


SerfEvent = (
    MemberJoined
    | MemberUpdated
    | MemberLeft
    | MemberFailed
    | MemberReaped
    | UserEventReceived
    | NameConflict
    | QueryReceived
    | QueryFinished
    | JoinFinished
    | LeaveFinished
    | KeyringChanged
)


@dataclass(frozen=True, slots=True)
class QueryResult:
    """Answers to a query by member name; `expected` are the live members that it was sent to."""

    expected: frozenset[str]
    acks: frozenset[str]
    responses: Mapping[str, bytes]
