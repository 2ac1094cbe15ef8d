"""Observations of hosts during a schedule, and which of them count as broken promises."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
from tests.chaos.host_observer import Watching
from tests.chaos.invariants import Broken
from tests.netns.mesh_harness import Tunnel, WireGuard
from tests.unit.factories import mesh_record

from wgmesh_agent.state.store import StateStore
from wgmesh_agent.wireguard.keys import PrivateKey

NODES = ("n1", "n2")


class Ground:
    """Two hosts with an agent each, every one the other's peer; `tunnels` is what `wg` says, by host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folders = {name: StateStore(folder / name, "lab") for name in NODES}
        self.tunnels: dict[str, dict[str, Tunnel]] = {name: {} for name in NODES}
        self.keys = {name: str(self.folders[name].private_key().public()) for name in NODES}
        self.down: set[str] = set()
        for number, name in enumerate(NODES, 1):
            self.live_at(name, f"10.232.0.{number}")
        self.meet("n1", self.keys["n2"], "10.232.0.2/32")
        self.meet("n2", self.keys["n1"], "10.232.0.1/32")
        self.watching = Watching(self, NODES)

    def wireguard(self, node: str) -> WireGuard | None:
        return None if node in self.down else WireGuard(self.keys[node], 1, self.tunnels[node])

    def state_file(self, node: str, name: str) -> Path:
        return self.folder / node / "lab" / name

    def runs(self, node: str) -> bool:
        return node not in self.down

    def live_at(self, name: str, address: str) -> None:
        record = mesh_record(mesh="lab", node=name, addresses=(ip_address(address),))
        self.folders[name].save_mesh(record)

    def meet(self, name: str, key: str, *ranges: str) -> None:
        self.tunnels[name][key] = Tunnel("192.0.2.1:1", frozenset(ranges), 0)

    def look(self) -> None:
        self.watching.look(NODES)


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def test_a_mesh_as_it_should_be_is_let_pass(ground: Ground) -> None:
    ground.watching.keep(NODES)
    ground.look()


def test_a_peer_that_is_no_member_is_seen_and_a_member_s_new_key_is_none(ground: Ground) -> None:
    ground.look()
    new = PrivateKey(bytes(range(32)))
    ground.folders["n2"].save_private_key(new, None)
    ground.meet("n1", str(new.public()), "(none)")
    ground.look()
    stranger = str(PrivateKey(bytes(32)).public())
    ground.meet("n1", stranger, "10.232.0.9/32")
    with pytest.raises(Broken, match="n1 has peers that are no members"):
        ground.look()


def test_ranges_that_overlap_are_seen(ground: Ground) -> None:
    ground.meet("n1", ground.keys["n1"], "10.232.0.0/30")
    with pytest.raises(Broken, match="n1 has ranges that overlap"):
        ground.look()


def test_a_peer_that_may_not_be_lost_is_missed(ground: Ground) -> None:
    ground.watching.keep(NODES)
    del ground.tunnels["n2"][ground.keys["n1"]]
    with pytest.raises(Broken, match="n2 lost the peers"):
        ground.look()


def test_two_that_live_at_one_address_are_seen(ground: Ground) -> None:
    ground.live_at("n2", "10.232.0.1")
    with pytest.raises(Broken, match=r"n1 and n2 both live at 10\.232\.0\.1"):
        ground.look()


def test_a_host_that_is_down_is_not_looked_at(ground: Ground) -> None:
    ground.live_at("n2", "10.232.0.1")
    ground.meet("n2", str(PrivateKey(bytes(32)).public()), "10.232.0.9/32")
    ground.down.add("n2")
    ground.look()
