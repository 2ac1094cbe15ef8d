"""CONTRIBUTING.md: each mechanism is found by its usual term, in the map and in the module that the map names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
AGENT = ROOT / "node-agent" / "wgmesh_agent"
(TABLE,) = re.findall(r"^\| mechanism \| module \|\n\|[-|]+\n((?:\|[^\n]*\n)+)", TEXT, re.M)
MAP = {
    row.split(" | ")[0].strip("| "): re.findall(r"`([\w/]+\.py)`", row.split(" | ")[1])
    for row in TABLE.splitlines()
}
TERMS = [
    "NAT detection",
    "hole punching",
    "path MTU discovery",
    "MSS clamping",
    "relay selection",
    "subnet routes",
    "endpoint candidates",
    "liveness probe",
    "key rotation",
    "admission",
    "revocation",
    "roster sync",
    "status rate limit",
    "certificate renewal",
    "address allocation",
    "failure detector",
    "push-pull",
    "coordinates",
]


@pytest.mark.parametrize("term", TERMS)
def test_the_map_has_the_term_of_each_mechanism(term: str) -> None:
    assert MAP[term]


@pytest.mark.parametrize(("term", "module"), [(term, module) for term in MAP for module in MAP[term]])
def test_grep_finds_the_term_in_the_module_of_the_map(term: str, module: str) -> None:
    lines = (AGENT / module).read_text().lower().splitlines()
    assert any(term.lower() in line for line in lines)
