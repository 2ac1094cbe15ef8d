"""The membership state machine of gossip-wire section 7, row by row."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from tests.unit.gossip.memberlist_harness import PORT, Bench, Bound, Loner, address, alive, endpoint

from wgmesh_agent.gossip.errors import PeerError
from wgmesh_agent.gossip.memberlist.config import LAN
from wgmesh_agent.gossip.serf.events import MemberLeft, MemberReaped
from wgmesh_agent.gossip.wire.messages import Alive, Dead, NodeState, NodeStateKind, Suspect, UserMessage
from wgmesh_agent.gossip.wire.serf_messages import LeaveIntent, MemberStatus, encode_serf
from wgmesh_agent.gossip.wire.versions import OWN_VERSIONS

ALIVE, SUSPECT, DEAD, LEFT = (
    NodeStateKind.ALIVE,
    NodeStateKind.SUSPECT,
    NodeStateKind.DEAD,
    NodeStateKind.LEFT,
)
LAST = 2**32 - 1
DOUBT_SECONDS = 5 * LAN.gossip_interval_seconds


def in_state(state: NodeStateKind, nodes: int = 6, incarnation: int = 5) -> Bench:
    """n1's view of five others; n2 has `incarnation` and `state`."""
    bench = Bench().with_nodes(nodes)
    bench.membership.alive(alive("n2", incarnation), 0.0)
    if state is SUSPECT:
        bench.membership.suspect(Suspect(incarnation, "n2", "n3"), 0.0)
    elif state is DEAD:
        bench.membership.dead(Dead(incarnation, "n2", "n3"), 0.0)
        bench.pass_time(DOUBT_SECONDS)
    elif state is LEFT:
        bench.membership.dead(Dead(incarnation, "n2", "n2"), 0.0, source=endpoint(2))
    bench.clear()
    return bench


@pytest.mark.parametrize(
    ("before", "incarnation", "after", "told", "passed_on"),
    [
        (ALIVE, 4, ALIVE, [], False),
        (ALIVE, 5, ALIVE, [], False),
        (ALIVE, 6, ALIVE, [], True),
        (SUSPECT, 5, SUSPECT, [], False),
        (SUSPECT, 6, ALIVE, [], True),
        (DEAD, 5, DEAD, [], False),
        (DEAD, 6, ALIVE, [("joined", "n2")], True),
        (LEFT, 5, LEFT, [], False),
        (LEFT, 6, ALIVE, [("joined", "n2")], True),
    ],
)
def test_alive_counts_only_with_a_higher_incarnation(
    before: NodeStateKind,
    incarnation: int,
    after: NodeStateKind,
    told: list[tuple[str, str]],
    passed_on: bool,
) -> None:
    bench = in_state(before)
    bench.membership.alive(alive("n2", incarnation), 1.0)
    assert bench.state("n2") is after
    assert bench.told == told
    assert bool(bench.said) is passed_on
    assert bench.record("n2").incarnation == max(5, incarnation)


@pytest.mark.parametrize(
    ("before", "incarnation", "after", "passed_on"),
    [
        (ALIVE, 4, ALIVE, False),
        (ALIVE, 5, SUSPECT, True),
        (ALIVE, 6, SUSPECT, True),
        (SUSPECT, 4, SUSPECT, False),
        (SUSPECT, 5, SUSPECT, True),
        (DEAD, 5, DEAD, False),
        (LEFT, 9, LEFT, False),
    ],
)
def test_suspect_counts_against_the_living_from_the_known_incarnation_on(
    before: NodeStateKind, incarnation: int, after: NodeStateKind, passed_on: bool
) -> None:
    bench = in_state(before)
    bench.membership.suspect(Suspect(incarnation, "n2", "n4"), 1.0)
    assert bench.state("n2") is after
    assert bool(bench.said) is passed_on
    assert bench.told == []


