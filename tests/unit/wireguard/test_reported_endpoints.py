"""Endpoints that other machines report: refused, or taken by every consumer."""

from __future__ import annotations

import json
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.local import LocalClaim

from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.wireguard import genl, uapi
from wgmesh_agent.wireguard.diff import SetPeer
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Endpoint
from wgmesh_api.meshservice_pb2 import Peer
from wgmesh_api.values import UnusableValue, parse_address

KEY = PublicKey(bytes(31) + b"\1")
OTHER = PublicKey(bytes(31) + b"\2")
ZONES = st.one_of(st.text(max_size=30), st.sampled_from(["eth0", "1", "x]:1\nremove=true\n", "99999999999"]))
SPECIAL = st.sampled_from(
    ["0.0.0.0", "255.255.255.255", "127.0.0.1", "::", "::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "fe80::1"]
)
TEXTS = st.one_of(
    st.ip_addresses().map(str),
    SPECIAL,
    st.builds("{}%{}".format, st.ip_addresses(v=6), ZONES),
    st.text(max_size=60),
)
VALUES: st.SearchStrategy[Any] = st.one_of(
    TEXTS, st.none(), st.integers(), st.binary(max_size=20), st.floats()
)
PORTS: st.SearchStrategy[Any] = st.one_of(
    st.integers(),
    st.integers(1, 65535),
    st.integers(0, 70000).map(str),
    st.text(max_size=8),
    st.none(),
    st.floats(),
)


@given(VALUES, PORTS)
def test_whatever_is_reported_is_refused_or_taken_by_every_consumer(address: Any, port: Any) -> None:
    try:
        endpoint = Endpoint.reported(address, port)
    except UnusableValue:
        return
    every_consumer_takes(endpoint)


@given(TEXTS, st.integers(0, 70000))
def test_whatever_is_reported_as_one_text_is_refused_or_taken_by_every_consumer(host: str, port: int) -> None:
    for text in (f"{host}:{port}", f"[{host}]:{port}", host):
        try:
            endpoint = Endpoint.parse_reported(text)
        except ValueError:
            continue
        if endpoint.port:
            every_consumer_takes(endpoint)


def every_consumer_takes(endpoint: Endpoint) -> None:
    honest = SetPeer(OTHER, Endpoint(ip_address("192.0.2.1"), 1), create=True)
    change = SetPeer(KEY, endpoint, create=True)
    lines = uapi.encode_set([change, honest], lambda: KEY).decode("ascii").split("\n")
    assert [line for line in lines if line.startswith("endpoint=")] == [
        f"endpoint={endpoint}",
        "endpoint=192.0.2.1:1",
    ]
    assert len(lines) == len(uapi.encode_set([honest, honest], lambda: KEY).decode("ascii").split("\n"))
    (payload,) = genl.encode_set("wgblue", [change, honest], lambda: KEY)
    assert endpoint.address.packed in payload
    Peer(endpointIP=str(endpoint.address), endpointPort=endpoint.port).SerializeToString()
    assert Endpoint.parse(json.loads(json.dumps(str(endpoint)))) == endpoint
    family = socket.AF_INET if endpoint.address.version == 4 else socket.AF_INET6
    assert socket.inet_pton(family, str(endpoint.address)) == endpoint.address.packed
    found = socket.getaddrinfo(str(endpoint.address), endpoint.port, family, flags=socket.AI_NUMERICHOST)
    assert found[0][4][:2] == (str(endpoint.address), endpoint.port)


@given(VALUES)
def test_a_mesh_address_has_one_spelling_in_the_ledger_and_in_wireguard(address: Any) -> None:
    try:
        parsed = parse_address(address)
    except UnusableValue:
        return
    spelt = IPv4Address(parsed.packed) if parsed.version == 4 else IPv6Address(parsed.packed)
    assert parsed == spelt
    assert hash(parsed) == hash(spelt)


@given(st.ip_addresses(v=6), ZONES)
def test_a_zone_reaches_neither_ledger_nor_back_end(address: IPv6Address, zone: str) -> None:
    """Also where a reader forgot to parse: the last check is the ledger's own."""
    try:
        endpoint = Endpoint(ip_address(f"{address}%{zone}"), 1)
    except ValueError:
        return
    ledger = Ledger(LocalClaim("own", OTHER, (ip_address("10.232.1.1"),), ()))
    ledger.accept(Claim("evil", KEY, (), (endpoint,)), Origin.GOSSIP, 1.0)
    assert all(not binding.claim.endpoints for binding in ledger)
    text = uapi.encode_set([SetPeer(KEY, endpoint)], lambda: KEY).decode("ascii")
    assert text.count("\n") <= 5
    list(genl.encode_set("wgblue", [SetPeer(KEY, endpoint)], lambda: KEY))
