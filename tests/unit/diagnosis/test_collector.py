"""The facts for `wgmesh doctor`: about which links they are collected, and their values for a good link and a
bad one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from tests.unit.clock import TestClock
from tests.unit.device import PlayedDevice
from tests.unit.factories import mesh_record
from tests.unit.machine import PlayedMachine
from tests.unit.members import PlayedGossip, PlayedProbing, gossip_member
from tests.unit.node import composed

from wgmesh_agent.diagnosis import collector as module
from wgmesh_agent.diagnosis.collector import MAX_LINKS, FactCollector
from wgmesh_agent.diagnosis.link_sources import LinkSources
from wgmesh_agent.diagnosis.own_facts import OwnFactsCollector
from wgmesh_agent.diagnosis.peer_query import PeerAnswer, PeerQuery
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.membership.policy import StandalonePolicy
from wgmesh_agent.mesh.probing.liveness import LinkState
from wgmesh_agent.mesh.probing.padded_prober import PaddedProber
from wgmesh_agent.wireguard.errors import KernelError
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Device, Endpoint, Peer
from wgmesh_api.agent_pb2 import ExamineResult, LinkView

HEARD = LinkState(1.0, True, True)


class Answers(PeerQuery):
    """Views of members: of the queried members, in turn."""

    def __init__(self) -> None:
        self.said: dict[str, PeerAnswer] = {}
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.living: list[str] = []

    async def ask(self, about: str, nodes: Sequence[str]) -> dict[str, PeerAnswer]:
        self.asked.append((about, tuple(nodes)))
        return {name: answer for name, answer in self.said.items() if name in nodes}

    def alive(self) -> list[str]:
        return self.living


class CollectorHarness:
    """The node n9; gossip, probes, WireGuard and other members' answers are played."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.machine, self.views = TestClock(), PlayedMachine(), Answers()
        self.node = composed(folder, mesh_record(addresses=(ip_address("127.0.0.1"),)))
        self.gossip, self.probing = PlayedGossip("n9"), PlayedProbing()
        self.probing.padded = PaddedProber(lambda address, payload: None)
        self.device = PlayedDevice(Device("wgblue"))
        sources = LinkSources(
            local=self.node.local,
            ledger=self.node.ledger,
            members=MemberView(self.gossip, self.node.ledger),
            gossip=self.gossip,
            device=self.device,
            probing=self.probing,
            psk=self.node.psk,
            flaps=self.node.links.flaps,
            rejections=self.node.rejections,
        )
        own = OwnFactsCollector(
            sources,
            self.node.repairs,
            self.node.indirect,
            self.node.tasks,
            StandalonePolicy(()),
            None,
            self.clock,
        )
        self.facts = FactCollector(sources, own, self.views, self.clock, self.machine.trigger)

    def member(self, node: str, number: int, *, link: LinkState | None = HEARD) -> Claim:
        """Bound, alive, and programmed with a handshake of five seconds ago."""
        endpoint = Endpoint(ip_address("127.0.0.1"), 9)
        claim = Claim(
            node, PublicKey(number.to_bytes(32, "big")), (ip_address(f"10.232.1.{number}"),), (endpoint,)
        )
        assert self.node.ledger.accept(claim, Origin.PEERS, 1.0) is None
        self.gossip.table[node] = gossip_member(node)
        self.views.living.append(node)
        if link is not None:
            self.probing.heard[node] = link
        peer = Peer(
            claim.public_key,
            endpoint,
            allowed_ips=frozenset({ip_network(f"10.232.1.{number}/32")}),
            last_handshake=self.clock.unix() - 5,
            rx_bytes=100,
            tx_bytes=100,
        )
        self.device.device = Device("wgblue", peers={**self.device.device.peers, claim.public_key: peer})
        return claim

    async def collected(self, name: str = "") -> ExamineResult:
        async with asyncio.timeout(20):
            return await self.facts.collect(name)


