"""Rotations as a user asks for them: whether they may be, and what is said of them."""

from __future__ import annotations

import pytest
from tests.unit.kube.harness import claim
from tests.unit.policies import ScriptedKeyPolicy

from wgmesh_agent.mesh.membership.claims import Binding, Origin
from wgmesh_agent.mesh.membership.tracker import MembershipTracker
from wgmesh_agent.mesh.rotation.gossip_key import GossipKeyRotation, RotationFailed, RotationResult
from wgmesh_agent.mesh.rotation.service import KEY_BYTES, RotationService
from wgmesh_agent.mesh.rotation.wireguard_key import WireGuardKeyRotation


class GossipRotation(GossipKeyRotation):
    """Brings what the test says."""

    def __init__(self, result: RotationResult) -> None:
        self.result = result
        self.keys: list[bytes] = []

    async def rotate(self, new: bytes) -> RotationResult:
        self.keys.append(new)
        return self.result


class WireGuardRotation(WireGuardKeyRotation):
    """Says so."""

    def __init__(self) -> None: ...

    async def rotate(self) -> str:
        return "2 of 2 tunnels use the new WireGuard key"


class Away(MembershipTracker):
    """Has these members failed."""

    def __init__(self, *nodes: str) -> None:
        self._bindings = [Binding(claim(node, 9), Origin.PEERS, 1.0) for node in nodes]

    def failed(self) -> list[Binding]:
        return self._bindings


def service(
    gossip: GossipKeyRotation | None, *away: str, policy: ScriptedKeyPolicy | None = None
) -> RotationService:
    return RotationService(WireGuardRotation(), gossip, Away(*away), policy or ScriptedKeyPolicy())


@pytest.mark.parametrize(
    ("result", "away", "said"),
    [
        (
            RotationResult(3),
            (),
            "all 3 members use the new gossip key, and the old one is removed",
        ),
        (
            RotationResult(3),
            ("beta", "beta", "gamma"),
            "all 3 members use the new gossip key, and the old one is removed; 2 that are down get it from a "
            "bootstrap node when they return",
        ),
        (
            RotationResult(3, "gamma did not answer"),
            ("gamma",),
            "all 3 members use the new gossip key; the old one is still accepted, because gamma did not answer: "
            "rotate again when all answer",
        ),
    ],
    ids=["all", "some away", "old kept"],
)
async def test_a_new_gossip_key_is_told_with_who_lacks_it(
    result: RotationResult, away: tuple[str, ...], said: str
) -> None:
    assert await service(GossipRotation(result), *away).rotate_gossip_key() == said


async def test_each_rotation_has_a_key_of_its_own() -> None:
    gossip = GossipRotation(RotationResult(1))
    for _ in range(2):
        await service(gossip).rotate_gossip_key()
    assert {len(key) for key in gossip.keys} == {KEY_BYTES}
    assert len(set(gossip.keys)) == 2


async def test_there_is_no_gossip_key_in_plaintext() -> None:
    with pytest.raises(RotationFailed, match="is not encrypted: there is no key to rotate"):
        await service(None).rotate_gossip_key()


async def test_keys_that_are_decided_elsewhere_are_not_rotated_here() -> None:
    gossip = GossipRotation(RotationResult(1))
    policy = ScriptedKeyPolicy(gossip_keys_managed_by="annotate the WgMesh")
    with pytest.raises(RotationFailed, match="annotate the WgMesh"):
        await service(gossip, policy=policy).rotate_gossip_key()
    assert gossip.keys == []


async def test_this_node_s_own_key_is_rotated_by_itself() -> None:
    assert "2 of 2 tunnels" in await service(None).rotate_wireguard_key()
