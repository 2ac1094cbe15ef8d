"""This node's own facts: one source, durable where others rely on it, and announced to waiting tasks."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from tests.unit.factories import mesh_record
from tests.unit.local import CONFIG, ENDPOINT, MemoryRecords, local_node

from wgmesh_agent.gossip.wire.tags import MAX_META_BYTES, encode_tags
from wgmesh_agent.mesh.membership.local_node import NAT_KEEPALIVE_SECONDS, LocalNode, TagsTooLarge
from wgmesh_agent.mesh.membership.tags import TagRejected
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_agent.wireguard.model import Endpoint

KEY, NEXT = (PrivateKey.generate(os.urandom) for _ in range(2))
ELSEWHERE = Endpoint(ip_address("198.51.100.7"), 40000)
ID = bytes(8)


@pytest.fixture
def changed() -> Signal:
    return Signal()


@pytest.fixture
def local(changed: Signal) -> LocalNode:
    return local_node(mesh_record(node="alpha"), KEY, changed=changed)


def fill(local: LocalNode, left_bytes: int = 0) -> None:
    """Leaves so much room in the tags."""
    room = MAX_META_BYTES - len(encode_tags(local.tags()))
    local.set_user_tags({"large": "x" * (room - len("large") - 4 - left_bytes)})


@pytest.mark.parametrize(
    "change",
    [
        lambda local: local.use_key(NEXT),
        lambda local: local.announce_key(),
        lambda local: local.move(ELSEWHERE),
        lambda local: local.set_behind_nat(True),
        lambda local: local.advertise_routes((ip_network("192.168.7.0/24"),)),
        lambda local: local.set_secret_ids((ID,)),
        lambda local: local.set_user_tags({"rack": "7"}),
        lambda local: local.update_record(joined_unix=7),
        lambda local: local.replace_record(replace(local.record, joined_unix=7)),
    ],
)
def test_every_change_is_announced(
    local: LocalNode, changed: Signal, change: Callable[[LocalNode], None]
) -> None:
    before = changed.generation
    change(local)
    assert changed.generation == before + 1


def test_its_claim_says_what_it_is_now(local: LocalNode) -> None:
    local.use_key(NEXT)
    local.move(ELSEWHERE)
    local.advertise_routes((ip_network("192.168.7.0/24"),))
    local.set_secret_ids((ID,))
    claim = local.claim()
    assert (claim.node, claim.public_key, claim.endpoints) == ("alpha", NEXT.public(), (ELSEWHERE,))
    assert (claim.routes, claim.secret_ids) == ((ip_network("192.168.7.0/24"),), (ID,))


def test_gossip_is_told_of_a_key_once_the_mesh_has_accepted_it(local: LocalNode) -> None:
    local.use_key(NEXT)
    assert local.tags()["_pk"] == str(KEY.public())
    local.use_key(KEY)
    local.announce_key()
    assert local.tags()["_pk"] == str(KEY.public())
    local.use_key(NEXT)
    local.announce_key()
    assert local.tags()["_pk"] == str(NEXT.public())


def test_what_has_no_room_in_the_tags_changes_nothing(local: LocalNode, changed: Signal) -> None:
    local.move(Endpoint(ip_address("192.0.2.1"), 1))
    fill(local)
    before, tags = changed.generation, local.tags()
    with pytest.raises(TagsTooLarge, match="no room for the endpoint 198"):
        local.move(ELSEWHERE)
    with pytest.raises(TagsTooLarge, match="pre-shared secrets"):
        local.set_secret_ids((ID,))
    with pytest.raises(TagRejected, match="too large"):
        local.set_user_tags({**local.record.tags, "one": "more"})
    assert (changed.generation, local.tags()) == (before, tags)
    assert local.secret_ids == ()


def test_secrets_that_have_no_room_at_the_start_are_not_used(local: LocalNode) -> None:
    fill(local)
    assert local_node(local.record, KEY, secret_ids=(ID,)).secret_ids == ()
    assert local_node(mesh_record(), KEY, secret_ids=(ID,)).secret_ids == (ID,)


@pytest.mark.parametrize("tag", ["", "_pk", "_mine"])
def test_reserved_tags_are_not_for_users(local: LocalNode, tag: str) -> None:
    with pytest.raises(TagRejected, match="is reserved"):
        local.set_user_tags({tag: "x"})


def test_a_keepalive_comes_with_nat_and_goes_with_it_unless_it_was_set() -> None:
    local = local_node(mesh_record(), KEY)
    assert local.keepalive_seconds is None
    local.set_behind_nat(True)
    assert local.keepalive_seconds == NAT_KEEPALIVE_SECONDS
    local.set_behind_nat(False)
    assert local.keepalive_seconds == 0
    fixed = local_node(mesh_record(), KEY, config=replace(CONFIG, keepalive_seconds=7))
    fixed.set_behind_nat(True)
    assert fixed.keepalive_seconds == 7


def test_a_record_that_others_rely_on_is_durable_before_it_is_visible(changed: Signal) -> None:
    class Full(MemoryRecords):
        def replace(self, value: object) -> None:
            raise OSError("the disk is full")

    record = mesh_record(node="alpha")
    local = LocalNode(CONFIG, Full(record), KEY, ENDPOINT, changed)
    with pytest.raises(OSError, match="full"):
        local.replace_record(replace(record, joined_unix=7))
    assert local.record == record
    assert changed.generation == 0


def test_routes_are_those_of_the_admission_record() -> None:
    asked = mesh_record(routes=(ip_network("192.168.7.0/24"),))
    assert local_node(asked, KEY).routes == asked.routes