@pytest.mark.parametrize(
    ("before", "incarnation", "accuser", "after"),
    [
        (ALIVE, 4, "n3", ALIVE),
        (ALIVE, 5, "n3", DEAD),
        (ALIVE, 6, "n3", DEAD),
        (ALIVE, 5, "n2", LEFT),
        (SUSPECT, 5, "n3", DEAD),
        (SUSPECT, 5, "n2", LEFT),
        (DEAD, 6, "n2", DEAD),
        (LEFT, 6, "n3", LEFT),
    ],
)
def test_dead_counts_once_and_from_the_node_itself_means_left(
    before: NodeStateKind, incarnation: int, accuser: str, after: NodeStateKind
) -> None:
    bench = in_state(before)
    bench.membership.dead(Dead(incarnation, "n2", accuser), 1.0, source=endpoint(int(accuser[1:])))
    bench.pass_time(1.0 + DOUBT_SECONDS)
    assert bench.state("n2") is after
    changed = after is not before
    assert bench.told == ([("left", "n2")] if changed else [])
    assert bool(bench.said) is changed


def test_an_unknown_node_is_added_reported_and_passed_on() -> None:
    bench = Bench()
    message = alive("n7", 3, meta=b"\xff\x80")
    bench.membership.alive(message, 1.0)
    assert bench.told == [("joined", "n7")]
    assert bench.said == [message]
    assert len(bench.table) == 2


@pytest.mark.parametrize("message", [Suspect(1, "n9", "n2"), Dead(1, "n9", "n9")])
def test_accusations_of_unknown_nodes_are_ignored(message: Suspect | Dead) -> None:
    bench = Bench().with_nodes(3)
    if isinstance(message, Suspect):
        bench.membership.suspect(message, 1.0)
    else:
        bench.membership.dead(message, 1.0)
    assert (bench.told, bench.said, len(bench.table)) == ([], [], 3)


def test_other_metadata_is_reported_as_an_update() -> None:
    bench = in_state(ALIVE)
    bench.membership.alive(alive("n2", 6, meta=b"\xff\x80"), 1.0)
    assert bench.told == [("updated", "n2")]


@pytest.mark.parametrize(("index", "port"), [(99, PORT), (2, PORT + 1)])
@pytest.mark.parametrize("state", [ALIVE, SUSPECT, DEAD])
def test_another_address_under_a_held_name_is_a_conflict(state: NodeStateKind, index: int, port: int) -> None:
    bench = in_state(state)
    bench.membership.alive(alive("n2", 9, index, port=port), 1.0)
    assert bench.told == [("conflict", "n2")]
    assert (bench.state("n2"), bench.said) == (state, [])
    assert bench.record("n2").addr == address(2)


@pytest.mark.parametrize("incarnation", [1, 5, 6])
def test_a_name_whose_holder_left_may_move_whatever_the_incarnation(incarnation: int) -> None:
    bench = in_state(LEFT)
    bench.membership.alive(alive("n2", incarnation, 99), 1.0)
    assert bench.told == [("joined", "n2")]
    assert bench.record("n2").addr == address(99)
    assert str(bench.record("n2").endpoint.address) == "10.0.0.99"


def test_address_bytes_are_kept_and_passed_on_as_received() -> None:
    bench = Bench()
    mapped = ip_address("::ffff:10.0.0.7").packed
    bench.membership.alive(alive("n7", addr=mapped), 1.0)
    bench.membership.alive(alive("n7", 2, addr=mapped), 2.0)
    assert [said.addr for said in bench.said if isinstance(said, Alive)] == [mapped, mapped]
    assert bench.record("n7").addr == mapped
    bench.membership.alive(alive("n7", 3), 3.0)
    assert bench.told[-1] == ("conflict", "n7")


def test_port_zero_is_read_as_our_own_port() -> None:
    bench = Bench()
    bench.membership.alive(alive("n7", port=0), 1.0)
    assert bench.record("n7").endpoint.port == PORT


@pytest.mark.parametrize(
    "message",
    [
        alive("n7", 0),
        Alive(1, "", address(7), PORT, b"", OWN_VERSIONS),
        alive("n7", meta=bytes(513)),
        alive("n7", vsn=bytes(6)),
        Alive(1, "n" * 513, address(7), PORT, b"", OWN_VERSIONS),
    ],
)
def test_impossible_newcomers_are_refused_and_counted(message: Alive) -> None:
    bench = Bench()
    bench.membership.alive(message, 1.0)
    assert (len(bench.table), bench.told, bench.said) == (1, [], [])
    assert bench.counters.refused.total() == 1


