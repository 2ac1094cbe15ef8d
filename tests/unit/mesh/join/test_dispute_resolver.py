"""Conflicts resolved by bootstrap nodes: only their own claims are bound again."""

import asyncio
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from random import Random

import pytest
from tests.unit.local import LocalClaim

from wgmesh_agent.mesh.join.bootstrap_directory import StaticBootstraps
from wgmesh_agent.mesh.join.client import JoinUnreachable
from wgmesh_agent.mesh.join.dispute_resolver import DisputeResolver, crowded_pause_seconds
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.runtime.backoff import jittered
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.settings.model import HostPort
from wgmesh_agent.wireguard.keys import PublicKey

FIRST, SECOND = HostPort("192.0.2.1", 5000), HostPort("192.0.2.2", 5000)


def claim(number: int, node: str, address: str) -> Claim:
    return Claim(node, PublicKey(bytes([number]) * 32), (ip_address(address),), ())


BOOT = claim(1, "boot", "10.232.1.1")
FORMER, ANEW = claim(2, "n2", "10.232.0.2"), claim(3, "n2", "10.232.0.2")


class Ground:
    """A node that has boot and n2's former key bound, and hears n2 say its new one."""

    def __init__(self, answers: dict[HostPort, Sequence[Claim] | JoinUnreachable]) -> None:
        own = LocalClaim(
            "n9", PublicKey(bytes([9]) * 32), (ip_address("10.232.0.9"),), (ip_network("10.232.0.0/16"),)
        )
        self.ledger = Ledger(own)
        self.ledger.accept(BOOT, Origin.PEERS, 1.0)
        self.ledger.accept(FORMER, Origin.PEERS, 1.0)
        self.answers = answers
        self.asked: list[HostPort] = []
        self.heard: list[Claim] = [ANEW]
        self.lost = False
        self.looked = 0
        self.crowded = False
        self.changes = Signal()
        self.slept: list[float] = []
        """How long each pause was meant to be; they take no time."""
        self.confirming = DisputeResolver(
            self.ledger,
            self,
            self,
            StaticBootstraps(tuple(answers)),
            self,
            self.changes,
            Random(7),
            self._pause,
        )

    def accept(self, accepted: Claim, origin: Origin) -> bool:
        assert origin is Origin.PEERS
        return self.ledger.bind(accepted, origin, 2.0) is None

    async def _pause(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)

    def is_crowded(self) -> bool:
        return self.crowded

    def has_failed_bootstrap(self) -> bool:
        return self.lost

    async def disputed_claims(self) -> list[Claim]:
        self.looked += 1
        return [
            one
            for one in self.heard
            if self.ledger.is_conflicting(one) or self.ledger.by_key(one.public_key) is None
        ]

    async def peers_of(self, bootstrap: HostPort) -> Sequence[Claim]:
        self.asked.append(bootstrap)
        answer = self.answers[bootstrap]
        if isinstance(answer, JoinUnreachable):
            raise answer
        return answer

    def bound(self) -> set[Claim]:
        return {binding.claim for binding in self.ledger}


async def test_what_a_bootstrap_node_confirms_is_bound_anew_and_no_other_is_asked() -> None:
    ground = Ground({FIRST: [BOOT, ANEW], SECOND: [BOOT, ANEW]})
    assert await ground.confirming.resolve()
    assert ground.bound() == {BOOT, ANEW}
    assert ground.asked == [FIRST]


async def test_what_no_bootstrap_node_confirms_stays_as_it_was() -> None:
    ground = Ground({FIRST: [BOOT, FORMER], SECOND: [BOOT]})
    assert not await ground.confirming.resolve()
    assert ground.bound() == {BOOT, FORMER}
    assert ground.asked == [FIRST, SECOND]


async def test_a_bootstrap_node_out_of_reach_or_behind_leaves_it_to_the_next() -> None:
    ground = Ground({FIRST: JoinUnreachable("gone"), SECOND: [BOOT, ANEW]})
    assert await ground.confirming.resolve()
    assert ground.bound() == {BOOT, ANEW}


async def test_the_new_key_under_another_name_confirms_nothing() -> None:
    ground = Ground({FIRST: [BOOT, claim(3, "other", "10.232.0.7")]})
    assert not await ground.confirming.resolve()
    assert ground.bound() == {BOOT, FORMER}


async def test_the_bootstrap_node_s_word_on_the_address_counts_not_the_claimant_s() -> None:
    told = claim(3, "n2", "10.232.0.44")
    ground = Ground({FIRST: [BOOT, told]})
    assert await ground.confirming.resolve()
    assert ground.bound() == {BOOT, told}


async def test_an_original_that_tells_no_names_confirms_by_key() -> None:
    ground = Ground({FIRST: [BOOT, claim(3, "", "10.232.0.2")]})
    assert await ground.confirming.resolve()
    assert ground.bound() == {BOOT, ANEW}


async def test_what_a_bootstrap_node_says_of_others_out_of_dispute_changes_nothing() -> None:
    ground = Ground({FIRST: [BOOT, claim(4, "n2", "10.232.0.2"), claim(5, "n5", "10.232.0.5")]})
    assert not await ground.confirming.resolve()
    assert ground.bound() == {BOOT, FORMER}


