"""Hearing: a one-way cut shows on one side only, a calm mesh stays calm, and nonsense is no probe."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.mesh.probing.liveness import (
    COALESCE_SECONDS,
    DETECT_MULTIPLIER,
    MAX_PROBES_PER_SECOND,
    MIN_PERIOD_SECONDS,
    PROBES_PER_SECOND,
    LivenessProber,
)

A, B = ip_address("10.232.0.1"), ip_address("10.232.0.2")


def pair() -> tuple[LivenessProber, LivenessProber]:
    a, b = LivenessProber(random.Random(1)), LivenessProber(random.Random(2))
    a.set_peers({B: "b"}, 0.0)
    b.set_peers({A: "a"}, 0.0)
    return a, b


def run(
    a: LivenessProber,
    b: LivenessProber,
    start: float,
    seconds: float,
    *,
    a_to_b: bool = True,
    b_to_a: bool = True,
) -> float:
    for step in range(int(seconds * 10)):
        now = start + step / 10
        for sender, receiver, source, open_ in ((a, b, A, a_to_b), (b, a, B, b_to_a)):
            for _, payload in sender.due(now):
                if open_:
                    assert receiver.received(source, payload, now)
    return start + seconds


def test_a_new_link_is_known_both_ways_within_a_second() -> None:
    a, b = pair()
    now = run(a, b, 0.0, 1.0)
    assert a.links(now)["b"].receiving
    assert b.links(now)["a"].receiving


def test_both_ends_know_that_the_other_hears_them() -> None:
    a, b = pair()
    now = run(a, b, 0.0, 4.0)
    assert a.links(now)["b"].peer_receiving is True
    assert b.links(now)["a"].peer_receiving is True


def test_who_leaves_says_so_at_once_in_every_probe_and_is_heard_meanwhile() -> None:
    a, b = pair()
    now = run(a, b, 0.0, 5.0)
    assert not b.leaves(A)
    a.leave(now)
    ((address, payload),) = a.due(now)
    assert address == B
    assert b.received(A, payload, now)
    assert b.leaves(A)
    assert b.is_receiving_from(A, now)
    assert not a.leaves(B)
    b.probe_now(A, now + 1.0)
    ((_, question),) = b.due(now + 1.0)
    assert a.received(B, question, now + 1.0)
    answer = a.answer(B, question, now + 1.0)
    assert answer is not None
    assert b.received(A, answer, now + 1.0)
    assert b.leaves(A)


def test_who_is_back_leaves_no_more() -> None:
    a, b = pair()
    a.leave(1.0)
    ((_, payload),) = a.due(1.0)
    assert b.received(A, payload, 1.0)
    restarted = LivenessProber(random.Random(3))
    restarted.set_peers({B: "b"}, 2.0)
    ((_, payload),) = restarted.due(3.0)
    assert b.received(A, payload, 3.0)
    assert not b.leaves(A)


def test_a_one_way_cut_shows_in_that_direction_only() -> None:
    a, b = pair()
    now = run(a, b, 0.0, 5.0)
    now = run(a, b, now, DETECT_MULTIPLIER * MIN_PERIOD_SECONDS + 3.0, a_to_b=False)
    assert not b.links(now)["a"].receiving
    assert a.links(now)["b"].receiving
    assert a.links(now)["b"].peer_receiving is False


def test_a_healed_link_is_heard_again() -> None:
    a, b = pair()
    now = run(a, b, 0.0, 5.0)
    now = run(a, b, now, 20.0, a_to_b=False, b_to_a=False)
    assert not a.links(now)["b"].receiving
    now = run(a, b, now, 3.0)
    assert a.links(now)["b"].receiving


def crowd() -> LivenessProber:
    hearing = LivenessProber(random.Random(1))
    hearing.set_peers({ip_address((10 << 24) + n): f"n{n}" for n in range(1, 5001)}, 0.0)
    return hearing


@pytest.mark.slow
def test_five_thousand_peers_get_no_more_probes_a_second_than_four() -> None:
    hearing = crowd()
    for step in range(4000):
        hearing.due(step / 10)
    sent = sum(len(hearing.due(400.0 + step)) for step in range(1, 5001))
    assert sent / 5000 <= PROBES_PER_SECOND * 1.15
    assert hearing.links(0.0)["n1"].receiving is False


@pytest.mark.slow
def test_five_thousand_peers_are_met_within_minutes_at_twenty_a_second() -> None:
    hearing = crowd()
    met: set[IPv4Address | IPv6Address] = set()
    now = 0.0
    while len(met) < 5000:
        probes = hearing.due(now)
        assert len(probes) <= MAX_PROBES_PER_SECOND
        met.update(address for address, _ in probes)
        due = hearing.next_due()
        assert due is not None
        now = max(due, now + 0.01)
        assert len(met) <= (now + 1.0) * MAX_PROBES_PER_SECOND
    assert now <= 5000 / MAX_PROBES_PER_SECOND * 1.2


def test_a_healed_link_is_heard_at_once_however_large_the_mesh() -> None:
    """A probe that reports a down link is answered: no end waits for a period of forty minutes."""
    hearing, other = crowd(), LivenessProber(random.Random(2))
    mine, theirs = ip_address("10.1.0.0"), ip_address("10.0.0.7")
    other.set_peers({mine: "a"}, 0.0)
    for address, probe in other.due(1.0):
        assert address == mine
        assert hearing.received(theirs, probe, 1.0)
    for step in range(400):
        hearing.due(2.0 + step)
    assert theirs not in dict(hearing.due(500.0))
    (probe,) = [probe for _, probe in other.due(500.0)]
    assert hearing.received(theirs, probe, 500.0)
    answer = dict(hearing.due(501.0)).get(theirs)
    assert answer is not None
    assert other.received(mine, answer, 501.0)
    assert other.links(501.0)["a"].receiving


def test_what_was_heard_of_a_peer_that_gossip_holds_for_failed_counts_no_more() -> None:
    a, b = pair()
    now = run(a, b, 0.0, 5.0)
    a.on_change(B, now, failed=True)
    assert not a.links(now)["b"].receiving
    assert B in dict(a.due(now))
    now = run(a, b, now, 3.0)
    assert a.links(now)["b"].receiving


def test_a_stranger_is_not_heard() -> None:
    a, _ = pair()
    _, probe = LivenessProber(random.Random(0)), b""
    assert not a.received(ip_address("10.232.9.9"), probe, 1.0)


def test_a_peer_that_is_gone_is_forgotten_and_one_that_took_its_address_starts_anew() -> None:
    a, b = pair()
    now = run(a, b, 0.0, 3.0)
    a.set_peers({B: "c"}, now)
    assert a.links(now)["c"].last_received_seconds_ago is None
    a.set_peers({}, now)
    assert a.links(now) == {}
    assert a.next_due() is None


@given(st.binary(max_size=40), st.ip_addresses())
def test_any_datagram_is_a_probe_or_is_not(payload: bytes, source: IPv4Address | IPv6Address) -> None:
    hearing = LivenessProber(random.Random(1))
    hearing.set_peers({source: "x"}, 0.0)
    hearing.received(source, payload, 1.0)
    hearing.links(2.0)


def test_a_peer_that_is_asked_answers_at_once_and_at_most_once_a_second() -> None:
    a, b = pair()
    now = run(a, b, 0.0, 5.0)
    answers = []
    for step in range(20):
        a.probe_now(B, now + step / 10)
        (_, question) = next(one for one in a.due(now + step / 10) if one[0] == B)
        assert b.received(A, question, now + step / 10)
        answer = b.answer(A, question, now + step / 10)
        if answer is not None:
            assert a.received(B, answer, now + step / 10)
            assert a.answer(B, answer, now + step / 10) is None
            answers.append(step)
    assert answers == [0, 10]


def test_a_probe_is_answered_with_the_one_that_is_due_within_half_a_period() -> None:
    """The first to send wakes the other, which need not be woken again; an end that has just sent does not send
    again.
    """
    a, b = pair()
    sent = answered = 0
    for step in range(2000):
        now = step / 10
        for sender, receiver, source, back in ((a, b, A, B), (b, a, B, A)):
            for _, payload in sender.due(now):
                sent += 1
                assert receiver.received(source, payload, now)
                answer = receiver.answer(source, payload, now)
                if answer is not None:
                    answered += 1
                    assert sender.received(back, answer, now)
                    again = sender.answer(back, answer, now)
                    assert again is None or now < MIN_PERIOD_SECONDS
    assert sent == pytest.approx(answered, abs=3)
    assert sent + answered <= 2 * 200 / MIN_PERIOD_SECONDS * 1.15


def test_probes_due_soon_go_together_and_none_much_before_its_time() -> None:
    hearing = LivenessProber(random.Random(1))
    hearing.set_peers({ip_address((10 << 24) + n): f"n{n}" for n in range(1, 100)}, 0.0)
    now, turns, sent = 0.0, 0, 0
    last: dict[IPv4Address | IPv6Address, float] = {}
    while now < 600.0:
        probes = hearing.due(now)
        if now > 100.0:
            turns, sent = turns + 1, sent + len(probes)
            gaps = [now - last[address] for address, _ in probes]
            assert min(gaps) >= 0.8 * hearing.period_seconds - COALESCE_SECONDS
            assert max(gaps) <= 1.1 * hearing.period_seconds + 1.0
        last |= {address: now for address, _ in probes}
        due = hearing.next_due()
        assert due is not None
        now = max(due, now + 0.001)
    assert sent / 500.0 <= PROBES_PER_SECOND * 1.15
    assert sent >= 3 * turns
