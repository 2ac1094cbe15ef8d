"""Aligned tables: whole lines into a file or pipe, folded to the window on a terminal, colour only there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TextIO

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from wgmesh_agent.cli.units import printable

_UNLIMITED = 100_000


@dataclass(frozen=True, slots=True)
class Column:
    """A column; one that `folds` gives way when the window is too narrow. `styles` colours known values."""

    title: str
    right: bool = False
    folds: bool = False
    styles: Mapping[str, str] | None = None


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], stream: TextIO) -> None:
    """Write the table to `stream`. No text is ever cut off, and what a terminal would obey is escaped."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=not column.folds,
        )
    for row in rows:
        table.add_row(*(_cell(column, text) for column, text in zip(columns, row, strict=True)))
    if stream.isatty():
        console = Console(file=stream, highlight=False, markup=False)
        # narrower than its parts would cut them: then better let the terminal wrap the lines
        smallest = Measurement.get(console, console.options.update(max_width=_UNLIMITED), table).minimum
        console.print(table, width=max(console.width, smallest), crop=False, no_wrap=True, overflow="ignore")
        return
    buffer = StringIO()
    console = Console(file=buffer, width=_UNLIMITED, color_system=None, force_terminal=False, highlight=False)
    console.print(table, crop=False)
    stream.writelines(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines())


def _cell(column: Column, text: str) -> Text:
    return Text(printable(text), style=(column.styles or {}).get(text, ""))