async def test_a_member_that_shows_no_record_is_bound_when_a_bootstrap_node_has_it() -> None:
    newcomer = claim(5, "n5", "10.232.0.5")
    ground = Ground({FIRST: [BOOT, newcomer]})
    ground.heard = [newcomer]
    assert await ground.confirming.resolve()
    assert ground.bound() == {BOOT, FORMER, newcomer}


async def test_a_bootstrap_node_with_a_new_key_of_its_own_is_bound_anew() -> None:
    again = claim(7, "boot", "10.232.1.1")
    ground = Ground({FIRST: [again]})
    ground.heard, ground.lost = [], True
    assert await ground.confirming.resolve()
    assert ground.bound() == {again, FORMER}


async def asks(ground: Ground, until: Callable[[], bool]) -> list[float]:
    """Runs until then; the seconds that were slept before each time that a bootstrap node was asked."""
    pauses, seen = list[float](), 0
    task = asyncio.create_task(ground.confirming.run())
    async with asyncio.timeout(10):
        while not until():
            if len(ground.asked) > seen:
                pauses.append(sum(ground.slept))
                ground.slept.clear()
                seen = len(ground.asked)
            ground.changes.notify()
            await asyncio.wait([task], timeout=0.0)
    task.cancel()
    return pauses


async def test_bootstrap_nodes_are_asked_ever_more_seldom_while_they_settle_nothing() -> None:
    ground = Ground({FIRST: [BOOT]})
    pauses = await asks(ground, lambda: len(ground.asked) >= 12)
    assert pauses[1] < 4
    assert all(45 <= seconds <= 80 for seconds in pauses[8:])
    assert ground.bound() == {BOOT, FORMER}


async def test_a_newcomer_does_not_wait_for_a_dispute_that_nobody_settles() -> None:
    """An attacker has long claimed what no bootstrap node confirms; then a node joins whose announcement was lost."""
    newcomer = claim(5, "n5", "10.232.0.5")
    ground = Ground({FIRST: [BOOT, newcomer]})
    await asks(ground, lambda: len(ground.asked) >= 10)
    asked = len(ground.asked)
    ground.heard.append(newcomer)
    ground.slept.clear()
    await asks(ground, lambda: newcomer in ground.bound())
    assert len(ground.asked) <= asked + 2
    ground.heard.append(claim(6, "n6", "10.232.0.6"))
    asked = len(ground.asked)
    pauses = await asks(ground, lambda: len(ground.asked) >= asked + 8)
    assert all(45 <= seconds <= 80 for seconds in pauses[7:])


async def test_what_comes_into_dispute_during_a_long_rest_is_asked_about_within_seconds() -> None:
    newcomer = claim(5, "n5", "10.232.0.5")

    class Later(Ground):
        """The newcomer becomes reachable after some time."""

        async def disputed_claims(self) -> list[Claim]:
            return [ANEW, newcomer] if len(self.slept) > 5 else [ANEW]

    ground = Later({FIRST: [BOOT]})
    assert await ground.confirming._rest(60.0, [ANEW])
    assert sum(ground.slept) <= 7 * crowded_pause_seconds(len(ground.ledger))
    ground.slept.clear()
    assert not await ground.confirming._rest(60.0, [ANEW, newcomer])
    assert sum(ground.slept) >= 45


async def test_in_a_crowd_a_rest_is_as_long_as_its_jitter_says() -> None:
    """Or all members together would ask more often than they may."""
    ground = Ground({FIRST: [BOOT]})
    ground.crowded = True
    pause = crowded_pause_seconds(len(ground.ledger))
    assert not await ground.confirming._rest(pause, [])
    assert ground.slept == [jittered(pause, Random(7))]


async def test_nobody_is_asked_while_nothing_is_in_dispute() -> None:
    ground = Ground({FIRST: [BOOT, ANEW]})
    ground.heard = []
    task = asyncio.create_task(ground.confirming.run())
    async with asyncio.timeout(10):
        while len(ground.slept) < 5:
            ground.changes.notify()
            await asyncio.wait([task], timeout=0.001)
    task.cancel()
    assert ground.asked == []


@pytest.mark.parametrize(
    ("members", "seconds"), [(0, 2.0), (5, 2.0), (100, 2.0), (1000, 20.0), (5000, 100.0)]
)
def test_in_a_crowd_the_members_together_do_not_ask_more_than_a_bootstrap_node_can_answer(
    members: int, seconds: float
) -> None:
    assert crowded_pause_seconds(members) == seconds
    assert members / crowded_pause_seconds(members) <= 50


async def test_among_many_strangers_a_newcomer_is_bound_that_only_the_bootstrap_node_tells_of() -> None:
    newcomer = claim(4, "n4", "10.232.0.4")
    ground = Ground({FIRST: [BOOT, FORMER, newcomer]})
    await ground.confirming.resolve()
    assert newcomer not in ground.bound()
    ground.crowded = True
    assert await ground.confirming.resolve()
    assert newcomer in ground.bound()


async def test_what_is_in_dispute_is_found_out_once_where_nobody_is_bound() -> None:
    ground = Ground({FIRST: [BOOT]})
    ground.crowded = True
    await ground.confirming.resolve()
    assert ground.looked == 1
