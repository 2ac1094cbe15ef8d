"""Admission decision on a join request: admitted with name and addresses, or denied with a reason."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from wgmesh_agent.mesh.caller import Caller
from wgmesh_agent.mesh.membership.admission_record import MAX_ROUTES
from wgmesh_agent.mesh.membership.claims import Binding
from wgmesh_agent.mesh.membership.ledger import Ledger, usable_endpoint
from wgmesh_agent.mesh.membership.secret_ids import split_ids
from wgmesh_agent.wireguard.keys import InvalidKeyError, PublicKey
from wgmesh_agent.wireguard.model import Endpoint, IPAddress
from wgmesh_api.identity import NodeIdentity
from wgmesh_api.meshservice_pb2 import JoinRequest
from wgmesh_api.names import is_node_name
from wgmesh_api.values import UnusableValue, parse_network


class DenialReason(enum.StrEnum):
    """The label of the counter; the message goes to the joiner."""

    WRONG_MESH = "wrong_mesh"
    WRONG_IDENTITY = "wrong_identity"
    BAD_KEY = "bad_key"
    BAD_NAME = "bad_name"
    BAD_ENDPOINT = "bad_endpoint"
    BAD_ROUTE = "bad_route"
    BAD_SECRETS = "bad_secrets"
    KEY_IN_USE = "key_in_use"
    NAME_IN_USE = "name_in_use"
    EXHAUSTED = "exhausted"
    NOT_LISTED = "not_listed"
    REVOKED = "revoked"
    PROOF = "proof"
    TOKEN = "token"  # noqa: S105


class Denied(Exception):
    """The request is denied; the message is for the joining user."""

    def __init__(self, reason: DenialReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class JoinApplicant:
    """A join request with all fields validated.

    Attributes:
        node: the requested name, or the certificate's; empty: to be derived from the address.
        known: the existing binding of this very node, whose addresses it keeps.
        replaces: the binding of the same node under a key that it lost.
        routes: networks behind it that it requests to advertise.
        secret_ids: of the secrets for pre-shared keys that it holds.
    """

    node: str
    public_key: PublicKey
    endpoint: Endpoint
    existing: Binding | None = None
    replaces: Binding | None = None
    routes: tuple[IPv4Network | IPv6Network, ...] = ()
    secret_ids: tuple[bytes, ...] = ()

    @property
    def kept_addresses(self) -> tuple[IPAddress, ...]:
        earlier = self.existing or self.replaces
        return earlier.claim.addresses if earlier else ()


def evaluate(
    request: JoinRequest,
    caller: Caller,
    mesh_name: str,
    ledger: Ledger,
    is_alive: Callable[[str], bool],
    proven: PublicKey | None = None,
) -> JoinApplicant:
    """Validates a request against the certificate and the ledger.

    Args:
        is_alive: whether gossip reports the member of this name alive (or not yet certainly failed).
        proven: the key whose possession the caller has proven; the member it belongs to may be replaced.

    Raises:
        Denied: with a message for the joining user.
    """
    if request.meshName != mesh_name:
        raise Denied(
            DenialReason.WRONG_MESH, f"this bootstrap node serves a mesh other than {request.meshName!r:.40}"
        )
    node = _node_name(request, caller.identity, mesh_name)
    public_key = _public_key(request.pubkey)
    endpoint = _endpoint(request.endpointIP, request.endpointPort, ledger.local.ranges)
    routes, secret_ids = _routes(list(request.routes)), _secret_ids(request.secretIds)
    if public_key == ledger.local.public_key or node == ledger.local.node:
        what = "public key" if public_key == ledger.local.public_key else "name"
        reason = DenialReason.KEY_IN_USE if what == "public key" else DenialReason.NAME_IN_USE
        raise Denied(reason, f"the {what} is the bootstrap node's own")
    known = ledger.by_key(public_key)
    if known is not None:
        if node and known.claim.node and node != known.claim.node:
            raise Denied(
                DenialReason.KEY_IN_USE,
                f"the public key is already bound to {known.claim.node}: give this machine its own state directory",
            )
        # A public key is public: repeating it proves nothing.
        if not (caller.is_anonymous or known.is_held_by(caller) or proven == public_key):
            raise Denied(
                DenialReason.KEY_IN_USE,
                f"the public key is bound to {known.claim.node or 'a member'}, which was admitted with another "
                "certificate: use that one, or a wgmesh that proves possession of the key",
            )
        return JoinApplicant(node or known.claim.node, public_key, endpoint, known, None, routes, secret_ids)
    named = ledger.by_name(node) if node else None
    is_same = named is not None and named.claim.public_key == proven
    if named is not None and not is_same and not _may_replace(named, caller, is_alive(node)):
        raise Denied(
            DenialReason.NAME_IN_USE,
            f"the name {node} is in use by another node: choose another, or run `wgmesh leave {node}` there",
        )
    return JoinApplicant(node, public_key, endpoint, None, named, routes, secret_ids)


def _may_replace(named: Binding, caller: Caller, alive: bool) -> bool:
    """A certificate for this very node is sufficient; one of another kind only if the old node is down as well."""
    if caller.identity is not None:
        return True
    return not alive and (caller.is_anonymous or named.is_held_by(caller))


def _node_name(request: JoinRequest, identity: NodeIdentity | None, mesh_name: str) -> str:
    name = request.nodeName
    if name and not is_node_name(name):
        raise Denied(
            DenialReason.BAD_NAME,
            f"{name!r:.80} is not a valid node name: use 1 to 64 letters, digits, '.', '_' or '-'",
        )
    if identity is None:
        return name
    if identity.mesh != mesh_name:
        raise Denied(
            DenialReason.WRONG_IDENTITY, f"the certificate is for the mesh {identity.mesh}, not {mesh_name}"
        )
    if name and name != identity.node:
        raise Denied(
            DenialReason.WRONG_IDENTITY, f"the certificate is for the node {identity.node}, not {name}"
        )
    return identity.node


def _public_key(text: str) -> PublicKey:
    try:
        return PublicKey.from_base64(text)
    except InvalidKeyError as error:
        raise Denied(DenialReason.BAD_KEY, f"the public key is not a WireGuard key: {error}") from error


def _secret_ids(raw: bytes) -> tuple[bytes, ...]:
    try:
        return split_ids(raw)
    except ValueError as error:
        raise Denied(DenialReason.BAD_SECRETS, f"malformed ids of pre-shared secrets: {error}") from error


def _endpoint(address: str, port: int, ranges: tuple[IPv4Network | IPv6Network, ...]) -> Endpoint:
    try:
        endpoint = Endpoint.reported(address, port)
    except UnusableValue as error:
        raise Denied(DenialReason.BAD_ENDPOINT, f"unusable endpoint: {error}") from error
    if not usable_endpoint(endpoint, ranges):
        raise Denied(
            DenialReason.BAD_ENDPOINT,
            f"an endpoint at {endpoint.address} cannot be reached: it lies inside the mesh ({format_ranges(ranges)})",
        )
    return endpoint


def _routes(texts: list[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    if len(texts) > MAX_ROUTES:
        raise Denied(DenialReason.BAD_ROUTE, f"{len(texts)} routes are more than {MAX_ROUTES}")
    try:
        return tuple(dict.fromkeys(parse_network(text) for text in texts))
    except UnusableValue as error:
        raise Denied(DenialReason.BAD_ROUTE, f"a route is malformed: {error}") from error


def format_ranges(ranges: tuple[IPv4Network | IPv6Network, ...]) -> str:
    return ", ".join(map(str, ranges))
