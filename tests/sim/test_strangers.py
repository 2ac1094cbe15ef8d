"""Invented members disappear from a mesh with time, although all members exchange all that they know."""

from __future__ import annotations

from dataclasses import dataclass

from tests.sim.simulator import PORT, Simulator

from wgmesh_agent.gossip.memberlist.unverified_members import STRANGER_SECONDS
from wgmesh_agent.gossip.wire.endpoint import IPAddress
from wgmesh_agent.gossip.wire.messages import Alive, encode
from wgmesh_agent.gossip.wire.versions import OWN_VERSIONS

HONEST, INVENTED = 5, 6000
TOLD_OVER_SECONDS = 120.0
LONGEST_SECONDS = STRANGER_SECONDS + 120.0


@dataclass(frozen=True, slots=True)
class Ledger:
    """Knows the members of the simulator's cluster, by name."""

    def is_vouched_for(self, name: str) -> bool:
        return not name.startswith("invented")

    def is_stranger(self, name: str) -> bool:
        return name.startswith("invented")

    def holder(self, address: IPAddress) -> str | None:
        return None


def test_once_nobody_invents_members_any_more_all_forget_them_for_good() -> None:
    sim = Simulator(1, key=bytes(32), vouching=Ledger())
    *honest, hostile = sim.cluster(HONEST + 1)
    sim.run_until(sim.all_alive, 30, "the cluster is whole")
    codec = hostile.core._memberlist._packets
    for number in range(INVENTED):
        alive = Alive(
            1, f"invented{number}", bytes([10, 9, number >> 8, number & 255]), PORT, b"", OWN_VERSIONS
        )
        sim._send(hostile, codec.encode([encode(alive)]), honest[number % HONEST].endpoint)
        sim.run(TOLD_OVER_SECONDS / INVENTED)
    sim.kill(hostile)
    assert any(len(node.core.members()) > HONEST + 100 for node in honest)
    sim.run(LONGEST_SECONDS)
    left = {
        node.name: sorted(set(node.core.members()) - {one.name for one in sim.nodes.values()})
        for node in honest
    }
    assert not any(left.values()), left
