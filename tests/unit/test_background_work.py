"""Every task, thread, timer and handler of agent and operator has an owner that learns of its end: a list of all.

Whoever starts another finds this test failing: give the work to `runtime.supervisor` or handle its units inside a fence
(`runtime.borders`), and enter here who owns it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("node-agent/wgmesh_agent", "operator/wgmesh_operator")
STARTS = frozenset(
    (
        "create_task", "ensure_future", "call_later", "call_at", "call_soon", "call_soon_threadsafe", "add_reader",
        "add_writer", "add_signal_handler", "Thread", "Timer", "run_coroutine_threadsafe", "start_server",
        "start_unix_server", "create_datagram_endpoint", "create_server", "create_connection", "add_done_callback",
        "on_query", "run_in_executor", "ThreadPoolExecutor", "ThreadingHTTPServer",
    )
)  # fmt: skip
"""Calls after which something runs that no caller awaits."""

AWAITED = "awaited in the same function, with what it raises"
SUPERVISED = "the supervisor itself"
OWNERS: dict[str, str] = {}


def background_work(package: Path) -> Iterator[str]:
    """`module:function call` of each call that starts something."""
    for path in sorted(package.rglob("*.py")):
        if "lab" in path.relative_to(package).parts:
            continue
        yield from _calls(ast.parse(path.read_text()), path.relative_to(package).as_posix(), ())


def _calls(node: ast.AST, module: str, inside: tuple[str, ...]) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _calls(child, module, (*inside, child.name))
            continue
        if isinstance(child, ast.Call):
            called = child.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in STARTS:
                yield f"{module}:{'.'.join(inside)} {name}"
        yield from _calls(child, module, inside)


@pytest.mark.parametrize("package", PACKAGES)
def test_all_background_work_has_an_owner(package: str) -> None:
    prefix = package.rpartition("/")[2]
    found = {f"{prefix}/{work}" for work in background_work(ROOT / package)}
    unowned = sorted(found - set(OWNERS))
    assert not unowned, f"who learns when one of these ends? {unowned}"
    stale = sorted(work for work in OWNERS if work.startswith(f"{prefix}/") and work not in found)
    assert not stale, f"these are gone: {stale}"
    assert all(len(why.split()) >= 3 for why in OWNERS.values())


def test_a_task_that_nobody_owns_is_found() -> None:
    source = "class A:\n    async def run(self):\n        asyncio.create_task(self.work())\n"
    assert list(_calls(ast.parse(source), "a.py", ())) == ["a.py:A.run create_task"]
