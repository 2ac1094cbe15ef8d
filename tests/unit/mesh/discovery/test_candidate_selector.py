"""Which endpoint of a peer is tried next, and when others are asked about it."""

import itertools
import random
from dataclasses import replace
from ipaddress import ip_address

import pytest

from wgmesh_agent.mesh.discovery.candidate_selector import (
    BACKOFF,
    FIRST_QUERY_AFTER_SECONDS,
    MAX_CONCURRENT_QUERIES,
    MAX_OBSERVED,
    MOVE_GRACE_SECONDS,
    CandidateSelector,
    DueQueries,
)
from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Endpoint, Peer

NOW = 1_760_000_000.0
KEY = PublicKey(bytes(32))
OLD, NEW, SEEN, LEARNED = (Endpoint(ip_address(f"192.0.2.{number}"), 54540) for number in (1, 2, 3, 4))
ELSEWHERE = Endpoint(ip_address("198.51.100.1"), 54540)
STAYED = Claim("b", KEY, (ip_address("10.232.0.2"),), (OLD,))
MOVED = replace(STAYED, endpoints=(NEW, OLD))


def seeking(*, moved_ago: float | None = None) -> CandidateSelector:
    found = CandidateSelector(random.Random(1))
    assert found.update([STAYED], NOW - 1000) == []
    if moved_ago is not None:
        assert found.update([MOVED], NOW - moved_ago) == [KEY]
        assert found.update([MOVED], NOW - moved_ago + 1) == []
    return found


@pytest.mark.parametrize(
    ("moved_ago", "endpoint", "handshake_ago", "written_ago", "heard_ago", "expected"),
    [
        # Never shaken hands: a try for each in turn, and what is news at once.
        (None, OLD, None, 1.0, None, None),
        (None, OLD, None, 6.0, None, SEEN),
        (0.1, OLD, None, 3.0, None, NEW),
        (5.0, NEW, None, 4.0, None, None),
        (9.0, NEW, None, 7.0, None, SEEN),
        (20.0, SEEN, None, 7.0, None, OLD),
        (20.0, OLD, None, 7.0, None, NEW),
        # It has not moved: whatever the silence, that is for the rule of 180 s.
        (None, OLD, 100.0, 1000.0, 90.0, None),
        (None, OLD, 400.0, 1000.0, None, None),
        # It says it moved: given up once it had the time to answer on its old path, and did not.
        (MOVE_GRACE_SECONDS - 0.1, OLD, 30.0, 1000.0, 4.0, None),
        (MOVE_GRACE_SECONDS, OLD, 30.0, 1000.0, 4.0, NEW),
        (MOVE_GRACE_SECONDS, OLD, 30.0, 1000.0, None, NEW),
        (MOVE_GRACE_SECONDS, OLD, 30.0, 1000.0, 1.0, None),
        # Not there either: the next one.
        (10.0, NEW, 30.0, 5.0, 14.0, None),
        (10.0, NEW, 30.0, 6.0, 14.0, SEEN),
        (10.0, NEW, 30.0, 6.0, 3.0, None),
        # WireGuard itself learned it: no claim moves it.
        (10.0, LEARNED, 30.0, 1000.0, 30.0, None),
        (10.0, None, None, 0.0, None, None),
    ],
)
def test_the_next_endpoint(
    moved_ago: float | None,
    endpoint: Endpoint | None,
    handshake_ago: float | None,
    written_ago: float,
    heard_ago: float | None,
    expected: Endpoint | None,
) -> None:
    found = seeking(moved_ago=moved_ago)
    found.add_observed(KEY, [SEEN])
    claim = STAYED if moved_ago is None else MOVED
    handshake = 0.0 if handshake_ago is None else NOW - handshake_ago
    peer = Peer(KEY, endpoint, last_handshake=handshake, endpoint_written=NOW - written_ago)
    order = found.candidates(claim, ELSEWHERE)
    assert found.next_candidate(claim, peer, order, heard_ago, NOW) == expected


@pytest.mark.parametrize(
    ("moved_ago", "endpoint", "handshake_ago", "settled"),
    [
        (None, OLD, 100.0, True),
        (None, LEARNED, 179.0, True),
        (None, OLD, 180.0, False),
        (None, None, 1.0, False),
        (179.0, OLD, 100.0, False),
        (180.0, NEW, 100.0, True),
    ],
)
def test_a_peer_with_a_session_and_without_news_is_settled(
    moved_ago: float | None, endpoint: Endpoint | None, handshake_ago: float, settled: bool
) -> None:
    found = seeking(moved_ago=moved_ago)
    peer = Peer(KEY, endpoint, last_handshake=NOW - handshake_ago)
    assert found.is_settled(peer, NOW) is settled