def test_a_newcomer_with_a_malformed_address_is_the_peers_fault() -> None:
    bench = Bench()
    with pytest.raises(PeerError):
        bench.membership.alive(alive("n7", addr=b"abc"), 1.0)
    assert len(bench.table) == 1


def test_the_table_is_bounded() -> None:
    bench = Bench()
    for index in range(2, 200):
        bench.membership.alive(alive(f"n{index}"), 1.0)
    assert len(bench.table) == 64
    assert bench.counters.refused["alive: too many members"] == 200 - 2 - 63


class TestSuspicion:
    def test_it_ends_in_death_by_our_own_word_at_the_deadline(self) -> None:
        bench = in_state(SUSPECT, nodes=3)
        bench.pass_time(3.99)
        assert bench.state("n2") is SUSPECT
        bench.pass_time(4.0)
        assert bench.state("n2") is DEAD
        assert bench.said == [Dead(5, "n2", "n1")]
        assert bench.told == [("left", "n2")]

    def test_one_confirmation_of_two_makes_it_11_38_seconds(self) -> None:
        bench = in_state(SUSPECT, nodes=5)
        bench.membership.suspect(Suspect(5, "n2", "n4"), 2.0)
        bench.pass_time(11.37)
        assert bench.state("n2") is SUSPECT
        bench.pass_time(11.39)
        assert bench.state("n2") is DEAD

    def test_a_confirmation_that_comes_after_its_own_deadline_convicts_at_once(self) -> None:
        bench = in_state(SUSPECT, nodes=5)
        bench.membership.suspect(Suspect(5, "n2", "n4"), 11.0)
        bench.membership.suspect(Suspect(5, "n2", "n5"), 11.1)
        bench.pass_time(11.1)
        assert bench.state("n2") is DEAD

    def test_only_new_accusers_are_passed_on_and_only_as_many_as_wanted(self) -> None:
        bench = in_state(SUSPECT, nodes=9)
        for accuser in ("n3", "n4", "n4", "n5", "n6", "n7"):
            bench.membership.suspect(Suspect(5, "n2", accuser), 1.0)
        assert [said.from_node for said in bench.said if isinstance(said, Suspect)] == ["n4", "n5"]

    def test_a_refutation_stops_the_clock(self) -> None:
        bench = in_state(SUSPECT)
        bench.membership.alive(alive("n2", 6), 1.0)
        bench.pass_time(1000.0)
        assert bench.state("n2") is ALIVE
        assert bench.timers.next_deadline() is None

    def test_death_by_others_stops_the_clock_too(self) -> None:
        bench = in_state(SUSPECT)
        bench.membership.dead(Dead(5, "n2", "n3"), 1.0)
        bench.pass_time(1.0 + DOUBT_SECONDS)
        bench.clear()
        bench.pass_time(1000.0)
        assert (bench.said, bench.told) == ([], [])


