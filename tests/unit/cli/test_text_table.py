"""Tables: aligned, never cut, coloured on terminals only."""

from __future__ import annotations

import re
from io import StringIO

import pytest

from wgmesh_agent.cli.text_table import Column, print_table

COLUMNS = (
    Column("Name"),
    Column("Status", styles={"alive": "green"}),
    Column("RTT", right=True),
    Column("Tags", folds=True),
)


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def printed(*rows: tuple[str, ...], stream: StringIO | None = None) -> str:
    stream = stream or StringIO()
    print_table(COLUMNS, rows, stream)
    return stream.getvalue()


def test_columns_align() -> None:
    assert printed(("a", "alive", "0.42ms", "x=1"), ("longer", "failed", "38ms", "")) == (
        "Name    Status     RTT  Tags\n"  #
        "a       alive   0.42ms  x=1\n"
        "longer  failed    38ms\n"
    )


def test_a_wide_table_into_a_pipe_is_one_line_a_row() -> None:
    tags = ", ".join(f"key{number}=value" for number in range(200))
    header, row = printed(("a" * 64, "alive", "1ms", tags)).splitlines()
    assert row.endswith(tags)
    assert header.startswith("Name")


def test_a_wide_table_on_a_terminal_folds_its_tags_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    words = [f"key{number}=value" for number in range(30)]
    out = re.sub(
        r"\x1b\[[0-9;]*m", "", printed(("alpha", "alive", "1ms", ", ".join(words)), stream=Terminal())
    )
    assert max(len(line) for line in out.splitlines()) <= 60
    assert all(word in out for word in words)
    assert "…" not in out


def test_a_terminal_too_narrow_for_the_table_cuts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("TERM", "xterm")
    out = printed(("a-rather-long-node-name", "alive", "0.42ms", "role=database"), stream=Terminal())
    assert "a-rather-long-node-name" in out
    assert "0.42ms" in out
    assert "role=database" in out


def test_colour_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[32m" in printed(("a", "alive", "", ""), stream=Terminal())
    assert "\x1b" not in printed(("a", "alive", "", ""))


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in printed(("a", "alive", "", ""), stream=Terminal())


def test_a_wish_for_colour_does_not_spoil_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in printed(("a", "alive", "", ""))


def test_markup_and_escapes_from_other_nodes_are_shown_not_obeyed() -> None:
    out = printed(("[red]x[/red]", "alive", "", "k=\x1b[31m\nnew :smile:"))
    assert "[red]x[/red]" in out
    assert r"k=\x1b[31m\nnew :smile:" in out


def test_wide_characters_keep_the_columns_aligned() -> None:
    first, second = printed(("ノード", "alive", "", ""), ("a", "alive", "", "")).splitlines()[1:]
    assert first.index("alive") + 3 == second.index("alive")
