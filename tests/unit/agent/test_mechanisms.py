"""A mechanism is a package and its lines in the composition root: without both, everything else is as before."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import wgmesh_agent

PACKAGE = Path(wgmesh_agent.__file__).parent
ROOT = PACKAGE.parents[1]
WITHOUT_RELAYS = """
import asyncio, importlib, pathlib, pkgutil, sys, types
import wgmesh_agent
for module in pkgutil.walk_packages(wgmesh_agent.__path__, "wgmesh_agent."):
    importlib.import_module(module.name)
assert not any(name.startswith("wgmesh_agent.mesh.relay") for name in sys.modules)
# Some installed library has a package of this name, too.
tests = sys.modules["tests"] = types.ModuleType("tests")
tests.__path__ = [sys.argv[2]]
from tests.unit.node import composed

async def made(folder):
    node = composed(pathlib.Path(folder))
    assert node.indirect.relays_in_use() == {}
    assert not node.indirect.is_open
    names = {component.name for component in node.components}
    assert "paths" in names and "relaying" not in names
    node.gossip.on_query("_relay", lambda request: None)
    node.store.close()

asyncio.run(made(sys.argv[1]))
print("composed")
"""


class WithoutName(ast.NodeTransformer):
    """Removes what is named so: its import, the assignment, and each item of a list, table or call that mentions it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if f".{self._name}." in f".{node.module}." else node

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        if any(isinstance(target, ast.Name) and target.id == self._name for target in node.targets):
            return None
        return self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> ast.AST:
        kept = [(k, v) for k, v in zip(node.keys, node.values, strict=True) if not self._is_of(v)]
        return ast.Dict([key for key, _ in kept], [value for _, value in kept])

    def visit_Tuple(self, node: ast.Tuple) -> ast.AST:
        return ast.Tuple([one for one in node.elts if not self._is_of(one)], node.ctx)

    def _is_of(self, node: ast.AST) -> bool:
        """Whether it is the name, an attribute of it, or a call with one as a direct argument."""
        if isinstance(node, ast.Call):
            return any(self._is_of(argument) for argument in node.args)
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and node.id == self._name


def mentions(tree: ast.AST, name: str) -> set[str]:
    return {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == name}


def test_relays_can_be_taken_out_by_deleting_their_package_and_their_lines(tmp_path: Path) -> None:
    copy = tmp_path / "wgmesh_agent"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(copy / "mesh" / "relay")
    root = copy / "agent" / "composition.py"
    tree = WithoutName("relay").visit(ast.parse(root.read_text()))
    assert not mentions(tree, "relay")
    root.write_text(ast.unparse(ast.fix_missing_locations(tree)))
    state = tmp_path / "state"
    found = subprocess.run(
        [sys.executable, "-c", WITHOUT_RELAYS, str(state), str(ROOT / "tests")],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT / 'proto'}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.stdout == "composed\n", found.stderr
