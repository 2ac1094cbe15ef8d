"""The reserved tags: what a member says of itself comes back as the claim it was."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from wgmesh_agent.gossip.wire.tags import encode_tags
from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.mesh.membership.tags import TagsError, claim_from_tags, own_tags
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Endpoint
from wgmesh_api.preshared import MOST_SECRETS

CLAIM = Claim(
    "alpha",
    PublicKey(bytes(range(32))),
    (ip_address("10.232.0.5"), ip_address("fd00::5")),
    (Endpoint(ip_address("192.0.2.1"), 54540),),
    bootstrap=True,
    secret_ids=(b"\xff\xfe\xfd\xfc", b"1234"),
)


def test_a_claim_survives_the_way_through_tags() -> None:
    tags = own_tags(CLAIM, {"role": "db"})
    assert tags["role"] == "db"
    assert claim_from_tags("alpha", tags) == CLAIM


def test_the_users_tags_cannot_replace_the_reserved_ones() -> None:
    assert own_tags(CLAIM, {"_pk": "evil"})["_pk"] == str(CLAIM.public_key)


def test_a_member_that_has_set_no_tags_yet_claims_nothing() -> None:
    assert claim_from_tags("alpha", {}) is None


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("_pk", "short"),
        ("_i", "10.232.0"),
        ("_i", "fd00::5%1"),
        ("_i", "127.0.0.1"),
        ("_addr", "nowhere"),
        ("_addr", "2001:db8::9%eth0"),
        ("_addr", "2001:db8::9%x]:1\npublic_key=00\nremove=true\nendpoint=[::1"),
        ("_addr", "255.255.255.255"),
        ("_addr", "::ffff:127.0.0.1"),
        ("_addr", "fe80::1"),
        ("_port", "0"),
        ("_port", "-1"),
        ("_port", "99999"),
        ("_port", "٣"),
        ("_psk", "abc"),
        ("_psk", "A" * 40),
        ("_psk", "####"),
    ],
)
def test_a_malformed_tag_is_a_tags_error(tag: str, value: str) -> None:
    with pytest.raises(TagsError, match="alpha"):
        claim_from_tags("alpha", {**own_tags(CLAIM, {}), tag: value})


def test_tags_without_a_mesh_address_are_a_tags_error() -> None:
    with pytest.raises(TagsError, match="no mesh address"):
        claim_from_tags("alpha", {"_pk": str(CLAIM.public_key)})


def test_the_tags_of_the_longest_claim_leave_room_for_a_users() -> None:
    """512 bytes are all that a member may have."""
    claim = replace(
        CLAIM,
        addresses=(ip_address("10.232.255.254"), ip_address("fd00:1111:2222:3333:4444:5555:6666:7777")),
        endpoints=(Endpoint(ip_address("2001:db8:1111:2222:3333:4444:5555:6666"), 54540),),
        secret_ids=tuple(bytes([n]) * 4 for n in range(MOST_SECRETS)),
    )
    assert len(encode_tags(own_tags(claim, {}, probe_port=65535))) <= 256


def test_who_holds_no_secret_says_nothing_of_it() -> None:
    tags = own_tags(replace(CLAIM, secret_ids=()), {})
    assert "_psk" not in tags
    told = claim_from_tags("alpha", tags)
    assert told is not None
    assert told.secret_ids == ()
