"""The `_where` query, whose payload is a member's name: the endpoint of its WireGuard. Basis of hole punching.

The member itself answers with its own addresses, any other with the endpoint that its WireGuard has learned. Neither is
trusted: an answer is only a candidate, and only the holder of the peer's key can complete a handshake there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from google.protobuf.message import DecodeError

from wgmesh_agent.mesh.membership.ledger import MAX_ENDPOINTS, usable_endpoints
from wgmesh_agent.wireguard.model import Endpoint
from wgmesh_api.meshservice_pb2 import Whereabouts
from wgmesh_api.values import UnusableValue, check_address

WHERE_QUERY = "_where"
MAX_ANSWER_BYTES = 512
_PORT_BYTES = 2
_LENGTHS = (4 + _PORT_BYTES, 16 + _PORT_BYTES)


class EndpointAnswerError(Exception):
    """A malformed answer; one sentence."""


def encode_endpoints(endpoints: Iterable[Endpoint]) -> bytes:
    """At most MAX_ENDPOINTS of them, in order: 4 or 16 bytes of address, 2 of port (big-endian) each."""
    packed = [one.address.packed + one.port.to_bytes(_PORT_BYTES, "big") for one in endpoints]
    return Whereabouts(endpoints=packed[:MAX_ENDPOINTS]).SerializeToString()


def decode_endpoints(answer: bytes, ranges: Sequence[IPv4Network | IPv6Network]) -> tuple[Endpoint, ...]:
    """The usable endpoints of an answer, at most MAX_ENDPOINTS, none inside `ranges`.

    Raises:
        EndpointAnswerError: the answer is too long, not such a message, or contains a malformed endpoint.
    """
    if len(answer) > MAX_ANSWER_BYTES:
        raise EndpointAnswerError(f"an answer of {len(answer)} bytes, more than {MAX_ANSWER_BYTES}")
    try:
        packed = Whereabouts.FromString(answer).endpoints
    except DecodeError as error:
        raise EndpointAnswerError(f"not a list of endpoints: {error}") from error
    if any(len(one) not in _LENGTHS for one in packed):
        raise EndpointAnswerError("an endpoint that is neither IPv4 nor IPv6")
    return usable_endpoints((found for one in packed if (found := _endpoint(one)) is not None), ranges)


def _endpoint(packed: bytes) -> Endpoint | None:
    raw, port = packed[:-_PORT_BYTES], int.from_bytes(packed[-_PORT_BYTES:], "big")
    try:
        return Endpoint(check_address(IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw)), port)
    except UnusableValue:
        return None