class TestOurselves:
    @pytest.mark.parametrize(
        "accusation",
        [Suspect(1, "n1", "n2"), Suspect(7, "n1", "n2"), Dead(1, "n1", "n2"), Dead(7, "n1", "n1")],
    )
    def test_an_accusation_is_refuted_above_both_incarnations(self, accusation: Suspect | Dead) -> None:
        bench = Bench().with_nodes(3)
        if isinstance(accusation, Suspect):
            bench.membership.suspect(accusation, 1.0)
        else:
            bench.membership.dead(accusation, 1.0)
        assert bench.said == [alive("n1", accusation.incarnation + 1)]
        assert bench.state("n1") is ALIVE
        assert (bench.awareness.score, bench.counters.refutations) == (1, 1)

    def test_an_accusation_of_an_earlier_incarnation_is_ignored(self) -> None:
        bench = Bench().with_nodes(3)
        bench.membership.update_meta(b"\xff\x80", 0.0)
        bench.clear()
        bench.membership.suspect(Suspect(1, "n1", "n2"), 1.0)
        assert (bench.said, bench.awareness.score) == ([], 0)

    def test_our_own_words_come_back_without_effect(self) -> None:
        bench = Bench().with_nodes(3)
        bench.membership.alive(alive("n1", 1), 1.0)
        assert (bench.said, bench.awareness.score) == ([], 0)

    @pytest.mark.parametrize(
        "claim",
        [alive("n1", 1, meta=b"other"), alive("n1", 9), alive("n1", 1, vsn=bytes([1, 5, 2, 2, 5, 5]))],
    )
    def test_words_we_never_said_are_refuted(self, claim: Alive) -> None:
        bench = Bench().with_nodes(3)
        bench.membership.alive(claim, 1.0)
        assert bench.said == [alive("n1", claim.incarnation + 1)]

    def test_our_name_at_another_address_is_a_conflict_not_a_refutation(self) -> None:
        bench = Bench().with_nodes(3)
        bench.membership.alive(alive("n1", 9, 99), 1.0)
        assert (bench.told, bench.said) == ([("conflict", "n1")], [])

    def test_leaving_is_said_by_ourselves_and_nothing_revives_us(self) -> None:
        bench = Bench().with_nodes(3)
        bench.membership.leave(1.0, lambda: None)
        assert bench.said == [Dead(1, "n1", "n1")]
        assert (bench.state("n1"), bench.told) == (LEFT, [("left", "n1")])
        bench.clear()
        bench.membership.alive(alive("n1", 9), 2.0)
        bench.membership.suspect(Suspect(9, "n1", "n2"), 2.0)
        bench.membership.dead(Dead(9, "n1", "n2"), 2.0)
        assert (bench.state("n1"), bench.said) == (LEFT, [])

    def test_new_metadata_takes_the_next_incarnation(self) -> None:
        bench = Bench()
        bench.membership.update_meta(b"\xff\x80", 1.0)
        assert bench.said == [alive("n1", 2, meta=b"\xff\x80")]
        assert bench.told == [("updated", "n1")]

    def test_an_accusation_that_nobody_could_refute_is_refused_about_anybody(self) -> None:
        bench = Bench().with_nodes(3)
        for name in ("n1", "n2"):
            bench.membership.suspect(Suspect(LAST, name, "n3"), 1.0)
            bench.membership.dead(Dead(LAST, name, "n3"), 1.0)
            assert bench.state(name) is ALIVE
        assert bench.said == []

    def test_incarnations_that_nobody_reaches_are_refused_but_for_a_node_s_own_word(self) -> None:
        bench = Bench().with_nodes(3)
        far = 1 + 34
        bench.membership.alive(alive("n2", far), 1.0)
        bench.membership.suspect(Suspect(far, "n2", "n3"), 1.0)
        bench.membership.dead(Dead(far, "n2", "n3"), 1.0)
        bench.membership.alive(alive("n9", LAST), 1.0)
        bench.membership.alive(alive("n1", LAST), 1.0)
        assert bench.said == []
        assert bench.record("n2").incarnation == 1
        assert bench.asked == [("n2", Suspect(1, "n2", "n1"))]
        bench.membership.alive(alive("n2", far), 1.0, source=endpoint(2))
        assert bench.record("n2").incarnation == far

    def test_a_node_that_lived_before_outdoes_what_is_said_of_it(self) -> None:
        bench = Bench().with_nodes(3)
        bench.membership.suspect(Suspect(2**20, "n1", "n3"), 1.0)
        assert bench.said == [alive("n1", 2**20 + 1)]

    @pytest.mark.heavy
    def test_accusations_do_not_walk_a_node_to_its_last_incarnation(self) -> None:
        bench = Bench().with_nodes(3)
        for step in range(100_000):
            own = bench.membership.own.incarnation
            bench.membership.suspect(Suspect(own + 2**15, "n1", "n3"), step / 1000)
            bench.membership.suspect(Suspect(own, "n1", "n3"), step / 1000)
        assert bench.membership.own.incarnation < 2**31 + 2**22
        # It still refutes all claims that others can accept by then.
        own = bench.membership.own.incarnation
        bench.membership.suspect(Suspect(own + 32, "n1", "n3"), 103.0)
        assert bench.membership.own.incarnation == own + 33

    @pytest.mark.heavy
    def test_hearsay_does_not_walk_another_to_its_last_incarnation(self) -> None:
        bench = Bench().with_nodes(3)
        for step in range(100_000):
            known = bench.record("n2").incarnation
            bench.membership.alive(alive("n2", known + 30), step / 1000, source=endpoint(3))
            bench.membership.suspect(Suspect(known + 30, "n2", "n3"), step / 1000)
        assert bench.record("n2").incarnation < 100
        assert len(bench.asked) < 110
        bench.membership.alive(alive("n2", 200), 101.0, source=endpoint(2))
        assert bench.state("n2") is ALIVE

    def test_hearsay_may_be_ahead_by_what_a_member_says_in_time(self) -> None:
        bench = Bench().with_nodes(3)
        bench.membership.alive(alive("n2", 700), 3600.0, source=endpoint(3))
        assert bench.record("n2").incarnation == 700


