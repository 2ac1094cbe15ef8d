"""Aligned tables: complete lines into a file or pipe, folded to the window on a terminal, colour only there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wgmesh_agent.cli.units import printable

_UNLIMITED = 100_000
_FOLDED_WIDTH = 24
_GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """A column; one that `folds` is narrowed when the window is too narrow. `styles` colours known values."""

    title: str
    right: bool = False
    folds: bool = False
    styles: Mapping[str, str] | None = None


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], stream: TextIO) -> None:
    """Writes the table to `stream`. Text is never truncated, and terminal control sequences are escaped."""
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    widths = [_width(number, column, rows) for number, column in enumerate(columns)]
    for column, width in zip(columns, widths, strict=True):
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=not column.folds,
            min_width=min(width, _FOLDED_WIDTH) if column.folds else width,
        )
    for row in rows:
        table.add_row(*(_cell(column, text) for column, text in zip(columns, row, strict=True)))
    if stream.isatty():
        # in a window narrower than this, cells would be truncated: the terminal wraps the lines instead
        smallest = sum(
            _GAP + (min(width, _FOLDED_WIDTH) if column.folds else width)
            for column, width in zip(columns, widths, strict=True)
        )
        window = Console(file=stream).width
        Console(file=stream, width=max(window, smallest), highlight=False).print(table, crop=False)
        return
    buffer = StringIO()
    console = Console(file=buffer, width=_UNLIMITED, color_system=None, force_terminal=False, highlight=False)
    console.print(table, crop=False)
    stream.writelines(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines())


def _width(number: int, column: Column, rows: Sequence[Sequence[str]]) -> int:
    return max(cell_len(column.title), *(cell_len(printable(row[number])) for row in rows), 0)


def _cell(column: Column, text: str) -> Text:
    return Text(printable(text), style=(column.styles or {}).get(text, ""))
