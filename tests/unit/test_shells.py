"""Whatever does work in time is made by a unit test with typed fakes, or is the kernel's and tested where that is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "tests" / "unit"
PROGRAMS = ("node-agent/wgmesh_agent", "operator/wgmesh_operator")
# The lab is what tests/netns is made of.
NOT_HERE = ("node-agent/wgmesh_agent/lab",)
ELSEWHERE = {
    "KernelBackend": "tests/netns and tests/kernel: kernel WireGuard",
    "NetlinkThread": "tests/netns: pyroute2 on a socket of the kernel",
    "InterfaceAddresses": "tests/netns/test_candidates.py: the addresses of a host",
    "SystemNft": "tests/unit/linux/test_nft.py tests run_nft, which is all that it does",
    "MeshNode": "composition.compose makes it, and tests/unit/node.py calls that",
    "MeshServer": "join.server.serve makes it, and tests/unit/mesh/join/test_server.py calls that",
}


def shells() -> Iterator[str]:
    """The public classes with a coroutine of their own."""
    for program in PROGRAMS:
        for path in (ROOT / program).rglob("*.py"):
            if any(path.is_relative_to(ROOT / folder) for folder in NOT_HERE):
                continue
            for node in ast.parse(path.read_text()).body:
                if (
                    isinstance(node, ast.ClassDef)
                    and not node.name.startswith("_")
                    and any(isinstance(part, ast.AsyncFunctionDef) for part in node.body)
                    and not any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)
                ):
                    yield node.name


def made_by_tests() -> set[str]:
    """What tests call, and what they derive fakes from."""
    found = set()
    for path in UNIT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                found.add(_name(node.func))
            elif isinstance(node, ast.ClassDef):
                found |= {_name(base) for base in node.bases}
    return found


def _name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=value):
            return _name(value)
    return ""


def test_each_shell_is_made_by_a_unit_test() -> None:
    found, made = set(shells()), made_by_tests()
    assert len(found) > 80
    assert found - made - ELSEWHERE.keys() == set()


def test_no_exception_is_one_without_need() -> None:
    assert ELSEWHERE.keys() <= set(shells())
    assert not ELSEWHERE.keys() & made_by_tests()