class TestGoodbyes:
    def test_one_that_comes_by_others_is_asked_about_and_told_on(self) -> None:
        bench = Bench().with_nodes(6)
        goodbye = Dead(1, "n2", "n2")
        bench.membership.dead(goodbye, 1.0, source=endpoint(3))
        assert bench.state("n2") is ALIVE
        assert (bench.asked, bench.said) == ([("n2", goodbye)], [goodbye])
        bench.pass_time(3.0)
        assert bench.state("n2") is LEFT
        assert bench.told == [("left", "n2")]

    def test_one_that_is_denied_is_nothing(self) -> None:
        bench = Bench().with_nodes(6)
        bench.membership.dead(Dead(1, "n2", "n2"), 1.0, source=endpoint(3))
        bench.membership.alive(alive("n2", 2), 1.2, source=endpoint(2))
        bench.pass_time(3.0)
        assert (bench.state("n2"), bench.told) == (ALIVE, [])

    def test_one_from_its_own_address_counts_at_once(self) -> None:
        bench = Bench().with_nodes(6)
        bench.membership.dead(Dead(1, "n2", "n2"), 1.0, source=endpoint(3))
        bench.membership.dead(Dead(1, "n2", "n2"), 1.1, source=endpoint(2))
        assert bench.state("n2") is LEFT
        bench.pass_time(3.0)
        assert bench.told == [("left", "n2")]

    def test_a_living_member_denies_its_goodbye_to_who_asks(self) -> None:
        core = Loner().know(3)
        core.clear()
        core.hear(Dead(1, "n1", "n1"), source=3)
        answers = [(to, said.incarnation) for to, said, _ in core.of(Alive) if said.node == "n1"]
        assert answers == [(endpoint(3), 2)]


class TestDeathsByOthers:
    def test_the_accused_is_asked_until_it_is_believed(self) -> None:
        bench = Bench().with_nodes(6)
        verdict = Dead(1, "n2", "n3")
        bench.membership.dead(verdict, 1.0, source=endpoint(3))
        assert (bench.state("n2"), bench.said) == (ALIVE, [verdict])
        bench.pass_time(0.9 + DOUBT_SECONDS)
        assert bench.state("n2") is ALIVE
        assert bench.asked == [("n2", verdict)] * 5
        bench.pass_time(1.1 + DOUBT_SECONDS)
        assert (bench.state("n2"), bench.told) == (DEAD, [("left", "n2")])

    def test_one_answer_is_enough_and_is_asked_for_no_more(self) -> None:
        bench = Bench().with_nodes(6)
        bench.membership.dead(Dead(1, "n2", "n3"), 1.0, source=endpoint(3))
        bench.pass_time(1.7)
        bench.membership.alive(alive("n2", 2), 1.75, source=endpoint(2))
        asked = len(bench.asked)
        bench.pass_time(9.0)
        assert (bench.state("n2"), bench.told, len(bench.asked)) == (ALIVE, [], asked)

    def test_a_later_accusation_is_asked_about_as_long_as_the_first(self) -> None:
        bench = Bench().with_nodes(6)
        bench.membership.dead(Dead(1, "n2", "n3"), 1.0, source=endpoint(3))
        bench.pass_time(1.9)
        bench.membership.dead(Dead(2, "n2", "n3"), 1.9, source=endpoint(3))
        bench.pass_time(2.5)
        assert bench.state("n2") is ALIVE
        assert bench.asked[-1] == ("n2", Dead(2, "n2", "n3"))

    def test_a_goodbye_told_meanwhile_makes_it_one_that_left(self) -> None:
        bench = Bench().with_nodes(6)
        bench.membership.dead(Dead(1, "n2", "n3"), 1.0, source=endpoint(3))
        bench.membership.dead(Dead(1, "n2", "n2"), 1.1, source=endpoint(4))
        bench.pass_time(3.0)
        assert bench.state("n2") is LEFT

    @pytest.mark.parametrize("prune", [False, True])
    @pytest.mark.parametrize("leave_first", [False, True])
    def test_with_a_forced_leave_beside_it_a_living_member_stays(
        self, prune: bool, leave_first: bool
    ) -> None:
        core = Loner().know(3)
        member = core.core.members()["n2"]
        verdict = Dead(member.incarnation, "n2", "n3")
        leave = UserMessage(encode_serf(LeaveIntent(20, "n2", prune)))
        for message in (leave, verdict) if leave_first else (verdict, leave):
            core.hear(message, source=3)
        core.pass_time(0.1)
        core.hear(alive("n2", member.incarnation + 1), source=2)
        core.pass_time(2.5)
        assert core.core.members()["n2"].status in (MemberStatus.ALIVE, MemberStatus.LEAVING)
        assert [event for event in core.events if isinstance(event, MemberLeft | MemberReaped)] == []


