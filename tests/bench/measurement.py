"""What a bench answers, and how it is shown: one line a measurement, the reference beside it.

A bench is a module with `TITLE`, a line on what it does, and `measure(quick: bool) -> list[Measurement]`, which raises
`CannotRun` where this machine lacks something; run.py lists them.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


class CannotRun(Exception):
    """A bench could not be run; says what is missing or what went wrong."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One row.

    Attributes:
        what: what was measured, in a few words.
        unit: of all samples, such as `s`, `ms`, `MiB`, `%`.
        samples: one or more figures.
        reference: what it is compared with; empty if with nothing but `reach`.
        reference_samples: measured in the same run; empty if there is no reference.
        reach: the figure that is wanted, in words; empty for a row that only informs.
        reached: whether it is; None for a row that only informs.
    """

    what: str
    unit: str
    samples: Sequence[float]
    reference: str = ""
    reference_samples: Sequence[float] = ()
    reach: str = ""
    reached: bool | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def reference_median(self) -> float | None:
        return statistics.median(self.reference_samples) if self.reference_samples else None

    @property
    def ratio(self) -> float | None:
        """Our median divided by the reference's; None without a reference, or with one that is zero."""
        reference = self.reference_median
        return self.median / reference if reference else None

    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of `HEADINGS`."""
        reference = self.reference_median
        ratio = self.ratio
        return (
            self.what,
            self.unit,
            str(len(self.samples)),
            figure(self.median),
            figure(min(self.samples)),
            figure(max(self.samples)),
            f"{self.reference}: {figure(reference)}" if reference is not None else "–",
            f"{ratio:.2f}" if ratio is not None else "–",
            self.reach or "–",
            {None: "–", True: "reached", False: "NOT REACHED"}[self.reached],
        )


HEADINGS = ("what", "unit", "n", "median", "min", "max", "reference (median)", "ratio", "reach", "")
_WORDS = (0, 6, 8)
"""Columns that hold words; the others hold figures and are flushed right."""


def figure(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0:
        return "0"
    size = abs(value)
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3 if size >= 0.1 else 4
    return f"{value:,.{decimals}f}"


def text_table(rows: Sequence[Measurement]) -> str:
    """For a terminal: aligned columns."""
    table = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in _WORDS else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    )


def markdown_table(rows: Sequence[Measurement]) -> str:
    """For docs/benchmarks.md."""
    rule = ["---" if column in _WORDS else "---:" for column in range(len(HEADINGS))]
    lines = [HEADINGS, rule, *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
