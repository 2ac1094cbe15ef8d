"""Members that wait for their admission record: how many, when each is asked for, and when it is said."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from tests.unit.kube.harness import claim

from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.mesh.membership.missing_records import (
    BACKOFF,
    MAX_ATTEMPTS,
    MAX_CONCURRENT_QUERIES,
    MAX_MISSING,
    MissingRecord,
    MissingRecords,
)
from wgmesh_agent.wireguard.keys import PublicKey

NOW = 1000.0
BETA, GAMMA = claim("beta", 2), claim("gamma", 3)


class News:
    """Counts its notifications."""

    def __init__(self) -> None:
        self.told = 0

    def notify(self) -> None:
        self.told += 1


def records(*claims: Claim) -> MissingRecords:
    made = MissingRecords(News())
    for one in claims:
        made.add(one)
    return made


def only(missing: MissingRecords, now: float = NOW) -> MissingRecord:
    (found,) = missing.due(now)
    return found


def asked(missing: MissingRecords, now: float = NOW, *, found: bool = False) -> bool:
    return missing.answered(only(missing, now), now, lambda seconds: seconds, is_found=found)


def crowd(members: int) -> list[Claim]:
    key = PublicKey(bytes([5]) * 32)
    return [Claim(f"n{number}", key, (ip_address("10.232.0.5"),), ()) for number in range(members)]


def test_a_new_one_is_asked_for_at_once_and_told_of_once() -> None:
    news = News()
    missing = MissingRecords(news)
    missing.add(BETA)
    assert "beta" in missing
    assert news.told == 1
    assert only(missing, 0.0).claim == BETA
    assert missing.next_due(NOW) <= 0
    missing.add(BETA)
    assert news.told == 1


def test_the_newest_claim_of_a_name_counts() -> None:
    missing = records(BETA)
    newer = replace(BETA, public_key=PublicKey(bytes([9]) * 32))
    missing.add(newer)
    assert only(missing).claim == newer


def test_a_claim_without_a_name_cannot_be_asked_for() -> None:
    news = News()
    missing = MissingRecords(news)
    missing.add(replace(BETA, node=""))
    assert missing.due(NOW) == []
    assert news.told == 0


def test_no_more_are_kept_than_there_is_room_for() -> None:
    missing = records(*crowd(MAX_MISSING + 1))
    assert len(missing.due(NOW)) == MAX_MISSING
    assert f"n{MAX_MISSING}" not in missing
    missing.settled("n0")
    missing.settled("nobody")
    missing.add(BETA)
    assert "beta" in missing


def test_it_is_a_crowd_once_they_are_more_than_are_asked_about_at_once() -> None:
    assert not records(*crowd(MAX_CONCURRENT_QUERIES)).is_crowded()
    assert records(*crowd(MAX_CONCURRENT_QUERIES + 1)).is_crowded()


def test_each_is_asked_for_ever_more_seldom_and_the_spread_is_that_of_the_caller() -> None:
    missing = records(BETA)
    one = only(missing)
    for attempt in range(1, 4):
        missing.answered(one, NOW, lambda seconds: 2 * seconds, is_found=False)
        pause = 2 * BACKOFF.seconds(attempt)
        assert missing.next_due(NOW) == pause
        assert missing.due(NOW + pause - 0.001) == []
        assert missing.due(NOW + pause) == [one]
    assert [BACKOFF.seconds(attempt) for attempt in (1, 2, 3)] == [1.0, 2.0, 4.0]


def test_whoever_was_asked_for_least_comes_first() -> None:
    missing = records(BETA)
    asked(missing)
    missing.add(GAMMA)
    assert [one.claim for one in missing.due(NOW + 60)] == [GAMMA, BETA]


def test_the_next_is_due_when_the_first_of_them_is_and_without_any_in_a_minute() -> None:
    assert records().next_due(NOW) == 60.0
    missing = records(BETA)
    asked(missing)
    asked(missing, NOW + 1)
    missing.add(GAMMA)
    missing.answered(missing.due(NOW + 1)[0], NOW + 1, lambda seconds: seconds, is_found=False)
    assert missing.next_due(NOW + 1) == 1.0


def test_who_was_asked_for_in_vain_is_named() -> None:
    missing = records(BETA, GAMMA)
    missing.answered(missing.due(NOW)[0], NOW, lambda seconds: seconds, is_found=False)
    assert missing.asked_in_vain() == [BETA]


def test_that_it_is_in_vain_is_said_after_the_second_attempt_alone() -> None:
    missing = records(BETA)
    one = only(missing)
    said = [missing.answered(one, NOW, lambda seconds: seconds, is_found=False) for _ in range(MAX_ATTEMPTS)]
    assert said == [False, True, *[False] * (MAX_ATTEMPTS - 2)]


def test_who_was_found_is_not_asked_for_again_and_not_reported() -> None:
    missing = records(BETA)
    assert not asked(missing)
    assert not asked(missing, NOW + 60, found=True)
    assert "beta" not in missing
    assert missing.asked_in_vain() == []


def test_who_was_asked_for_eight_times_is_forgotten_with_the_next() -> None:
    missing = records(BETA)
    one = only(missing)
    for _ in range(MAX_ATTEMPTS):
        missing.answered(one, NOW, lambda seconds: seconds, is_found=False)
        assert "beta" in missing
    missing.answered(one, NOW, lambda seconds: seconds, is_found=False)
    assert "beta" not in missing
    assert MAX_ATTEMPTS == 8
    # A question that was still out when it was settled.
    missing.answered(one, NOW, lambda seconds: seconds, is_found=False)


def test_a_bootstrap_node_that_is_back_has_all_asked_for_at_once_and_once_more() -> None:
    news = News()
    missing = MissingRecords(news)
    missing.retry_now()
    assert news.told == 0
    missing.add(BETA)
    one = only(missing)
    missing.answered(one, NOW, lambda seconds: seconds, is_found=False)
    assert missing.due(NOW) == []
    missing.retry_now()
    assert news.told == 2
    assert missing.due(0.0) == [one]
    # It came while a question was out: that one's answer does not put the next off.
    missing.answered(one, NOW, lambda seconds: seconds, is_found=False)
    assert missing.due(0.0) == [one]
