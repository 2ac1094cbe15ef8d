"""Log messages have one form: lower case, no full stop; errors in `error`, other causes in `reason`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "node-agent" / "wgmesh_agent"
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
PROPER_NAMES = {"API", "CA", "WireGuard"}
OF_THIS_HOUSE = {"anew", "knock", "nobody", "somebody", "taken over", "told", "whereabouts", "whoever"}


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
                and ast.unparse(node.func.value) in ("log", "structlog.get_logger()")
            ):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def texts(expression: ast.expr) -> Iterator[str]:
    for node in ast.walk(expression):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


CALLS = list(calls())


@pytest.mark.heavy
def test_every_event_is_lower_case_without_a_full_stop() -> None:
    assert len(CALLS) > 150
    found = [(place, text) for place, call in CALLS for text in list(texts(call.args[0]))[:1]]
    assert [
        (place, text)
        for place, text in found
        if text.endswith(".") or not (text[0].islower() or text.split()[0] in PROPER_NAMES)
    ] == []


@pytest.mark.heavy
def test_causes_are_errors_or_reasons() -> None:
    assert [place for place, call in CALLS if any(key.arg == "why" for key in call.keywords)] == []


@pytest.mark.heavy
def test_events_and_next_steps_use_the_words_of_the_field() -> None:
    found = [
        (place, text)
        for place, call in CALLS
        for expression in (call.args[0], *(key.value for key in call.keywords if key.arg == "next"))
        for text in texts(expression)
    ]
    assert [(place, text) for place, text in found if any(word in text for word in OF_THIS_HOUSE)] == []
