"""Drawings of benches: every point is inside, and what is drawn is XML."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from tests.bench.plot import HEIGHT, WIDTH, Axis, Line, svg

LINES = [
    Line("a & b", [(10, 0.5), (100, 2.0), (1000, 3.0)]),
    Line("formula", [(10, 1.0), (1000, 1.0)], dashed=True),
]


@pytest.mark.parametrize("logarithmic", [False, True])
def test_all_lines_are_drawn_inside(logarithmic: bool) -> None:
    text = svg("title <1>", Axis("nodes", logarithmic), Axis("seconds"), LINES)
    root = ElementTree.fromstring(text)
    drawn = [path.get("d", "") for path in root.iter() if path.get("stroke-width") == "2"]
    places = [tuple(map(float, place)) for d in drawn for place in re.findall(r"([\d.]+) ([\d.]+)", d)]
    assert len(places) >= 5
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places)
    assert "a &amp; b" in text
    assert text.count("dasharray") == 2


def test_nothing_is_no_drawing() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        svg("empty", Axis("x"), Axis("y"), [Line("none", [])])
