"""What membership is made of as values: claims, bindings, the mesh record, a policy without a roster, a name."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from tests.unit.factories import mesh_record
from tests.unit.kube.harness import claim

from wgmesh_agent.mesh.caller import Caller
from wgmesh_agent.mesh.membership.admission_record import AdmissionRecord
from wgmesh_agent.mesh.membership.claims import Binding, Claim, Origin
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.mesh.membership.names import default_node_name
from wgmesh_agent.mesh.membership.policy import StandalonePolicy
from wgmesh_api.identity import NodeIdentity, Role

BETA = claim("beta", 2)
RECORD = AdmissionRecord(
    "blue", "beta", BETA.public_key, BETA.addresses, 1, 2, b"blob", b"signature", b"signer"
)
V4, V6 = ip_network("192.168.0.0/16"), ip_network("fd00:7::/48")
CERTIFIED = Caller("certificate of beta", NodeIdentity("blue", "beta", Role.NODE), "wgmesh://blue/node/beta")


def test_a_claim_is_the_same_with_any_record_and_does_not_show_it() -> None:
    recorded = replace(BETA, admission=RECORD)
    assert recorded == BETA
    assert "signature" not in repr(recorded)


def test_a_claim_says_nothing_of_what_it_was_not_given() -> None:
    plain = Claim("beta", BETA.public_key, BETA.addresses, ())
    assert (plain.bootstrap, plain.admission, plain.routes, plain.secret_ids) == (False, None, None, None)
    binding = Binding(plain, Origin.GOSSIP, 1.0)
    assert (binding.last_seen, binding.identity) == (0.0, "")


@pytest.mark.parametrize(
    ("origin", "word"),
    [
        (Origin.ADMITTED, "admitted"),
        (Origin.ROSTER, "roster"),
        (Origin.PEERS, "peers"),
        (Origin.RECORD, "record"),
        (Origin.ANNOUNCED, "announced"),
        (Origin.GOSSIP, "gossip"),
    ],
)
def test_origins_are_in_files_by_these_words(origin: Origin, word: str) -> None:
    assert origin.value == word
    assert Origin(word) is origin


@pytest.mark.parametrize(
    ("node", "identity", "caller", "held"),
    [
        ("beta", "", CERTIFIED, True),
        ("gamma", CERTIFIED.name, CERTIFIED, False),
        ("beta", "holder", Caller("holder", None, "holder"), True),
        ("beta", "holder", Caller("another", None, "another"), False),
        ("beta", "", Caller("", None, ""), False),
    ],
    ids=["its name", "another's name", "the holder", "another holder", "nobody"],
)
def test_a_binding_is_held_by_whom_it_was_made_for(
    node: str, identity: str, caller: Caller, held: bool
) -> None:
    binding = Binding(claim(node, 2), Origin.ADMITTED, 1.0, identity=identity)
    assert binding.is_held_by(caller) is held


def test_a_mesh_record_hides_keys_and_record_and_compares_without_the_latter() -> None:
    record = mesh_record(gossip_keys=(b"k" * 32,), admission=RECORD)
    assert "kkk" not in repr(record)
    assert "signature" not in repr(record)
    assert record == replace(record, admission=None)
    assert record != replace(record, gossip_keys=())


def test_a_mesh_record_says_nothing_of_what_it_was_not_given() -> None:
    record: MeshRecord = mesh_record()
    assert not record.requires_admission
    assert record.admission is None
    assert record.routes == ()
    since = (record.gossip_keys_since, record.wireguard_key_since, record.wireguard_key_token)
    assert since == (0, 0, "")


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (("192.168.7.0/24", "192.168.0.0/16"), ("192.168.7.0/24", "192.168.0.0/16")),
        (("192.0.0.0/8", "10.0.0.0/24"), ()),
        (("fd00:7::/64", "fd00::/16"), ("fd00:7::/64",)),
        ((), ()),
    ],
)
def test_a_node_may_announce_what_lies_within_its_grants(
    asked: tuple[str, ...], given: tuple[str, ...]
) -> None:
    policy = StandalonePolicy((("beta", V4), ("beta", V6), ("gamma", ip_network("0.0.0.0/0"))))
    routes = tuple(map(ip_network, asked))
    assert policy.allowed_routes("beta", routes) == tuple(map(ip_network, given))
    assert policy.allowed_routes("nobody", routes) == ()


def test_without_a_roster_all_may_be_members_and_claims_say_which_routes() -> None:
    policy = StandalonePolicy(())
    assert policy.admits("anybody")
    assert policy.takes_routes_from_claims()
    assert policy.assigned_addresses("beta", CERTIFIED) is None
    assert policy.announced_key("beta") is None
    assert policy.member_since("beta") is None
    assert policy.roster_age_seconds() is None


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.232.1.1", "blueAE80101"),
        ("0.0.0.10", "blueA"),
        ("fd00::ab", "blueFD0000000000000000000000000000AB"),
    ],
)
def test_who_asks_for_no_name_gets_the_mesh_s_with_its_address(address: str, name: str) -> None:
    assert default_node_name("blue", ip_address(address)) == name
