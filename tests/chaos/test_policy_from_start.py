"""The policy is in force from the first message of the first session on, and of each that follows, in virtual time.

n1 founded the mesh without a roster and has admitted `stranger`, which n2's roster does not list. The same runs without
n2's policy show the violations that these tests detect.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.chaos.machine import Machine
from tests.chaos.schedule import Schedule
from tests.chaos.virtual_mesh import World
from tests.unit.kube.harness import MemoryApi, mesh_body, node_body

from wgmesh_agent.agent.policies import Policies
from wgmesh_agent.agent.session import Session
from wgmesh_agent.agent.session_start import SessionStart
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.kube.certificate import CertificateStore
from wgmesh_agent.kube.roster_cache import RosterCache
from wgmesh_agent.kube.roster_policy import RosterPolicy
from wgmesh_agent.mesh.join.bootstrap_directory import StaticBootstraps
from wgmesh_agent.mesh.membership.policy import MembershipPolicy, StandalonePolicy
from wgmesh_agent.mesh.rotation.key_policy import StandaloneKeyPolicy
from wgmesh_agent.settings.model import HostPort
from wgmesh_agent.wireguard.keys import PublicKey

pytestmark = pytest.mark.timeout(300)
SECONDS = 30.0


@dataclass
class Seen:
    """What n2's tunnels ever had, and what became of the stranger and of `late`, who asks n2 to be admitted."""

    peers: set[PublicKey] = field(default_factory=set)
    stranger: PublicKey | None = None
    sessions: list[Session] = field(default_factory=list)
    refusals: list[dict[str, int]] = field(default_factory=list)
    gossip_had_stranger: list[bool] = field(default_factory=list)
    late_is_member: bool = False

    @property
    def was_stranger_bound(self) -> bool:
        return self.stranger in self.peers


class Run(World):
    """n2 enters the mesh; then its session is followed by another, as a bootstrap node, which `late` asks."""

    def __init__(self, folder: Path, *, by_roster: bool) -> None:
        super().__init__(Schedule(1, ("n1", "n2", "stranger", "late"), ("n1",), ()), folder, 0.0)
        self.seen = Seen()
        self._by_roster = by_roster
        self._disk = folder

    def policies_of(self, name: str, bootstraps: tuple[HostPort, ...]) -> Policies:
        membership: MembershipPolicy = StandalonePolicy(())
        if name == "n2" and self._by_roster:
            api = MemoryApi()
            for body in (mesh_body(), node_body("n1", 1), node_body("n2", 2)):
                api.put(body)
            view, identity = RosterCache("blue", "n2"), CertificateStore(self._disk)
            view.start(api)
            identity.save_uid("uid-n2")
            membership = RosterPolicy(view, identity)
        return Policies(membership, StandaloneKeyPolicy(), StaticBootstraps(bootstraps))

    async def _run(self) -> None:  # type: ignore[override]
        for name in ("n1", "n2", "stranger", "late"):
            self.add(name)
        n2, seen = self.machines["n2"], self.seen
        n2.tunnel.changed = lambda _: seen.peers.update(n2.tunnel.read().peers)
        self.start("n1", self._founding("n1"))
        await asyncio.sleep(1.0)
        self.start("stranger", self.joining("stranger", ["n1"]))
        await asyncio.sleep(5.0)
        seen.stranger = _session(self.machines["stranger"]).node.local.private_key.public()
        plan = self.joining("n2", ["n1"], bootstrap=True)
        self.start("n2", plan)
        await asyncio.sleep(SECONDS)
        first = self._note(n2)
        again = SessionStart(
            plan.role(first.node.local.private_key), plan.policies, first.node.record, (), fresh=True
        )
        first.end.restart_with(again)
        await asyncio.sleep(1.0)
        self.start("late", self.joining("late", ["n2"]))
        await asyncio.sleep(SECONDS)
        self._note(n2)
        late = self.machines["late"].session
        seen.late_is_member = late is not None and not late.node.view.is_isolated()

    def _note(self, machine: Machine) -> Session:
        session, seen = _session(machine), self.seen
        seen.sessions.append(session)
        seen.refusals.append(dict(session.node.rejections.counts))
        member = session.node.gossip.members().get("stranger")
        seen.gossip_had_stranger.append(member is not None and member.status is MemberStatus.ALIVE)
        return session


def _session(machine: Machine) -> Session:
    assert machine.session is not None
    return machine.session


def seen_by(*, by_roster: bool) -> Seen:
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), by_roster=by_roster)
        try:
            run.run()
        finally:
            print("\n".join(run.log[-60:]))
    assert run.seen.gossip_had_stranger == [True, True]
    assert len({id(session) for session in run.seen.sessions}) == 2
    return run.seen


@pytest.fixture(scope="module")
def judged() -> Seen:
    return seen_by(by_roster=True)


def test_no_unlisted_member_is_bound_while_a_session_starts(judged: Seen) -> None:
    assert not judged.was_stranger_bound
    assert judged.refusals[0]["not_listed"] >= 1


def test_the_session_after_a_move_is_judged_by_the_same_policy(judged: Seen) -> None:
    first, second = judged.sessions
    assert first.node.policies is second.node.policies
    assert judged.refusals[1]["not_listed"] >= 1
    assert judged.refusals[1]["join_not_listed"] >= 1
    assert not judged.late_is_member


def test_with_a_standalone_policy_in_its_place_both_are_taken_in() -> None:
    open_to_all = seen_by(by_roster=False)
    assert open_to_all.was_stranger_bound
    assert open_to_all.late_is_member
