"""docs/benchmarks.md: the last figures of each bench, between marks, and the machine they were measured on."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.measurement import Measurement, markdown_table

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def machine() -> str:
    """This machine in one line, without its name: processor, cores, memory, kernel, Python."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    model = found[1] if found else platform.machine()
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    kernel = re.match(r"\d+\.\d+\.\d+", platform.release())
    return (
        f"{model}, {os.cpu_count()} cores, {pages * size / 2**30:.0f} GiB, "
        f"Linux {kernel[0] if kernel else platform.release()}, Python {platform.python_version()}"
    )


def load() -> float:
    """How many processes wanted a core over the last minute: what else the machine was doing."""
    return os.getloadavg()[0]


def write(name: str, rows: Sequence[Measurement], load_before: float) -> None:
    """Puts a bench's figures in their place on the page.

    Raises:
        ValueError: the page has no place for them.
    """
    begin, end = f"<!-- figures of {name} -->", f"<!-- end of {name} -->"
    text = PAGE.read_text("utf-8")
    place = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    when = datetime.now(UTC).date().isoformat()
    new = f"{begin}\n{when}, {machine()}; load before the start {load_before:.1f}\n\n{markdown_table(rows)}\n{end}"
    text, places = place.subn(lambda _: new, text)
    if places != 1:
        raise ValueError(
            f"{PAGE} has {places} places for the figures of {name}: one `{begin}` … `{end}` is needed"
        )
    PAGE.write_text(text, "utf-8")
