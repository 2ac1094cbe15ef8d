"""Advertised bytes become socket addresses in one way only."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from wgmesh_agent.gossip.errors import PeerError
from wgmesh_agent.gossip.wire.endpoint import Endpoint, endpoint_of


@pytest.mark.parametrize(
    ("addr", "text"),
    [
        (bytes([10, 0, 0, 1]), "10.0.0.1:7946"),
        (ip_address("::ffff:10.0.0.1").packed, "10.0.0.1:7946"),
        (ip_address("fd00::1").packed, "[fd00::1]:7946"),
    ],
)
def test_four_bytes_sixteen_bytes_and_the_mapped_form_are_understood(addr: bytes, text: str) -> None:
    assert str(endpoint_of(addr, 7946)) == text


@pytest.mark.parametrize("length", [0, 1, 5, 15, 17])
def test_any_other_length_is_the_peers_fault(length: int) -> None:
    with pytest.raises(PeerError):
        endpoint_of(bytes(length), 1)


def test_an_endpoint_is_a_key() -> None:
    assert {Endpoint(ip_address("10.0.0.1"), 1): "x"}[endpoint_of(bytes([10, 0, 0, 1]), 1)] == "x"
