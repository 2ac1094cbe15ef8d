"""Routes beyond nodes: taken where they touch nothing, refused with a sentence where they do."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.mesh.membership.claims import Binding, Claim, Origin
from wgmesh_agent.mesh.routing.route_selection import LocalRoutes, select_routes
from wgmesh_agent.wireguard.keys import PublicKey

OWN = LocalRoutes((ip_network("10.232.0.0/16"), ip_network("fd00::/64")))


def member(number: int, *routes: str, since: float = 0.0) -> Binding:
    claim = Claim(
        f"n{number}",
        PublicKey(number.to_bytes(32, "big")),
        (ip_address(f"10.232.0.{number}"),),
        (),
        routes=tuple(map(ip_network, routes)) or None,
    )
    return Binding(claim, Origin.RECORD, since)


def taken(*bindings: Binding, own: LocalRoutes = OWN) -> dict[str, set[str]]:
    found = select_routes(bindings, own)
    names = {binding.claim.public_key: binding.claim.node for binding in bindings}
    return {names[key]: set(map(str, routes)) for key, routes in found.by_key.items()}


def test_routes_that_touch_nothing_are_taken() -> None:
    found = taken(member(1, "192.168.7.0/24", "fd07::/48"), member(2, "192.168.8.0/24"), member(3))
    assert found == {"n1": {"192.168.7.0/24", "fd07::/48"}, "n2": {"192.168.8.0/24"}}


def test_who_was_bound_first_keeps_a_network_and_the_rest_of_the_other_s_counts() -> None:
    later = member(1, "192.168.0.0/16", "10.9.0.0/24", since=2.0)
    assert taken(later, member(2, "192.168.8.0/24", since=1.0)) == {
        "n2": {"192.168.8.0/24"},
        "n1": {"10.9.0.0/24"},
    }


def test_when_the_first_goes_the_second_takes_over() -> None:
    second = member(2, "192.168.7.0/24", since=2.0)
    assert taken(member(1, "192.168.7.0/24", since=1.0), second) == {"n1": {"192.168.7.0/24"}}
    assert taken(second) == {"n2": {"192.168.7.0/24"}}


def test_the_mesh_what_is_connected_and_what_is_announced_here_is_nobody_else_s() -> None:
    own = LocalRoutes(
        OWN.ranges, (ip_network("172.18.0.0/16"), ip_network("172.18.5.0/24")), (ip_network("10.244.0.0/24"),)
    )
    routes = ("10.232.9.0/24", "10.0.0.0/8", "172.18.5.128/25", "10.244.0.0/16", "fd00::/32")
    found = select_routes([member(1, *routes, "10.244.1.0/24")], own)
    assert [set(map(str, one)) for one in found.by_key.values()] == [{"10.244.1.0/24"}]
    assert {str(refusal.route) for refusal in found.rejections} == set(routes)
    assert str(found.rejections[0]).startswith("the route 10.232.9.0/24 of n1 overlaps 10.232.0.0/16")


@given(st.lists(st.lists(st.tuples(st.integers(0, 63), st.integers(26, 32)), max_size=4), max_size=8))
def test_what_is_taken_never_overlaps_whatever_is_announced(networks: list[list[tuple[int, int]]]) -> None:
    bindings = [
        member(
            n,
            *(str(ip_network((int(ip_address("192.0.2.0")) + at, bits), strict=False)) for at, bits in some),
        )
        for n, some in enumerate(networks, 1)
    ]
    own = LocalRoutes(OWN.ranges, (ip_network("192.0.2.16/28"),))
    found = select_routes(bindings, own)
    kept = [route for routes in found.by_key.values() for route in routes]
    assert not [(a, b) for i, a in enumerate(kept) for b in (*kept[i + 1 :], *own.connected) if a.overlaps(b)]
    asked = sum(len(binding.claim.routes or ()) for binding in bindings)
    assert len(kept) + len(found.rejections) == asked
