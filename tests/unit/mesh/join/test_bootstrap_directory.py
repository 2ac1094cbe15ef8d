"""Where bootstrap nodes serve, by all that is known of them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from tests.unit.kube.harness import claim
from tests.unit.local import LocalClaim

from wgmesh_agent.mesh.join.bootstrap_directory import CombinedBootstraps, KnownBootstraps, StaticBootstraps
from wgmesh_agent.mesh.membership.claims import Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.settings.model import HostPort
from wgmesh_agent.wireguard.keys import PublicKey

NAMED, OTHER = HostPort("boot.example", 5000), HostPort("192.0.2.2", 5000)
OWN = LocalClaim(
    "me", PublicKey(bytes([99]) * 32), (ip_address("10.232.0.99"),), (ip_network("10.232.0.0/16"),)
)


def test_those_of_several_directories_come_in_their_order_each_once() -> None:
    directories = (StaticBootstraps((NAMED,)), StaticBootstraps((OTHER, NAMED)))
    assert CombinedBootstraps(directories).bootstraps() == (NAMED, OTHER)


def test_members_that_admit_are_known_where_they_report_to_be_after_those_that_were_named() -> None:
    ledger = Ledger(OWN)
    for told in (
        claim("plain", 1),
        replace(claim("boot", 2), bootstrap=True),
        replace(claim("hidden", 3), bootstrap=True, endpoints=()),
        replace(
            claim("six", 4), bootstrap=True, endpoints=(*claim("six", 4).endpoints, *claim("x", 5).endpoints)
        ),
    ):
        assert ledger.accept(told, Origin.PEERS, 1.0) is None
    known = KnownBootstraps(StaticBootstraps((NAMED,)), ledger, 5000)
    assert list(known.bootstraps()) == [NAMED, OTHER, HostPort("192.0.2.4", 5000)]
    again = KnownBootstraps(StaticBootstraps((OTHER,)), ledger, 5000)
    assert list(again.bootstraps()) == [OTHER, HostPort("192.0.2.4", 5000)]
