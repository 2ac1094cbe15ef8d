"""A node that no member knows any more: when it requests admission again, and what an admission changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.unit.factories import mesh_record
from tests.unit.kube.harness import claim
from tests.unit.members import PlayedGossip
from tests.unit.node import KEY, composed, lookup
from tests.unit.policies import standalone
from tests.unit.waiting import until

from wgmesh_agent.agent import rejoin as module
from wgmesh_agent.agent.gossip_joiner import GossipJoiner
from wgmesh_agent.agent.gossip_keys import GossipKeys
from wgmesh_agent.agent.node import MeshNode
from wgmesh_agent.agent.rejoin import Adoption, Isolation, KeyReplacementJoin, Readmitter, Rejoin
from wgmesh_agent.agent.session_end import SessionEnd, SessionOutcome
from wgmesh_agent.agent.session_start import SessionConfig
from wgmesh_agent.gossip.serf import foreign_key_detector
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.mesh.discovery.advertised_endpoint import NoUsableEndpoint
from wgmesh_agent.mesh.join.bootstrap_directory import StaticBootstraps
from wgmesh_agent.mesh.join.client import JoinRefused, JoinUnreachable
from wgmesh_agent.mesh.join.joiner import JoinTarget
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.settings.model import HostPort
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_agent.wireguard.model import Endpoint, IPAddress

OLD, NEW = bytes([1]) * 32, bytes([2]) * 32
BETA = claim("beta", 2)
ENCRYPTED = mesh_record(gossip_keys=(OLD,), gossip_keys_since=1)
NOWHERE = HostPort("127.0.0.1", 9)
TARGET = JoinTarget((), None, "blue", "n9", KEY.public())


class CutOff(Isolation):
    """Returns in turn whether this node is isolated; then it waits indefinitely. `waits` are the requested
    durations.
    """

    def __init__(self, *answers: bool) -> None:
        self.answers = list(answers)
        self.waits: list[tuple[float, bool]] = []

    async def after(self, seconds: float, *, hurried: bool) -> bool:
        self.waits.append((seconds, hurried))
        if not self.answers:
            await asyncio.Event().wait()
        return self.answers.pop(0)


class Admitted(Readmitter):
    """Answers in turn."""

    def __init__(self, *answers: tuple[MeshRecord, tuple[Claim, ...]] | None) -> None:
        self.answers = list(answers)

    async def admit(self) -> tuple[MeshRecord, tuple[Claim, ...]] | None:
        return self.answers.pop(0)


class QuietJoiner(GossipJoiner):
    """Joins no member, and counts the attempts."""

    def __init__(self) -> None:
        self.joined = 0

    async def join_known(self) -> None:
        self.joined += 1


def adoption(node: MeshNode, joiner: QuietJoiner | None = None) -> Adoption:
    keyring = Keyring(OLD) if node.record.gossip_keys else None
    keys = GossipKeys(node.local, keyring)
    return Adoption(node.local, keys, node.tracker, node.reconciler, joiner or QuietJoiner())


async def ran(rejoin: Rejoin, isolation: CutOff, waits: int) -> None:
    task = asyncio.create_task(rejoin.run())
    await until(lambda: task.done() or len(isolation.waits) >= waits)
    task.cancel()
    await asyncio.wait([task])


def rejoin_of(node: MeshNode, isolation: CutOff, admitted: Admitted, joiner: QuietJoiner) -> Rejoin:
    return Rejoin(
        SessionConfig(None, None, None),
        standalone(),
        isolation,
        admitted,
        adoption(node, joiner),
        node.view,
        SessionEnd(),
    )


async def test_a_node_without_members_asks_at_once_and_one_with_members_after_a_while(tmp_path: Path) -> None:
    alone, among = composed(tmp_path / "a"), composed(tmp_path / "b")
    assert among.ledger.accept(BETA, Origin.PEERS, 1.0) is None
    for node, expected in ((alone, 0.0), (among, module.ISOLATED_AFTER_SECONDS)):
        isolation = CutOff()
        await ran(rejoin_of(node, isolation, Admitted(), QuietJoiner()), isolation, 1)
        ((seconds, hurried),) = isolation.waits
        assert 0.75 * expected <= seconds <= 1.25 * expected
        assert hurried
        node.store.close()


async def test_a_node_that_asked_in_vain_is_not_hurried_the_next_time(tmp_path: Path) -> None:
    node, isolation = composed(tmp_path), CutOff(False, True)
    await ran(rejoin_of(node, isolation, Admitted(None), QuietJoiner()), isolation, 3)
    assert [hurried for _, hurried in isolation.waits] == [True, True, False]
    assert all(seconds > 0 for seconds, _ in isolation.waits[1:])
    node.store.close()


async def test_whoever_is_admitted_again_meets_the_members_named(tmp_path: Path) -> None:
    node, isolation, joiner = composed(tmp_path), CutOff(True), QuietJoiner()
    admitted = Admitted((replace(node.record, created_unix=7), (BETA,)))
    await ran(rejoin_of(node, isolation, admitted, joiner), isolation, 2)
    assert node.ledger.by_name("beta") is not None
    assert BETA.public_key in (await node.backend.read()).peers
    assert joiner.joined == 1
    node.store.close()


async def test_an_admission_with_another_address_begins_another_session(tmp_path: Path) -> None:
    node, isolation, joiner = composed(tmp_path), CutOff(True), QuietJoiner()
    other = replace(node.record, addresses=(ip_address("10.232.0.77"),))
    rejoin = rejoin_of(node, isolation, Admitted((other, (BETA,))), joiner)
    async with asyncio.timeout(10):
        await rejoin.run()
    end = rejoin._end
    assert end.outcome.result() is SessionOutcome.RESTARTED
    assert end.next_start is not None
    assert (end.next_start.record, end.next_start.peers, end.next_start.fresh) == (other, (BETA,), True)
    assert joiner.joined == 0
    node.store.close()


async def test_other_gossip_keys_are_adopted_on_disk_and_on_the_ring(tmp_path: Path) -> None:
    node = composed(tmp_path, ENCRYPTED)
    keys = GossipKeys(node.local, Keyring(OLD))
    adopting = Adoption(node.local, keys, node.tracker, node.reconciler, QuietJoiner())
    assert adopting.adopt_keys(replace(ENCRYPTED, gossip_keys=(NEW, OLD), gossip_keys_since=9))
    assert keys.keyring is not None
    assert keys.keyring.primary == NEW
    stored = node.store.mesh()
    assert stored is not None
    assert (stored.gossip_keys, stored.gossip_keys_since) == ((NEW, OLD), 9)
    node.store.close()


@pytest.mark.parametrize(
    "other",
    [
        replace(ENCRYPTED, gossip_keys=()),
        replace(ENCRYPTED, gossip_port=7000),
        replace(ENCRYPTED, profile="wan", gossip_keys=(NEW,)),
    ],
    ids=["plaintext", "another port", "another profile"],
)
async def test_what_differs_in_more_than_its_keys_is_not_adopted(tmp_path: Path, other: MeshRecord) -> None:
    node = composed(tmp_path, ENCRYPTED)
    assert not adoption(node).adopt_keys(other)
    assert node.record.gossip_keys == (OLD,)
    node.store.close()


async def test_keys_that_cannot_be_kept_are_those_of_before(tmp_path: Path) -> None:
    node = composed(tmp_path, ENCRYPTED)
    node.store.close()
    node.store.clear()
    with capture_logs() as logs:
        assert adoption(node).adopt_keys(replace(ENCRYPTED, gossip_keys=(NEW,)))
    assert [line["event"] for line in logs] == ["cannot adopt gossip keys"]
    assert node.record.gossip_keys == (OLD,)


async def test_a_node_is_isolated_while_no_other_member_is_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_INTERVAL_SECONDS", 0.01)
    node, gossip = composed(tmp_path), PlayedGossip("n9")
    isolation = Isolation(MemberView(gossip, node.ledger), node.tracker, GossipKeys(node.local, None))
    assert await isolation.after(0.03, hurried=True)
    gossip.table |= PlayedGossip("beta").table
    assert not await isolation.after(0.03, hurried=True)
    node.store.close()


async def test_members_behind_an_unknown_gossip_key_are_noticed_before_the_time_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(foreign_key_detector, "MIN_DURATION_SECONDS", 0.05)
    node = composed(tmp_path, ENCRYPTED)
    assert node.ledger.accept(BETA, Origin.PEERS, 1.0) is None
    keyring = Keyring(OLD)
    isolation = Isolation(node.view, node.tracker, GossipKeys(node.local, keyring))
    task = asyncio.create_task(isolation.after(3600.0, hurried=True))
    while not task.done():
        keyring.foreign_key_messages += 1
        await asyncio.wait([task], timeout=0.01)
        if keyring.foreign_key_messages > 2000:
            task.cancel()
    assert await task
    node.store.close()


async def test_a_bootstrap_node_that_cannot_be_reached_admits_nobody(tmp_path: Path) -> None:
    node = composed(tmp_path)
    directory = StaticBootstraps((NOWHERE, NOWHERE))
    readmitter = Readmitter(TARGET, directory, lookup, node.local, node.store)
    with capture_logs() as logs:
        assert await readmitter.admit() is None
    assert [line["bootstrap"] for line in logs if line["log_level"] == "warning"] == ["127.0.0.1:9"] * 2
    node.store.close()


async def test_a_new_key_is_not_admitted_where_nobody_serves_or_this_node_has_no_address(
    tmp_path: Path,
) -> None:
    async def nowhere(towards: Sequence[IPAddress]) -> Endpoint:
        raise NoUsableEndpoint("no interface has an address")

    async def used() -> None:
        raise AssertionError("nobody has been asked")

    node = composed(tmp_path)
    new, role = PrivateKey(bytes([7]) * 32), SessionConfig(None, None, None)
    for where in (lookup, nowhere):
        joining = KeyReplacementJoin(role, node.local, where, StaticBootstraps((NOWHERE,)))
        assert list(joining.bootstraps()) == [NOWHERE]
        with pytest.raises((JoinRefused, JoinUnreachable)):
            await joining.join_with_new_key(NOWHERE, KEY, new, used)
    node.store.close()