@pytest.mark.parametrize(
    ("endpoint", "handshake_ago", "heard_ago", "expected"),
    [
        (OLD, None, None, NEW),
        (OLD, 30.0, 4.0, NEW),
        (SEEN, 30.0, None, NEW),
        # It is reachable at its current endpoint.
        (OLD, 30.0, 1.0, None),
        # It is tried there already.
        (NEW, 30.0, 4.0, None),
    ],
)
def test_what_the_roster_says_is_tried_before_all_else_if_a_member_is_not_heard(
    endpoint: Endpoint, handshake_ago: float | None, heard_ago: float | None, expected: Endpoint | None
) -> None:
    found = seeking()
    found.hinted(KEY, NEW, NOW - MOVE_GRACE_SECONDS)
    found.add_observed(KEY, [SEEN])
    handshake = 0.0 if handshake_ago is None else NOW - handshake_ago
    peer = Peer(KEY, endpoint, last_handshake=handshake, endpoint_written=NOW - 1000)
    order = found.candidates(replace(STAYED, endpoints=(OLD, NEW)), ELSEWHERE)
    assert found.next_candidate(STAYED, peer, order, heard_ago, NOW) == expected


def test_a_member_that_says_that_it_has_moved_is_tried_where_it_says() -> None:
    found = seeking()
    found.hinted(KEY, SEEN, NOW - 20.0)
    found.update([MOVED], NOW - MOVE_GRACE_SECONDS)
    peer = Peer(KEY, OLD, last_handshake=NOW - 30.0, endpoint_written=NOW - 1000)
    claim = replace(MOVED, endpoints=(NEW, SEEN, OLD))
    assert found.next_candidate(claim, peer, found.candidates(claim, ELSEWHERE), 4.0, NOW) == NEW


def test_candidates_are_what_it_told_last_then_what_others_saw_then_what_it_told_before() -> None:
    found = seeking(moved_ago=1.0)
    found.add_observed(KEY, [SEEN, NEW])
    assert found.candidates(MOVED, ELSEWHERE) == (NEW, SEEN, OLD)


def test_who_is_behind_the_same_translator_is_tried_behind_it_first() -> None:
    found = seeking()
    outer, inner = Endpoint(ELSEWHERE.address, 4001), Endpoint(ip_address("192.168.1.7"), 54540)
    claim = replace(STAYED, endpoints=(outer, inner))
    found.add_observed(KEY, [Endpoint(ELSEWHERE.address, 4002)])
    assert found.candidates(claim, ELSEWHERE)[0] == inner
    assert found.candidates(claim, OLD)[0] == outer


def test_who_is_not_heard_is_probed_once_more_and_then_asked_about_ever_more_seldom() -> None:
    found = seeking()
    probed, asked = [], []
    for step in range(6000):
        due = found.due({KEY}, step / 10)
        assert not due.ask
        probed += [step / 10] * len(due.probe)
        asked += [step / 10] * len(due.ask_widely)
    assert probed == [FIRST_QUERY_AFTER_SECONDS]
    assert asked[0] < FIRST_QUERY_AFTER_SECONDS + 3
    pauses = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert pauses[0] < 6
    assert max(pauses) <= BACKOFF.longest_seconds * 1.25 + 0.1
    assert len(asked) < 20


def test_peer_that_only_a_relay_reaches_is_queried_for_days() -> None:
    found = seeking()
    asked = sum(len(found.due({KEY}, 80.0 * step).ask_widely) for step in range(1200))
    assert asked > 1100


def test_who_is_heard_is_not_asked_about_and_begins_anew() -> None:
    found = seeking()
    assert found.due({KEY}, 0.0) == DueQueries()
    assert found.due({KEY}, FIRST_QUERY_AFTER_SECONDS) == DueQueries(probe=(KEY,))
    assert found.due(set(), 2.0) == DueQueries()
    assert found.due({KEY}, 100.0) == DueQueries()
    assert found.due({KEY}, 100.0 + FIRST_QUERY_AFTER_SECONDS) == DueQueries(probe=(KEY,))


def test_a_mesh_that_falls_silent_at_once_is_asked_about_a_few_at_a_time() -> None:
    found = CandidateSelector(random.Random(1))
    keys = [PublicKey(bytes([number]) * 32) for number in range(50)]
    found.update([replace(STAYED, public_key=key) for key in keys], NOW)
    found.due(keys, 0.0)
    assert len(found.due(keys, 2.0).probe) == len(keys)
    assert len(found.due(keys, 10.0).ask) == MAX_CONCURRENT_QUERIES


@pytest.mark.heavy
def test_a_member_that_is_slow_is_not_asked_after_by_a_large_mesh_all_at_once() -> None:
    """Each queries three members directly first; the query that all would forward follows the less often the more there
    are.
    """
    straight, widely, members = 0, 0, 400
    claims = [
        replace(STAYED, public_key=PublicKey(number.to_bytes(32, "big"))) for number in range(1, members)
    ]
    for member in range(members):
        found = CandidateSelector(random.Random(member))
        found.update(claims, NOW)
        for step in range(60):
            due = found.due({claims[0].public_key}, step / 2)
            straight += len(due.ask)
            widely += len(due.ask_widely)
    assert straight == members
    assert widely < members / 2


def test_what_others_say_is_bounded_and_forgotten_with_the_member() -> None:
    found = seeking()
    many = [Endpoint(ip_address(number), 1) for number in range(1, 100)]
    assert found.add_observed(KEY, many)
    assert not found.add_observed(KEY, many)
    assert len(found.candidates(STAYED, ELSEWHERE)) == MAX_OBSERVED + 1
    found.update([], NOW)
    assert not found.add_observed(KEY, many)
    assert found.candidates(STAYED, ELSEWHERE) == (OLD,)