class TestMembersMadeToRefuteFar:
    FAR = 2**31 + 1

    def test_a_newcomer_takes_their_own_word(self) -> None:
        bench = Bench().with_nodes(2)
        bench.membership.alive(alive("n3", self.FAR), 1.0, source=endpoint(2))
        assert bench.table.get("n3") is None
        bench.membership.alive(alive("n3", self.FAR), 1.1, source=endpoint(3))
        assert bench.state("n3") is ALIVE

    def test_nobody_speaks_for_the_holder_of_an_address(self) -> None:
        bench = Bench().with_nodes(2)
        bench.membership.alive(alive("n3", self.FAR, 2), 1.0, source=endpoint(2))
        assert bench.table.get("n3") is None

    def test_who_is_bound_is_asked_for_its_own_word_at_a_bounded_rate(self) -> None:
        core = Loner(vouching=Bound("n3", endpoint(3).address)).know(2)
        core.clear()
        for _ in range(10):
            core.hear(alive("n3", self.FAR), source=2)
            core.hear(alive("n4", self.FAR), source=2)
        asked = [(to, said.node) for to, said, _ in core.of(Suspect)]
        assert asked == [(endpoint(3), "n3")]
        core.hear(alive("n3", self.FAR), source=3)
        assert core.core.members()["n3"].status is MemberStatus.ALIVE


class TestMerge:
    @pytest.mark.parametrize(
        ("remote", "after"), [(ALIVE, ALIVE), (SUSPECT, SUSPECT), (DEAD, SUSPECT), (LEFT, ALIVE)]
    )
    def test_a_peers_table_is_applied_but_its_dead_are_only_suspected(
        self, remote: NodeStateKind, after: NodeStateKind
    ) -> None:
        bench = Bench().with_nodes(6)
        bench.membership.merge([NodeState("n2", address(2), PORT, b"", 2, remote, OWN_VERSIONS)], 1.0)
        assert bench.state("n2") is after
        bench.pass_time(2.0)
        assert bench.state("n2") is (LEFT if remote is LEFT else after)
        accusers = [said.from_node for said in bench.said if isinstance(said, Suspect)]
        assert accusers == (["n1"] if after is SUSPECT else [])

    def test_our_own_earlier_life_is_outdone(self) -> None:
        bench = Bench().with_nodes(3)
        for state in (ALIVE, SUSPECT, DEAD, LEFT):
            incarnation = bench.membership.own.incarnation + 10
            bench.membership.merge(
                [NodeState("n1", address(1), PORT, b"old", incarnation, state, OWN_VERSIONS)], 1.0
            )
            assert bench.said[-1] == alive("n1", incarnation + 1)

    def test_one_malformed_node_does_not_spoil_the_others(self) -> None:
        bench = Bench()
        bench.membership.merge(
            [
                NodeState("bad", b"abc", PORT, b"", 1, ALIVE, OWN_VERSIONS),
                NodeState("n2", address(2), PORT, b"", 1, ALIVE, OWN_VERSIONS),
            ],
            1.0,
        )
        assert bench.told == [("joined", "n2")]
        assert bench.counters.refused["push-pull: malformed node"] == 1
