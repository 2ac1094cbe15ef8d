"""Numbers as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.cli import units


@pytest.mark.parametrize(
    ("usec", "expected"),
    [(0, "0.00ms"), (420, "0.42ms"), (7100, "7.10ms"), (10_000, "10ms"), (38_400, "38ms"), (None, "-")],
)
def test_round_trips_have_decimals_when_short(usec: int | None, expected: str) -> None:
    assert units.rtt(usec) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (20 * 2**20, "20.0 MiB"),
        (2**20 - 1, "1.0 MiB"),
        (2**60, "1024.0 PiB"),
    ],
)
def test_sizes_go_by_powers_of_1024(count: int, expected: str) -> None:
    assert units.size(count) == expected


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        (0, "never"),
        (1_000_000, "0s ago"),
        (999_988, "12s ago"),
        (1_000_000 - 59, "59s ago"),
        (1_000_000 - 185, "3m ago"),
        (1_000_000 - 7500, "2h 5m ago"),
        (1_000_000 - 273_700, "3d 4h ago"),
        (1_000_100, "0s ago"),
    ],
)
def test_moments_are_told_by_how_long_ago(then: int, expected: str) -> None:
    assert units.ago(then, 1_000_000.9) == expected


def test_times_have_their_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0")
    time.tzset()
    try:
        assert units.moment(1_614_419_131) == "2021-02-27 10:45:31 +0100 CET"
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.text())
def test_nothing_a_terminal_obeys_gets_through(text: str) -> None:
    assert units.printable(text).isprintable()


def test_ordinary_text_stays() -> None:
    assert units.printable("héllo wörld [x] ✓") == "héllo wörld [x] ✓"
