"""Answers to `_where`: encoded endpoints are decoded again, and any bytes are usable endpoints or an error."""

from ipaddress import IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.mesh.discovery.endpoint_query import (
    MAX_ANSWER_BYTES,
    EndpointAnswerError,
    decode_endpoints,
    encode_endpoints,
)
from wgmesh_agent.mesh.membership.ledger import MAX_ENDPOINTS, usable_endpoint
from wgmesh_agent.wireguard.model import Endpoint
from wgmesh_api.meshservice_pb2 import Whereabouts

RANGES = (ip_network("10.232.0.0/16"), ip_network("fd32::/64"))
endpoints = st.builds(Endpoint, st.ip_addresses(), st.integers(0, 65535))


def unmapped(endpoint: Endpoint) -> Endpoint:
    address = endpoint.address
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return Endpoint(address.ipv4_mapped, endpoint.port)
    return endpoint


@given(st.lists(endpoints, max_size=20))
def test_what_is_told_is_read_as_far_as_it_can_be_used(told: list[Endpoint]) -> None:
    usable = [one for one in map(unmapped, told[:MAX_ENDPOINTS]) if usable_endpoint(one, RANGES)]
    assert decode_endpoints(encode_endpoints(told), RANGES) == tuple(dict.fromkeys(usable))


@given(st.binary(max_size=600))
def test_any_bytes_are_usable_endpoints_or_an_error(data: bytes) -> None:
    try:
        found = decode_endpoints(data, RANGES)
    except EndpointAnswerError:
        return
    assert len(found) <= MAX_ENDPOINTS
    assert all(usable_endpoint(one, RANGES) for one in found)


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff",
        bytes(MAX_ANSWER_BYTES + 1),
        Whereabouts(endpoints=[b"12345"]).SerializeToString(),
        Whereabouts(endpoints=[bytes(6), bytes(7)]).SerializeToString(),
    ],
)
def test_nonsense_is_refused(answer: bytes) -> None:
    with pytest.raises(EndpointAnswerError):
        decode_endpoints(answer, RANGES)


def test_nothing_is_taken_from_inside_the_mesh_or_this_machine() -> None:
    told = [Endpoint(ip_address(one), 54540) for one in ("10.232.1.1", "127.0.0.1", "fd32::1", "192.0.2.1")]
    assert decode_endpoints(encode_endpoints(told), RANGES) == (told[-1],)
