"""Figures, tables and the page of the benches."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.bench import page
from tests.bench.measurement import CannotRun, Measurement, figure, markdown_table, text_table
from tests.bench.wireguard_tables import read

ROW = Measurement("join", "s", [0.5, 0.4, 2.0], "interpreter", [0.25, 0.2, 0.3], "≤ 3×", True)
TABLES = """Linux-6.12, 1 CPU

programming, kernel back end (best of 5)

| peers | wg addconf |  apply | ratio | read+diff+apply | ratio |
|------:|-----------:|-------:|------:|----------------:|------:|
|  1000 |     100 ms | 190 ms |  1.90 |          201 ms |  2.01 |

throughput of one TCP connection, kernel back end (best of 5 × 4 s)

| by hand with wg |         ours | ratio | by hand, a second tunnel | its ratio |
|----------------:|-------------:|------:|-------------------------:|----------:|
|    0.500 Gbit/s | 0.495 Gbit/s | 0.990 |             0.490 Gbit/s |     0.980 |
"""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.01234, "0.0123"),
        (0.5, "0.500"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (1234.5, "1,234"),
        (-2, "-2.00"),
    ],
)
def test_figures_have_three_digits_and_no_exponent(value: float, text: str) -> None:
    assert figure(value) == text


def test_a_row_shows_median_extremes_reference_and_ratio() -> None:
    assert ROW.cells() == (
        "join",
        "s",
        "3",
        "0.500",
        "0.400",
        "2.00",
        "interpreter: 0.250",
        "2.00",
        "≤ 3×",
        "reached",
    )


def test_a_row_that_only_informs_is_neither_reached_nor_missed() -> None:
    assert Measurement("LZW", "µs", [3.0]).cells()[-4:] == ("–", "–", "–", "–")


def test_columns_align_in_text_and_every_row_is_whole_in_markdown() -> None:
    rows = [ROW, Measurement("a longer name", "MiB", [1.0], reach="≤ 75", reached=False)]
    lines = text_table(rows).splitlines()
    assert len({line.index(cell) for line, cell in zip(lines, ("reach", "≤ 3×", "≤ 75"), strict=True)}) == 1
    assert len({line.count("|") for line in markdown_table(rows).splitlines()}) == 1


def test_the_tables_of_the_wireguard_bench_are_judged_by_their_ratios() -> None:
    programming, throughput, chance = read(TABLES)
    assert programming.what == "programming 1000 peers, kernel back end (best of 5)"
    assert programming.ratio == pytest.approx(2.01)
    assert programming.reached is False
    assert throughput.unit == "Gbit/s"
    assert throughput.reached is True
    assert chance.ratio == pytest.approx(0.98)
    assert chance.reached is None


def test_tables_without_the_columns_looked_for_are_no_figures() -> None:
    with pytest.raises(CannotRun, match="other tables"):
        read(TABLES.replace("wg addconf", "wg setconf"))


def test_new_figures_replace_the_old_ones_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = tmp_path / "benchmarks.md"
    marks = "before\n<!-- figures of {0} -->\nold\n<!-- end of {0} -->\n"
    written.write_text(marks.format("join") + marks.format("idle"), "utf-8")
    monkeypatch.setattr(page, "PAGE", written)
    page.write("join", [ROW], 0.25)
    text = written.read_text("utf-8")
    assert text.count("old") == 1
    assert text.endswith(marks.format("idle"))
    assert "load before the start 0.2" in text
    with pytest.raises(ValueError, match="0 places"):
        page.write("unheard-of", [ROW], 0.0)


def test_the_page_has_a_place_for_each_bench() -> None:
    from tests.bench.run import BENCHES

    text = page.PAGE.read_text("utf-8")
    for name in BENCHES:
        assert text.count(f"<!-- figures of {name} -->") == text.count(f"<!-- end of {name} -->") == 1, name