@pytest.fixture
async def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CollectorHarness:
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.01)
    return CollectorHarness(tmp_path)


async def test_of_a_good_link_it_says_what_both_ends_see(harness: CollectorHarness) -> None:
    beta = harness.member("beta", 2)
    harness.views.said["beta"] = PeerAnswer(LinkView(heard=True, addressChanges=3), 40, 5)
    result = await harness.collected()
    assert (result.ok, result.linkCount, result.badCount) == (True, 1, 0)
    (link,) = result.links
    assert (link.nodeName, link.status, link.boundKey) == ("beta", "alive", str(beta.public_key))
    assert (link.programmed, link.allowed, link.heard, link.hearsUs) == (True, True, True, True)
    assert link.handshakeMsecAgo == 5000
    assert (link.view.heard, link.clockAheadMsec, link.clockDoubtMsec) == (True, 40, 5)
    assert result.own.addressChanges == 3
    assert harness.machine.triggered == []


@pytest.mark.parametrize("how", ["failed", "unknown to gossip", "not programmed", "not heard", "silent"])
async def test_a_link_is_bad_by_whatever_is_wrong_with_it(harness: CollectorHarness, how: str) -> None:
    beta = harness.member("beta", 2, link=None if how == "silent" else HEARD)
    harness.member("gamma", 3)
    if how == "failed":
        harness.gossip.table["beta"] = gossip_member("beta", status=MemberStatus.FAILED)
    elif how == "unknown to gossip":
        del harness.gossip.table["beta"]
    elif how == "not programmed":
        peers = {key: peer for key, peer in harness.device.device.peers.items() if key != beta.public_key}
        harness.device.device = Device("wgblue", peers=peers)
    elif how == "not heard":
        harness.probing.heard["beta"] = LinkState(9.0, receiving=True, peer_receiving=False)
    else:
        harness.clock.unix_seconds += 1000
    result = await harness.collected()
    assert result.badCount == 1
    assert [link.nodeName for link in result.links] == ["beta", "gamma"]
    assert harness.machine.triggered == list(beta.addresses)


async def test_a_bad_link_is_watched_and_others_are_asked_about_it(harness: CollectorHarness) -> None:
    beta = harness.member("beta", 2, link=LinkState(30.0, receiving=False, peer_receiving=False))
    harness.member("gamma", 3)
    harness.views.said["beta"] = PeerAnswer(LinkView(rxBytes=7, txBytes=9), 0, 0)
    harness.views.said["gamma"] = PeerAnswer(LinkView(status="failed"), 0, 0)
    result = await harness.collected("beta")
    (link,) = result.links
    assert link.watched
    assert (link.viewRxGrowth, link.viewTxGrowth) == (0, 0)
    assert [view.status for view in link.others] == ["failed"]
    assert ("beta", ("gamma",)) in harness.views.asked
    assert harness.machine.triggered == list(beta.addresses)
    assert link.gossipTried
    assert link.gossipTrouble


async def test_a_wireguard_that_cannot_be_read_is_a_fact_itself(harness: CollectorHarness) -> None:
    harness.member("beta", 2)
    harness.device.fault = KernelError("no netlink here")
    result = await harness.collected()
    assert result.own.interfaceTrouble == "no netlink here"
    assert not result.links[0].programmed


async def test_of_many_links_all_bad_ones_up_to_a_bound_and_some_good_ones_are_looked_at(
    harness: CollectorHarness,
) -> None:
    for number in range(2, 42):
        harness.member(f"n{number:02}x", number)
    for number in range(2, 32):
        harness.gossip.table[f"n{number:02}x"] = gossip_member(f"n{number:02}x", status=MemberStatus.FAILED)
    result = await harness.collected()
    assert (result.linkCount, result.badCount) == (40, 30)
    assert len(result.links) == MAX_LINKS
    bad = [link.nodeName for link in result.links if link.status == "failed"]
    assert len(bad) == module.MAX_BAD_LINKS
