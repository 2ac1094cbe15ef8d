"""A gossip key is rotated on all members or on none, and the member that prevents it is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.gossip.serf.key_manager import KeyOperation, KeyResult, answer_key_query, collect
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.gossip.wire.serf_messages import KeyRequest, KeyResponse, encode_serf
from wgmesh_agent.mesh.rotation.gossip_key import ATTEMPTS, GossipKeyRotation, RotationFailed

OLD, NEW, OTHER = (bytes([number]) * 32 for number in (1, 2, 3))
INSTALL, USE, REMOVE, LIST = KeyOperation


class Members:
    """Rings of members, asked one question after another; each may be deaf to a question, refuse it, or die at it."""

    def __init__(self, *names: str, ring: Sequence[bytes] = (OLD,)) -> None:
        self.rings = {name: Keyring(ring[0], ring[1:]) for name in names}
        self.deaf: dict[tuple[str, KeyOperation], int] = {}
        self.refusing: set[tuple[str, KeyOperation, bytes]] = set()
        self.asked: list[tuple[KeyOperation, bytes]] = []
        self.before: Callable[[KeyOperation, bytes], None] = lambda operation, key: None

    async def change_keys(
        self, operation: KeyOperation, key: bytes = b"", nodes: Sequence[str] | None = None
    ) -> KeyResult:
        self.before(operation, key)
        self.asked.append((operation, key))
        # No member reads messages that it has no key for.
        primaries = {ring.primary for ring in self.rings.values()}
        assert all(primary in ring.keys for ring in self.rings.values() for primary in primaries)
        expected = frozenset(self.rings)
        answers = {name: self._answer(name, operation, key) for name in expected}
        return collect(expected, {name: answer for name, answer in answers.items() if answer is not None})

    def _answer(self, name: str, operation: KeyOperation, key: bytes) -> bytes | None:
        if self.deaf.get((name, operation), 0) > 0:
            self.deaf[name, operation] -= 1
            return None
        if (name, operation, key) in self.refusing:
            return encode_serf(KeyResponse(False, "its disk is full"))
        request = b"" if operation is LIST else encode_serf(KeyRequest(key))
        return answer_key_query(operation, request, self.rings[name], lambda _: True, lambda: None)

    def all_have(self, *keys: bytes) -> bool:
        return all(ring.keys == keys for ring in self.rings.values())


def rotation(members: Members, away: Sequence[str] = ()) -> GossipKeyRotation:
    return GossipKeyRotation(members, members.rings["a"], lambda: away)


async def test_the_new_key_takes_the_place_of_the_old_on_all_members() -> None:
    members = Members("a", "b", "c")
    done = await rotation(members).rotate(NEW)
    assert members.all_have(NEW)
    assert (done.members, done.old_keys_kept) == (3, "")
    assert [asked for asked in members.asked if asked[0] is not LIST] == [
        (INSTALL, NEW),
        (USE, NEW),
        (REMOVE, OLD),
    ]


async def test_no_step_begins_before_the_one_before_it_was_seen_done_on_all() -> None:
    members = Members("a", "b", "c")
    await rotation(members).rotate(NEW)
    steps = [operation for operation, _ in members.asked]
    assert all(steps[steps.index(step) + 1] is LIST for step in (INSTALL, USE, REMOVE))


@pytest.mark.parametrize("step", [INSTALL, USE, REMOVE])
async def test_who_misses_a_question_is_asked_again(step: KeyOperation) -> None:
    members = Members("a", "b", "c")
    members.deaf["b", step] = ATTEMPTS - 1
    assert (await rotation(members).rotate(NEW)).old_keys_kept == ""
    assert members.all_have(NEW)


@pytest.mark.parametrize("step", [INSTALL, USE])
async def test_a_member_that_refuses_is_named_and_all_is_taken_back(step: KeyOperation) -> None:
    members = Members("a", "b", "c")
    members.refusing.add(("b", step, NEW))
    with pytest.raises(RotationFailed, match=r"^b its disk is full; the old key stays in use$"):
        await rotation(members).rotate(NEW)
    assert members.all_have(OLD)


@pytest.mark.parametrize("step", [INSTALL, USE])
async def test_a_member_that_never_answers_is_named_and_all_is_taken_back(step: KeyOperation) -> None:
    members = Members("a", "b", "c")
    members.deaf["c", step] = ATTEMPTS
    with pytest.raises(
        RotationFailed, match=r"^c (has not got the new key|does not encrypt with it); the old key stays"
    ):
        await rotation(members).rotate(NEW)
    assert members.all_have(OLD)


async def test_a_member_that_died_meanwhile_prevents_nothing() -> None:
    members = Members("a", "b", "c")
    members.deaf["c", INSTALL] = members.deaf["c", LIST] = 99

    def die(operation: KeyOperation, key: bytes) -> None:
        if len(members.asked) == 3:
            del members.rings["c"]

    members.before = die
    assert (await rotation(members).rotate(NEW)).members == 2
    assert members.all_have(NEW)


async def test_who_will_not_give_up_the_old_key_is_told_and_the_new_one_is_used() -> None:
    members = Members("a", "b", "c")
    members.refusing.add(("b", REMOVE, OLD))
    done = await rotation(members).rotate(NEW)
    assert done.old_keys_kept == "b its disk is full"
    assert {ring.primary for ring in members.rings.values()} == {NEW}


@pytest.mark.parametrize(
    "rings",
    [
        {"a": (OLD, OTHER), "b": (OLD,), "c": (OLD, OTHER)},
        {"a": (OLD, OTHER), "b": (OTHER, OLD), "c": (OLD, OTHER)},
        {"a": (OTHER, OLD), "b": (OTHER, OLD), "c": (OTHER,)},
    ],
    ids=["while installing", "while switching", "while removing"],
)
async def test_what_an_interrupted_rotation_left_goes_with_the_next(
    rings: dict[str, tuple[bytes, ...]],
) -> None:
    members = Members("a", "b", "c")
    members.rings = {name: Keyring(keys[0], keys[1:]) for name, keys in rings.items()}
    await rotation(members).rotate(NEW)
    assert members.all_have(NEW)


async def test_of_two_at_a_time_none_removes_what_the_other_uses() -> None:
    members = Members("a", "b", "c")

    def other(operation: KeyOperation, key: bytes) -> None:
        if operation is INSTALL:
            for ring in members.rings.values():
                ring.install(OTHER)

    members.before = other
    with pytest.raises(
        RotationFailed, match="another member rotates the keys at the same time; the old key stays"
    ):
        await rotation(members).rotate(NEW)
    assert members.all_have(OLD, OTHER)


async def test_nothing_begins_while_a_bootstrap_node_is_away() -> None:
    members = Members("a", "b", "c")
    with pytest.raises(RotationFailed, match="n1 is a bootstrap node that is down; nothing was changed"):
        await rotation(members, ["n1"]).rotate(NEW)
    assert members.asked == []


async def test_the_old_key_stays_while_a_bootstrap_node_is_away_that_may_still_use_it() -> None:
    members, away = Members("a", "b", "c"), list[str]()

    def lose(operation: KeyOperation, key: bytes) -> None:
        if operation is USE:
            away.append("n1")

    members.before = lose
    assert (await rotation(members, away).rotate(NEW)).old_keys_kept == "n1 is a bootstrap node that is down"
    assert members.all_have(NEW, OLD)


async def test_a_question_that_cannot_be_asked_is_told() -> None:
    members = Members("a")

    def fail(operation: KeyOperation, key: bytes) -> None:
        raise GossipError("the query is too large")

    members.before = fail
    with pytest.raises(RotationFailed, match="cannot query the members: the query is too large"):
        await rotation(members).rotate(NEW)


@given(
    st.dictionaries(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(list(KeyOperation))), st.integers(1, 6), max_size=6
    ),
    st.sets(
        st.tuples(
            st.sampled_from("abcd"), st.sampled_from([INSTALL, USE, REMOVE]), st.sampled_from([OLD, NEW])
        ),
        max_size=3,
    ),
)
async def test_whatever_is_lost_or_refused_all_can_read_each_other_at_every_step(
    deaf: dict[tuple[str, KeyOperation], int], refusing: set[tuple[str, KeyOperation, bytes]]
) -> None:
    members = Members("a", "b", "c", "d")
    members.deaf, members.refusing = dict(deaf), refusing
    try:
        done = await rotation(members).rotate(NEW)
    except RotationFailed:
        assert all(OLD in ring.keys for ring in members.rings.values())
    else:
        assert {ring.primary for ring in members.rings.values()} == {NEW}
        assert done.old_keys_kept or members.all_have(NEW)
    # the check after each query, once more at the end
    await members.change_keys(LIST)
