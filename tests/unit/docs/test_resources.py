"""docs/resources.md says what code does: fields, reasons, Events and annotations."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from wgmesh_api.resources.crd import KINDS, object_schema
from wgmesh_api.resources.reference import reference, renewed, rows
from wgmesh_api.roster import ENDPOINT, ROTATE_WIREGUARD_KEYS
from wgmesh_operator.decisions import names
from wgmesh_operator.decisions.rendering import tunnel
from wgmesh_operator.decisions.trust import authority, gossip_key, join_bundles, preshared

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "resources.md").read_text()
TROUBLESHOOTING = (ROOT / "docs" / "troubleshooting.md").read_text()
DECISIONS = ROOT / "operator" / "wgmesh_operator" / "decisions"
AGENT = ROOT / "node-agent" / "wgmesh_agent" / "kube"
REASON = re.compile(r"[A-Z][A-Za-z]+")
PLACES = {"Condition": 2, "SpecConflict": 0, "_status": 1}
"""Which argument of a call is the reason of a condition."""
EVENT_PLACES = {"Emit": 3, "_event": 1, "_write": 2, "write": 2}


def texts(node: ast.AST) -> Iterator[str]:
    """The texts an expression may come to, if they look like reasons."""
    for found in ast.walk(node):
        if isinstance(found, ast.Constant) and isinstance(found.value, str) and REASON.fullmatch(found.value):
            yield found.value


def called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def arguments(tree: ast.AST, places: dict[str, int]) -> Iterator[str]:
    """The texts at the given places of the given calls."""
    for call in calls(tree):
        place = places.get(called(call))
        if place is not None and place < len(call.args):
            yield from texts(call.args[place])


def told_otherwise(tree: ast.AST) -> Iterator[str]:
    """Reasons given by keyword `ready_reason`, or assigned to `reason, message`."""
    for call in calls(tree):
        for keyword in call.keywords:
            if keyword.arg == "ready_reason":
                yield from texts(keyword.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "(reason, message)":
            yield from texts(node.value.elts[0] if isinstance(node.value, ast.Tuple) else node.value)


def conditions_of_code() -> set[str]:
    trees = [ast.parse(path.read_text()) for path in (*DECISIONS.rglob("*.py"), *AGENT.glob("*.py"))]
    return {reason for tree in trees for reason in (*arguments(tree, PLACES), *told_otherwise(tree))}


def events_of_code() -> set[str]:
    trees = [ast.parse(path.read_text()) for path in DECISIONS.rglob("*.py")]
    return {reason for tree in trees for reason in arguments(tree, EVENT_PLACES)}


def column(text: str, heading: str, number: int) -> set[str]:
    """The words in backquotes in one column of the tables whose first line has `heading`."""
    found: set[str] = set()
    for table in re.findall(rf"^\|[^\n]*{re.escape(heading)}[^\n]*\n(?:\|[^\n]*\n)+", text, re.M):
        for row in table.splitlines()[2:]:
            found.update(re.findall(r"`([A-Z][A-Za-z]+)`", row.split(" | ")[number]))
    return found


@pytest.mark.heavy
def test_conditions_are_explained_with_every_reason_there_is() -> None:
    found = conditions_of_code()
    assert {"NodesJoining", "CIDROverlap", "PodsTerminating", "Unreachable", "Isolated"} <= found
    assert column(TEXT, "condition | status | reason", 2) - {"Degraded"} == found


@pytest.mark.heavy
def test_every_reason_that_needs_a_person_has_its_next_step_in_operations() -> None:
    good = {
        "NodesJoined",
        "CertificatesIssued",
        "CARotating",
        "AllLinksUp",
        "AsExpected",
        "Joined",
        "PathMTUSufficient",
    }
    assert column(TROUBLESHOOTING, "reason | next step", 0) == conditions_of_code() - good


def test_events_are_explained() -> None:
    found = events_of_code()
    assert {"BootstrapsChanged", "CASwitched", "BundleCreated"} <= found
    told = column(TEXT, "reason | event", 0)
    assert told == found | {"Recovered", "Ready", "CertificatesReady", "FullyMeshed"}


def test_annotations_are_those_the_operator_knows() -> None:
    own = {
        names.ROTATE_CA,
        names.ROTATE_GOSSIP_KEY,
        ROTATE_WIREGUARD_KEYS,
        names.RESTART_TUNNELS,
        names.RENDERED,
        tunnel.RESTARTED,
        authority.ROTATED,
        authority.SINCE,
        join_bundles.MEMBER_UID,
        gossip_key.PHASE,
        gossip_key.SINCE,
        gossip_key.MADE,
        gossip_key.ROTATED,
        names.ROTATE_PSK,
        preshared.ROTATED,
        ENDPOINT,
    }
    told = set(re.findall(r"`(wgmesh\.dev/[a-z-]+)`", TEXT))
    assert told == own | {names.MESH_FINALIZER, "wgmesh.dev/leave"}


def test_the_tables_are_those_made_from_the_types() -> None:
    assert renewed(TEXT) == TEXT, "run `scripts/generate-crds`"


def test_every_field_has_one_row_that_says_something() -> None:
    for kind in KINDS:
        lines = [line for line in reference(kind).splitlines() if re.match(r"\| `(spec|status)\.", line)]
        lines = [line for line in lines if line.count(" | ") > 1]
        schema = object_schema(kind.model)["properties"]
        fields = [row.path for part in ("spec", "status") for row in rows(schema[part], part)]
        assert [line.split("`")[1] for line in lines] == fields
        assert all(line.rstrip(" |").endswith((".", "`.")) for line in lines)


def test_a_row_says_type_default_bounds_and_meaning() -> None:
    mesh = reference(KINDS[0])
    assert "| `spec.bootstrap.replicas` | integer | `2` | 1 to 9 | Number of bootstrap nodes." in mesh
    assert '| `spec.tolerations` | list of objects | `[{"operator": "Exists"}]` |' in mesh
    assert "| `spec.cidrs` | a mesh keeps its ranges: create another mesh with the new ones |" in mesh
    assert "| DOWN LINK (with `-o wide`) | `status.downLinks[0]` |" in mesh


def test_a_text_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="no part between"):
        renewed("# Nothing")
