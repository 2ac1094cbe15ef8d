"""The probe cycle and the indirect ping service of gossip-wire section 7, seen from the wire."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.gossip.memberlist_harness import PORT, Loner, address, alive, endpoint

from wgmesh_agent.gossip.memberlist.streams import OpenStream, Purpose
from wgmesh_agent.gossip.wire.messages import (
    Ack,
    Alive,
    Dead,
    IndirectPing,
    MessageType,
    Nack,
    Ping,
    Suspect,
    encode,
)
from wgmesh_agent.gossip.wire.packet import PacketCodec
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus

MEMBERLIST_4 = bytes([1, 4, 2, 2, 5, 4])
MEMBERLIST_2 = bytes([1, 2, 2, 2, 5, 4])


def next_ping(core: Loner) -> tuple[int, Ping]:
    """Wait for the next probe: the index of its node, and the ping."""
    core.clear()
    for _ in range(100):
        core.pass_time(0.05)
        if core.of(Ping):
            destination, ping, _ = core.of(Ping)[0]
            assert destination.address.packed[3] == int(ping.node[1:])
            return int(ping.node[1:]), ping
    raise AssertionError("no ping within 5 s")


def test_a_ping_names_its_target_and_where_to_answer() -> None:
    core = Loner().know(2)
    _, ping = next_ping(core)
    assert (ping.node, ping.source_addr, ping.source_port, ping.source_node) == ("n2", address(1), PORT, "n1")


def test_an_answered_probe_ends_the_cycle_and_measures_the_round_trip() -> None:
    core = Loner().know(2)
    _, ping = next_ping(core)
    payload = core.core.ack_payload()
    core.clear()
    core.pass_time(0.02)
    core.hear(Ack(ping.seq_no, payload))
    core.pass_time(0.9)
    assert core.of(IndirectPing) == []
    rtt = core.core.rtt("n2")
    assert rtt is not None
    assert rtt > 0
    assert core.core.counters.probes_failed == 0


def test_silence_brings_indirect_pings_a_stream_ping_and_after_a_second_suspicion() -> None:
    core = Loner().know(6)
    target, ping = next_ping(core)
    core.clear()
    core.pass_time(0.5)
    requests = core.of(IndirectPing)
    assert len({destination for destination, _, _ in requests}) == 3
    for destination, request, _ in requests:
        assert destination not in (endpoint(1), endpoint(target))
        assert (request.seq_no, request.node, request.nack) == (ping.seq_no, f"n{target}", True)
        assert (request.target, request.port) == (address(target), PORT)
        assert (request.source_addr, request.source_node) == (address(1), "n1")
    streams = [action for action in core.actions if isinstance(action, OpenStream)]
    assert [(action.endpoint, action.purpose) for action in streams] == [(endpoint(target), Purpose.PING)]
    core.pass_time(0.5)
    assert {said.node for _, said, _ in core.of(Suspect)} <= {f"n{target}"}
    assert core.core.counters.probes_failed == 1
    core.pass_time(1)
    assert core.of(Suspect)[0][1] == Suspect(1, f"n{target}", "n1")


def test_an_ack_through_another_ends_the_cycle_without_a_round_trip() -> None:
    core = Loner().know(5)
    target, ping = next_ping(core)
    core.pass_time(0.6)
    core.hear(Ack(ping.seq_no, b""), source=3)
    core.pass_time(0.6)
    assert core.core.counters.probes_failed == 0
    assert core.core.rtt(f"n{target}") is None


def test_an_answer_over_a_stream_counts_as_contact() -> None:
    core = Loner().know(3)
    _, ping = next_ping(core)
    core.pass_time(0.55)
    stream = next(action for action in core.actions if isinstance(action, OpenStream))
    reply = encode(Ack(ping.seq_no))
    core.do(lambda serf: serf.stream_received(stream.stream_id, reply, core.now))
    core.pass_time(0.5)
    assert core.core.counters.probes_failed == 0


def test_a_refused_stream_ends_the_cycle_at_once_without_harm_to_our_health() -> None:
    core = Loner().know(6)
    target, _ = next_ping(core)
    core.pass_time(0.55)
    stream = next(action for action in core.actions if isinstance(action, OpenStream))
    core.do(lambda serf: serf.stream_closed(stream.stream_id, "refused", core.now, refused=True))
    assert core.core.counters.probes_failed == 1
    assert score(core) == 0
    core.pass_time(0.3)
    assert core.of(Suspect)[0][1] == Suspect(1, f"n{target}", "n1")


def test_a_stream_that_fails_otherwise_changes_nothing() -> None:
    core = Loner().know(6)
    next_ping(core)
    core.pass_time(0.55)
    stream = next(action for action in core.actions if isinstance(action, OpenStream))
    core.do(lambda serf: serf.stream_closed(stream.stream_id, "no route to host", core.now))
    assert core.core.counters.probes_failed == 0


def test_an_ack_of_another_number_over_a_stream_is_no_contact() -> None:
    core = Loner().know(3)
    _, ping = next_ping(core)
    core.pass_time(0.55)
    stream = next(action for action in core.actions if isinstance(action, OpenStream))
    core.do(lambda serf: serf.stream_received(stream.stream_id, encode(Ack(ping.seq_no + 1)), core.now))
    core.pass_time(0.5)
    assert core.core.counters.probes_failed == 1


@pytest.mark.parametrize(
    ("vsn", "nack", "stream"), [(MEMBERLIST_4, True, True), (MEMBERLIST_2, False, False)]
)
def test_old_peers_are_asked_only_what_they_know(vsn: bytes, nack: bool, stream: bool) -> None:
    core = Loner()
    for index in range(2, 5):
        core.hear(alive(f"n{index}", vsn=vsn))
    next_ping(core)
    core.pass_time(0.5)
    assert {request.nack for _, request, _ in core.of(IndirectPing)} == {nack}
    assert any(isinstance(action, OpenStream) for action in core.actions) is stream


def score(core: Loner) -> int:
    return core.core._memberlist.awareness.score


@pytest.mark.parametrize(
    ("vsn", "nacks", "expected"),
    [(MEMBERLIST_4, 0, 3), (MEMBERLIST_4, 2, 1), (MEMBERLIST_4, 3, 0), (MEMBERLIST_2, 0, 1)],
)
def test_a_failed_cycle_costs_health_by_the_nacks_that_did_not_come(
    vsn: bytes, nacks: int, expected: int
) -> None:
    core = Loner()
    for index in range(2, 7):
        core.hear(alive(f"n{index}", vsn=vsn))
    _, ping = next_ping(core)
    core.pass_time(0.5)
    for _ in range(nacks):
        core.hear(Nack(ping.seq_no))
    core.pass_time(0.5)
    assert score(core) == expected


def test_poor_health_stretches_the_cycle_and_success_mends_it() -> None:
    core = Loner().know(2)
    core.hear(Suspect(1, "n1", "n2"))
    assert score(core) == 1
    _, ping = next_ping(core)
    core.pass_time(1.9)
    assert core.core.counters.probes_failed == 0
    core.hear(Ack(ping.seq_no, b""))
    assert score(core) == 0


def answer_late(core: Loner, source: int | None = None) -> None:
    """Three probes are given up; what answers each comes from its target, or from `source`, 2 s after it."""
    for _ in range(3):
        target, ping = next_ping(core)
        core.pass_time(2)
        core.hear(Ack(ping.seq_no, b""), source=source or target)


def test_whoever_has_had_late_answers_waits_longer_for_the_next() -> None:
    core = Loner().know(6)
    answer_late(core)
    before = core.core.counters.probes_failed
    _, ping = next_ping(core)
    core.pass_time(2)
    assert core.of(IndirectPing) == []
    core.pass_time(1)
    core.hear(Ack(ping.seq_no, b""))
    assert core.core.counters.probes_failed == before


def test_a_late_answer_counts_once_however_often_it_comes() -> None:
    core = Loner().know(2)
    target, ping = next_ping(core)
    core.pass_time(2)
    prober = core.core._memberlist._prober
    core.hear(Ack(ping.seq_no, b""), source=target)
    once = prober._answer_time.scale
    assert once > 1
    core.hear(*[Ack(ping.seq_no, b"")] * 5, source=target)
    assert prober._answer_time.scale == once


def test_late_answers_that_others_bring_say_nothing_of_how_long_it_takes() -> None:
    core = Loner().know(6)
    answer_late(core, source=9)
    next_ping(core)
    core.pass_time(0.5)
    assert core.of(IndirectPing)


def test_a_suspect_is_pinged_with_the_accusation_beside_and_nothing_else() -> None:
    core = Loner().know(2)
    core.hear(Suspect(1, "n2", "n9"))
    _, ping = next_ping(core)
    datagram = next(data for _, data in core.datagrams if encode(ping) in data)
    assert datagram[0] == MessageType.CRC
    parts = PacketCodec(None).decode(datagram)
    assert parts == [encode(ping), encode(Suspect(1, "n2", "n1"))]


def test_the_accused_that_stays_silent_is_failed_after_the_formulas_time() -> None:
    core = Loner().know(3)
    _, _ = next_ping(core)
    core.pass_time(12)
    statuses = {name: member.status for name, member in core.core.members().items()}
    assert statuses == {"n1": MemberStatus.ALIVE, "n2": MemberStatus.FAILED, "n3": MemberStatus.FAILED}
    assert all(said.from_node == "n1" for _, said, _ in core.of(Dead))


class TestAnswering:
    def test_a_ping_is_acknowledged_with_our_coordinate_where_it_says(self) -> None:
        core = Loner().know(2)
        core.hear(alive("n5", port=1234))
        core.clear()
        core.hear(Ping(77, "n1", address(5), 1234, "n5"), source=2)
        [(destination, ack, _)] = core.of(Ack)
        assert (destination.address.packed, destination.port) == (address(5), 1234)
        assert (ack.seq_no, ack.payload[:1]) == (77, b"\x01")

    def test_an_address_of_no_member_gets_nothing_on_somebody_s_word(self) -> None:
        core = Loner().know(2)
        core.hear(Ping(77, "n1", address(5), PORT, "n5"), source=2)
        core.hear(Ping(78, "n1", address(2), 53, "n2"), source=2)
        assert [to for to, _, _ in core.of(Ack)] == [endpoint(2), endpoint(2)]

    def test_without_a_source_it_goes_to_where_it_came_from(self) -> None:
        core = Loner()
        core.hear(Ping(77, ""), source=4)
        assert core.of(Ack)[0][0] == endpoint(4)

    def test_a_ping_for_another_name_is_not_answered(self) -> None:
        core = Loner()
        core.hear(Ping(77, "n2"), source=4)
        assert core.of(Ack) == []
        assert core.core.counters.refused["ping: for another node"] == 1

    def test_waiting_broadcasts_ride_along(self) -> None:
        core = Loner().know(3)
        core.clear()
        core.hear(Ping(77, "n1"), source=2)
        assert {type(message) for _, message, _ in core.sent} >= {Ack, Alive}
        assert len(core.datagrams) == 1

    def test_who_repeats_what_we_refuted_is_told_directly(self) -> None:
        core = Loner().know(3)
        core.hear(Suspect(1, "n1", "n2"))
        core.clear()
        core.hear(Suspect(1, "n1", "n3"), source=3)
        statements = [message for to, message, _ in core.of(Alive) if to == endpoint(3)]
        assert [(said.node, said.incarnation) for said in statements] == [("n1", 2)]


class TestWordsOfTheGone:
    def gone(self, message: Dead, after: float) -> Loner:
        core = Loner().know(3)
        core.hear(message)
        for _ in range(int(after)):
            core.pass_time(1)
            core.hear(alive("n3", core.core.members()["n3"].incarnation + 1))
        core.clear()
        return core

    @pytest.mark.parametrize("after", [1, 60])
    @pytest.mark.parametrize(("accuser", "status"), [("n2", MemberStatus.LEFT), ("n3", MemberStatus.FAILED)])
    def test_a_belated_alive_does_not_raise_but_reminds_who_is_really_back(
        self, accuser: str, status: MemberStatus, after: float
    ) -> None:
        core = self.gone(Dead(1, "n2", accuser), after)
        core.hear(alive("n2", 1), source=3)
        assert core.core.members()["n2"].status is status
        reminders = [said for to, said, _ in core.of(Dead) if to == endpoint(2)]
        assert reminders[0] == Dead(1, "n2", "n2" if accuser == "n2" else "n1")
        core.hear(alive("n2", 2), source=2)
        assert core.core.members()["n2"].status is MemberStatus.ALIVE

    def test_after_a_while_a_failed_name_may_come_back_elsewhere(self) -> None:
        core = self.gone(Dead(1, "n2", "n3"), 60)
        core.hear(alive("n2", 1, 99))
        assert core.core.members()["n2"].status is MemberStatus.ALIVE
        assert core.core.members()["n2"].address == endpoint(99).address


class TestIndirectPings:
    def request(self, **changes: Any) -> IndirectPing:
        values: dict[str, Any] = {
            "target": address(9),
            "port": PORT,
            "node": "n9",
            "nack": True,
            "source_addr": address(2),
            "source_port": PORT,
            "source_node": "n2",
        }
        return IndirectPing(500, **{**values, **changes})

    def test_the_target_is_pinged_in_our_name_and_its_ack_passed_on_empty(self) -> None:
        core = Loner()
        core.hear(alive("n9"))
        core.hear(self.request())
        [(destination, ping, _)] = core.of(Ping)
        assert (destination, ping.node, ping.source_node) == (endpoint(9), "n9", "n1")
        assert ping.seq_no != 500
        core.hear(Ack(ping.seq_no, b"\x01payload"), source=9)
        assert [(to, said) for to, said, _ in core.of(Ack)] == [(endpoint(2), Ack(500, b""))]
        core.pass_time(5)
        assert core.of(Nack) == []

    def test_silence_is_reported_after_the_probe_timeout(self) -> None:
        core = Loner()
        core.hear(alive("n9"))
        core.hear(self.request())
        core.pass_time(0.49)
        assert core.of(Nack) == []
        core.pass_time(0.02)
        assert [(to, said) for to, said, _ in core.of(Nack)] == [(endpoint(2), Nack(500))]

    def test_a_late_ack_is_not_passed_on(self) -> None:
        core = Loner()
        core.hear(alive("n9"))
        core.hear(self.request(nack=False))
        [(_, ping, _)] = core.of(Ping)
        core.pass_time(0.6)
        core.hear(Ack(ping.seq_no, b""), source=9)
        assert (core.of(Nack), core.of(Ack)) == ([], [])

    def test_a_thousand_and_more_errands_are_not_taken_on(self) -> None:
        core = Loner()
        core.hear(alive("n9"))
        for _ in range(1100):
            core.hear(self.request())
        assert len(core.of(Ping)) == 1024
        core.pass_time(1)
        core.clear()
        core.hear(self.request())
        assert len(core.of(Ping)) == 1

    def test_nobody_is_pinged_who_is_no_member(self) -> None:
        core = Loner().know(2)
        core.hear(self.request())
        assert core.of(Ping) == []
        assert core.core.counters.refused["indirect ping: of no member"] == 1
