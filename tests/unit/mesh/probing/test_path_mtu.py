"""Path MTUs: found exactly, whatever is lost; calm in any mesh; nonsense and strangers change nothing."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.mesh.probing.path_mtu import (
    MIN_PLPMTU_BYTES,
    MIN_PROBE_INTERVAL_SECONDS,
    PathMTUDiscovery,
    round_down,
)

A, B = ip_address("10.232.0.1"), ip_address("10.232.0.2")
A6, B6 = ip_address("fd00::1"), ip_address("fd00::2")
FULL = 1440
HEADERS_BYTES = {4: 28, 6: 48}


class Pair:
    """A searches the path to B; `carries` is the size of the largest packet that gets there."""

    def __init__(
        self, carries: int, *, full: int = FULL, loss: float = 0.0, seed: int = 1, v6: bool = False
    ) -> None:
        self.a_address, self.b_address = (A6, B6) if v6 else (A, B)
        self.a, self.b = PathMTUDiscovery(full, random.Random(seed)), PathMTUDiscovery(full, random.Random(2))
        self.a.set_peers({self.b_address: "b"}, 0.0)
        self.b.set_peers({self.a_address: "a"}, 0.0)
        self.carries, self.loss, self.full = carries, loss, full
        self.ceiling: int | None = full
        self.latency = 0.0
        self.rng = random.Random(seed)
        self.now = 0.0
        self.sent: list[tuple[float, int]] = []
        self._on_the_way: list[tuple[float, bytes]] = []

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            for due, answer in list(self._on_the_way):
                if due <= self.now:
                    self._on_the_way.remove((due, answer))
                    self.a.received(self.b_address, answer, self.now)
            asked = self.a.due(self.now, lambda _: self.ceiling)
            if asked is not None:
                self._deliver(asked[1])
            self.now = round(self.now + 0.05, 2)

    def _deliver(self, payload: bytes) -> None:
        size = len(payload) + HEADERS_BYTES[self.b_address.version]
        self.sent.append((self.now, size))
        if size <= self.carries and self.rng.random() >= self.loss:
            answer = self.b.received(self.a_address, payload, self.now)
            assert answer is not None
            if self.rng.random() >= self.loss:
                self._on_the_way.append((self.now + self.latency, answer))

    @property
    def mtu(self) -> int | None:
        return self.a.paths()["b"].mtu


def test_a_path_that_carries_everything_costs_one_probe() -> None:
    pair = Pair(FULL)
    pair.run(30.0)
    assert pair.mtu == FULL
    assert len(pair.sent) == 1
    assert not pair.a.reduced()


@pytest.mark.parametrize("carries", [576, 600, 1000, 1216, 1220, 1279, 1280, 1400, 1424, 1439])
def test_a_reduced_path_is_found_to_the_last_step_within_fifteen_seconds(carries: int) -> None:
    pair = Pair(carries)
    pair.run(15.0)
    assert pair.mtu == round_down(carries)
    assert pair.a.reduced() == {B: round_down(carries)}


@given(st.integers(MIN_PLPMTU_BYTES, 9000), st.integers(1280, 9000), st.booleans())
def test_what_is_found_passes_and_the_next_step_does_not(carries: int, full: int, v6: bool) -> None:
    pair = Pair(carries, full=full, v6=v6)
    pair.run(40.0)
    assert pair.mtu is not None
    assert pair.mtu <= min(carries, full)
    assert pair.mtu == full or pair.mtu + 16 > min(carries, full)


@pytest.mark.parametrize("seed", range(40))
def test_with_a_third_lost_each_way_the_search_ends_right_within_ten_minutes(seed: int) -> None:
    """A verdict may be too low for a while, never too high."""
    pair = Pair(1216, loss=0.3, seed=seed)
    for _ in range(60):
        pair.run(10.0)
        assert pair.mtu is None or pair.mtu <= 1216
        if pair.mtu == 1216:
            return
    raise AssertionError(f"seed {seed}: {pair.mtu}")


def test_answers_that_come_after_their_size_was_given_up_still_count() -> None:
    pair = Pair(FULL)
    pair.latency = 3.0
    pair.run(30.0)
    assert pair.mtu == FULL


@pytest.mark.parametrize("seconds", [1.0, 1.5, 2.0, 2.5, 5.0, 14.0])
def test_a_peer_that_stood_still_for_a_while_is_not_taken_for_one_with_a_narrow_path(seconds: float) -> None:
    """Its agent had no processor, and its socket no room: what was sent to it is lost, whatever its size."""
    pair = Pair(FULL)
    pair.carries = 0
    pair.run(seconds)
    pair.carries = FULL
    for _ in range(1300):
        pair.run(0.1)
        assert not pair.a.reduced()
    assert pair.mtu == FULL


def test_a_peer_that_answers_nothing_leaves_the_interface_s_mtu_as_it_is_and_is_asked_ever_more_seldom() -> (
    None
):
    pair = Pair(0)
    pair.run(3600.0)
    assert pair.mtu is None
    assert not pair.a.reduced()
    assert len([when for when, _ in pair.sent if when > 1800]) <= 5 * 10


def test_a_path_that_shrinks_is_noticed_and_one_that_widens_too() -> None:
    pair = Pair(FULL)
    pair.run(10.0)
    pair.carries = 1300
    pair.run(160.0)
    assert pair.mtu == 1296
    pair.carries = FULL
    pair.run(100.0)
    assert pair.mtu == FULL


def test_a_changed_way_is_searched_at_once() -> None:
    pair = Pair(FULL)
    pair.run(10.0)
    pair.carries = 1300
    pair.a.path_changed(B, pair.now)
    pair.run(12.0)
    assert pair.mtu == 1296


def test_what_this_machine_s_routes_say_is_never_exceeded_and_counts_as_reduced() -> None:
    pair = Pair(FULL)
    pair.ceiling = 1220
    pair.run(10.0)
    assert pair.a.reduced() == {B: 1216}
    assert max(size for _, size in pair.sent) == 1216


def test_a_link_that_is_not_heard_is_not_probed_and_searched_once_it_is() -> None:
    pair = Pair(FULL)
    pair.ceiling = None
    pair.run(20.0)
    assert not pair.sent
    pair.ceiling = FULL
    pair.run(3.0)
    assert pair.mtu == FULL


def test_padding_alone_is_no_reduction() -> None:
    pair = Pair(1415, full=1420)
    pair.run(15.0)
    assert pair.mtu == 1408
    assert not pair.a.paths()["b"].is_reduced
    assert not pair.a.reduced()


@pytest.mark.parametrize("answers", [True, False])
def test_five_thousand_peers_get_no_more_than_four_probes_a_second(answers: bool) -> None:
    mtus, far = PathMTUDiscovery(FULL, random.Random(1)), PathMTUDiscovery(FULL, random.Random(2))
    mtus.set_peers({ip_address((10 << 24) + n): f"n{n}" for n in range(1, 5001)}, 0.0)
    far.set_peers({A: "a"}, 0.0)
    times: list[float] = []
    now = 0.0
    while now < 1500.0:
        asked = mtus.due(now, lambda _: FULL)
        if asked is not None:
            times.append(now)
            answer = far.received(A, asked[1], now) if answers else None
            if answer is not None:
                mtus.received(asked[0], answer, now)
        due = mtus.next_due()
        assert due is not None
        now = max(now + 0.001, due)
    assert (
        min(later - earlier for earlier, later in itertools.pairwise(times))
        >= MIN_PROBE_INTERVAL_SECONDS - 0.001
    )
    if answers:
        assert all(path.mtu == FULL for path in mtus.paths().values())


def forged(
    sizes: dict[IPv4Address | IPv6Address, str], attack: Callable[[PathMTUDiscovery, bytes], object]
) -> PathMTUDiscovery:
    mtus = PathMTUDiscovery(FULL, random.Random(1))
    mtus.set_peers(sizes, 0.0)
    asked = mtus.due(0.0, lambda _: FULL)
    assert asked is not None
    attack(mtus, asked[1])
    return mtus


def test_an_answer_to_what_was_not_asked_is_none() -> None:
    def attack(mtus: PathMTUDiscovery, asked: bytes) -> None:
        answer = asked[:4] + b"\x02" + asked[5:11]
        wrong_number = answer[:5] + bytes(byte ^ 1 for byte in answer[5:9]) + answer[9:]
        wrong_size = answer[:9] + (FULL + 16).to_bytes(2, "big")
        for payload in (wrong_number, wrong_size):
            assert mtus.received(B, payload, 0.1) is None
        assert mtus.received(ip_address("10.232.9.9"), answer, 0.1) is None

    assert forged({B: "b"}, attack).paths()["b"].mtu is None


def test_a_stranger_and_a_probe_that_lies_about_its_size_get_no_answer() -> None:
    def attack(mtus: PathMTUDiscovery, asked: bytes) -> None:
        assert mtus.received(ip_address("10.232.9.9"), asked, 0.1) is None
        assert mtus.received(B, asked[:-1], 0.1) is None
        assert mtus.received(B, asked, 0.1) is not None

    forged({B: "b"}, attack)


def test_a_peer_that_is_gone_is_forgotten() -> None:
    pair = Pair(1300)
    pair.run(15.0)
    pair.a.set_peers({}, pair.now)
    assert pair.a.paths() == {}
    assert pair.a.next_due() is None
    assert pair.a.due(pair.now, lambda _: FULL) is None


@given(st.binary(max_size=40), st.ip_addresses())
def test_any_datagram_is_a_probe_or_is_not(payload: bytes, source: IPv4Address | IPv6Address) -> None:
    mtus = PathMTUDiscovery(FULL, random.Random(1))
    mtus.set_peers({source: "x"}, 0.0)
    mtus.received(source, payload, 1.0)
    mtus.received(source, b"wgm1" + payload, 1.0)
