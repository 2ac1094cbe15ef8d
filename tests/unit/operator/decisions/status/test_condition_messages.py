"""Every condition has a message, whatever its reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.operator.harness import NOW, cluster_of, external_body, settle

from wgmesh_api.report import NodeReport
from wgmesh_operator.decisions.membership.spec_conflicts import SpecConflict
from wgmesh_operator.decisions.status.conditions import StatusInputs, evaluate
from wgmesh_operator.decisions.status.mesh_summary import Examples, MeshSummary

ROOT = Path(__file__).parents[5]
PLACES = {"Condition": 3, "SpecConflict": 1, "Denial": 1, "_status": 2, "_with_condition": 3}
"""Which argument of a call is the message of a condition."""
EXAMPLES = st.lists(st.sampled_from(["a", "b -> c"]), max_size=2).map(
    lambda names: Examples(names, len(names))
)
COUNTS = st.integers(0, 3)


@st.composite
def inputs(draw: st.DrawFn) -> StatusInputs:
    nodes = draw(COUNTS)
    summary = MeshSummary(nodes=nodes, links=nodes * max(0, nodes - 1))
    summary.ready, summary.links_up = draw(st.integers(0, nodes)), draw(st.integers(0, summary.links))
    summary.relayed, summary.ready_bootstraps = draw(COUNTS), draw(COUNTS)
    for name in (
        "not_joined",
        "down",
        "certificates_missing",
        "certificates_expired",
        "links_down",
        "reduced_mtu",
    ):
        setattr(summary, name, draw(EXAMPLES))
    blocked = draw(st.booleans())
    conflict = SpecConflict("CIDROverlap", "the range is used by another mesh", blocking=blocked)
    return StatusInputs(
        summary=summary,
        conflicts=[conflict] if blocked or draw(st.booleans()) else [],
        blocked=blocked,
        agents=(draw(COUNTS), draw(COUNTS)),
        bootstraps_wanted=draw(COUNTS),
        authority_error=draw(st.sampled_from(["", "the CA's Secret cannot be read"])),
        ca_rotating=draw(st.booleans()),
        starting=draw(st.booleans()),
    )


@given(inputs())
def test_every_condition_of_a_mesh_has_a_message(found: StatusInputs) -> None:
    assert [one.reason for one in evaluate(found) if not one.message.strip()] == []


@given(st.booleans(), st.sampled_from(["", "Joined", "Left"]), st.sampled_from(["", "all well"]))
def test_every_condition_of_a_member_has_a_message(ready: bool, reason: str, message: str) -> None:
    report = NodeReport(ready=ready, ready_reason=reason, ready_message=message, ready_since=NOW)
    (condition,) = report.to_status()["conditions"]
    assert condition["message"].strip()


def test_conditions_of_external_members_have_messages() -> None:
    api = cluster_of()
    api.put(external_body())
    settle(api)
    for reachable in (True, False):
        known = [{"node": "laptop", "publicKey": "k", "reachable": reachable}]
        for number in range(3):
            api.report_ready(f"blue.n{number}", 3, externals=known)
        settle(api)
        laptop = api.get("WgMeshNode", "blue.laptop")
        assert laptop is not None
        (condition,) = laptop["status"]["conditions"]
        assert condition["message"], condition


def messages(tree: ast.AST) -> Iterator[tuple[int, ast.expr]]:
    """The expressions that conditions get their messages from, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            place = PLACES.get(called)
            if place is not None and place < len(node.args):
                yield node.lineno, node.args[place]
            for keyword in node.keywords:
                if keyword.arg == "ready_message":
                    yield node.lineno, keyword.value
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "(reason, message)":
            yield node.lineno, node.value.elts[1] if isinstance(node.value, ast.Tuple) else node.value


def may_be_empty(value: ast.expr) -> bool:
    if isinstance(value, ast.IfExp):
        return may_be_empty(value.body) or may_be_empty(value.orelse)
    return isinstance(value, ast.Constant) and not value.value


@pytest.mark.parametrize("package", ["operator/wgmesh_operator/decisions", "node-agent/wgmesh_agent/kube"])
def test_no_reason_is_given_without_a_message(package: str) -> None:
    found = [
        (path.name, line, value)
        for path in (ROOT / package).rglob("*.py")
        for line, value in messages(ast.parse(path.read_text()))
    ]
    assert len(found) >= 2
    assert [(name, line) for name, line, value in found if may_be_empty(value)] == []
