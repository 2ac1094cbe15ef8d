"""Files in the state folder, from any writer: decoded to a record that every consumer can use, or rejected."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import given
from tests.fuzz.odd_values import fuzzed, objects_like
from tests.unit.factories import mesh_record
from tests.unit.local import LocalClaim

from wgmesh_agent.gossip.memberlist.config import PROFILES, SerfConfig
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.state.codec import members_from_json, members_to_json, mesh_from_json, mesh_to_json
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_agent.wireguard.model import Endpoint

REFUSALS = (KeyError, TypeError, ValueError, AttributeError, RecursionError)
"""What `runtime.checksummed_file` takes for a damaged file, which is set aside."""
OWN = PrivateKey(bytes(31) + b"\x01").public()
OTHER = PrivateKey(bytes(31) + b"\x02").public()
RANGES = (ip_network("10.232.0.0/16"),)


def ledger() -> Ledger:
    return Ledger(LocalClaim("n9", OWN, (ip_address("10.232.0.9"),), RANGES))


def members() -> list[dict[str, Any]]:
    full = ledger()
    claim = Claim("n2", OTHER, (ip_address("10.232.0.2"),), (Endpoint(ip_address("192.0.2.2"), 54540),))
    assert full.accept(claim, Origin.RECORD, datetime(2030, 1, 1, tzinfo=UTC).timestamp()) is None
    written: list[dict[str, Any]] = json.loads(json.dumps(members_to_json(full)))
    return written


MESH: dict[str, Any] = json.loads(
    json.dumps(mesh_to_json(mesh_record(gossip_keys=(bytes(16),), tags={"a": "b"})))
)
MEMBERS = {"members": members()}


@given(objects_like(MESH))
@fuzzed
def test_a_mesh_record_that_is_read_can_be_used(content: Any) -> None:
    try:
        record = mesh_from_json(content)
    except REFUSALS:
        return
    assert mesh_from_json(json.loads(json.dumps(mesh_to_json(record)))) == record
    SerfConfig(
        node_name=record.node,
        address=record.addresses[0],
        port=record.gossip_port,
        profile=PROFILES[record.profile],
        tags=record.tags,
    )
    Ledger(LocalClaim(record.node, OWN, record.addresses, record.ranges))
    replace(record, joined_unix=1)


@given(objects_like(MEMBERS))
@fuzzed
def test_a_member_snapshot_that_is_read_can_be_used(content: Any) -> None:
    try:
        bindings = members_from_json(content["members"])
    except REFUSALS:
        return
    restored = Ledger(LocalClaim("n9", OWN, (ip_address("10.232.0.9"),), RANGES), bindings)
    assert members_from_json(json.loads(json.dumps(members_to_json(restored)))) == list(restored)
