"""The endpoint that a node advertises."""

from ipaddress import ip_address

import pytest

from wgmesh_agent.mesh.discovery.nat_detection import ObservedEndpoint, detect_nat
from wgmesh_agent.wireguard.model import Endpoint

INNER = Endpoint(ip_address("192.168.1.2"), 54540)
OUTER = Endpoint(ip_address("203.0.113.1"), 54540)
OTHER_PORT, THIRD_PORT = (Endpoint(OUTER.address, port) for port in (4001, 4002))
LIE = Endpoint(ip_address("198.51.100.66"), 1)
OWN = [INNER.address]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        # No observation: it is unknown.
        ([], ObservedEndpoint(INNER, behind_nat=None)),
        ([INNER, INNER], ObservedEndpoint(INNER, behind_nat=False)),
        ([OUTER], ObservedEndpoint(OUTER, behind_nat=True)),
        # One next to it on its own side of the NAT, one outside.
        ([INNER, OUTER], ObservedEndpoint(OUTER, behind_nat=True)),
        # A symmetric NAT: each destination has its own port.
        ([OTHER_PORT, THIRD_PORT], ObservedEndpoint(OUTER, behind_nat=True)),
        # One false observation against two is ignored, and one against one as well.
        ([OUTER, LIE, OUTER], ObservedEndpoint(OUTER, behind_nat=True)),
        ([OUTER, LIE], ObservedEndpoint(INNER, behind_nat=True)),
    ],
)
def test_what_is_told_follows_what_most_see(seen: list[Endpoint], expected: ObservedEndpoint) -> None:
    assert detect_nat(INNER, OWN, seen, given=False) == expected


def test_where_every_destination_sees_another_port_what_was_told_stays() -> None:
    seen = [OTHER_PORT, THIRD_PORT]
    assert detect_nat(INNER, OWN, seen, given=False, told=OTHER_PORT).endpoint == OTHER_PORT
    assert detect_nat(INNER, OWN, seen, given=False, told=INNER).endpoint == OUTER
    assert detect_nat(INNER, OWN, [OUTER, OUTER], given=False, told=OTHER_PORT).endpoint == OUTER


def test_where_others_disagree_what_was_told_stays_while_one_of_them_sees_it() -> None:
    """A member that has not learned of a move yet reports where this node was."""
    for seen in ([OUTER, LIE], [LIE, OUTER]):
        assert detect_nat(INNER, OWN, seen, given=False, told=OUTER).endpoint == OUTER
    assert detect_nat(INNER, OWN, [OTHER_PORT, LIE], given=False, told=OUTER).endpoint == INNER


@pytest.mark.parametrize("seen", [[], [OTHER_PORT], [INNER]])
def test_a_given_endpoint_is_told_whatever_others_see(seen: list[Endpoint]) -> None:
    assert detect_nat(OUTER, OWN, seen, given=True) == ObservedEndpoint(OUTER, behind_nat=True)
