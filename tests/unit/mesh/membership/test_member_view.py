"""Who of the members gossip knows is there, and what the ledger has of them."""

from __future__ import annotations

from collections.abc import Set
from ipaddress import ip_address, ip_network

from tests.unit.local import LocalClaim

from wgmesh_agent.gossip.serf.events import Member, QueryResult
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.membership.tags import PROBE_PORT
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Device, Endpoint, Peer

PORT = 7947
STATUSES = {
    "alpha": MemberStatus.ALIVE,
    "beta": MemberStatus.FAILED,
    "gone": MemberStatus.LEFT,
    "delta": MemberStatus.ALIVE,
    "old": MemberStatus.ALIVE,
}


def member(name: str, number: int, status: MemberStatus) -> Member:
    tags = {} if name == "old" else {PROBE_PORT: str(PORT)}
    return Member(name, ip_address(f"10.232.0.{number}"), 7946, tags, status, 1, b"", 0.0)


MEMBERS = {name: member(name, number, status) for number, (name, status) in enumerate(STATUSES.items(), 1)}


def ledger(*, bootstraps: Set[str], without: str = "") -> Ledger:
    own = LocalClaim(
        "own", PublicKey(bytes([255]) * 32), (ip_address("10.232.9.9"),), (ip_network("10.232.0.0/16"),)
    )
    made = Ledger(own)
    for name, one in MEMBERS.items():
        if name != without:
            key = PublicKey(bytes([one.address.packed[3]]) * 32)
            assert (
                made.accept(Claim(name, key, (one.address,), (), name in bootstraps), Origin.PEERS, 0) is None
            )
    return made


class Gossip:
    """Members that answer nothing."""

    def members(self) -> dict[str, Member]:
        return MEMBERS

    async def query(self, *_: object, **__: object) -> QueryResult:
        return QueryResult(frozenset(MEMBERS), frozenset(), {})


def view(*, bootstraps: Set[str] = frozenset(), without: str = "") -> MemberView:
    return MemberView(Gossip(), ledger(bootstraps=bootstraps, without=without))


def test_those_who_left_are_not_among_the_members() -> None:
    assert [one.name for one in view().present()] == ["alpha", "beta", "delta", "old"]


def test_only_living_bootstrap_nodes_can_be_asked() -> None:
    assert view(bootstraps={"alpha", "beta"}).alive_bootstraps() == ["alpha"]


def test_who_failed_is_probed_and_who_does_not_listen_or_is_not_bound_is_not() -> None:
    probed = view(without="delta").probe_targets(PORT)
    assert probed == {ip_address("10.232.0.1"): "alpha", ip_address("10.232.0.2"): "beta"}


def test_who_is_said_to_have_left_is_probed_as_long_as_its_tunnel_is_waited_for() -> None:
    assert ip_address("10.232.0.3") in view().probe_targets(PORT, [MEMBERS["gone"]])


def test_a_member_s_endpoint_is_that_of_the_peer_which_has_its_key() -> None:
    there = Endpoint(ip_address("192.0.2.1"), 51820)
    key = PublicKey(bytes([1]) * 32)
    device = Device("wgm0", peers={key: Peer(key, there)})
    assert view().peer_endpoint(device, ip_address("10.232.0.1")) == there
    assert view().peer_endpoint(device, ip_address("10.232.0.2")) is None
    assert view().peer_endpoint(device, ip_address("10.232.0.77")) is None


def test_a_node_is_isolated_while_nobody_else_is_alive() -> None:
    class Alone(Gossip):
        def members(self) -> dict[str, Member]:
            own = Member("own", ip_address("10.232.9.9"), 7946, {}, MemberStatus.ALIVE, 1, b"", 0.0)
            return {"own": own, "beta": MEMBERS["beta"], "gone": MEMBERS["gone"]}

    assert MemberView(Alone(), ledger(bootstraps=set())).is_isolated()
    assert not view().is_isolated()
