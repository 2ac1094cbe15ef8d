"""The CRDs are structural, described throughout, and what the chart carries."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wgmesh_api.resources.crd import KINDS, definitions, object_schema
from wgmesh_api.resources.mesh import WgMesh, WgMeshSpec
from wgmesh_api.resources.node import WgMeshNode

ROOT = Path(__file__).parents[3]
SCHEMAS = [object_schema(kind.model) for kind in KINDS]


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{path}[]")


ALL = [(path, node) for schema in SCHEMAS for path, node in nodes(schema)]


@pytest.mark.parametrize(("path", "node"), ALL)
def test_every_value_has_one_type(path: str, node: dict[str, Any]) -> None:
    assert ("type" in node) != ("x-kubernetes-int-or-string" in node), path
    assert not {"$ref", "anyOf", "oneOf", "const", "title", "$defs"} & set(node), path


@pytest.mark.parametrize(
    ("path", "node"),
    [
        (p, n)
        for p, n in ALL
        if p.count(".") and not p.endswith("[]") and p not in (".apiVersion", ".kind", ".metadata")
    ],
)
def test_every_field_is_described(path: str, node: dict[str, Any]) -> None:
    assert node.get("description", "").endswith("."), path


@pytest.mark.parametrize(("path", "node"), ALL)
def test_every_text_and_list_is_bounded(path: str, node: dict[str, Any]) -> None:
    # unbounded ones make CEL rules too costly, and objects too large
    if path in ("", ".apiVersion", ".kind", ".metadata"):
        return
    if node.get("type") == "string" and "enum" not in node and "format" not in node:
        assert "maxLength" in node, path
    if node.get("type") == "array":
        assert "maxItems" in node, path
    if "additionalProperties" in node:
        assert "maxProperties" in node, path


@pytest.mark.parametrize(("path", "node"), ALL)
def test_every_rule_says_what_to_write_instead(path: str, node: dict[str, Any]) -> None:
    for rule in node.get("x-kubernetes-validations", ()):
        assert ":" in rule["message"] or "must be" in rule["message"], path


def test_defaults_are_those_of_the_models() -> None:
    spec = SCHEMAS[0]["properties"]["spec"]
    assert spec["required"] == ["cidrs"]

    def filled(schema: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
        result = dict(value)
        for name, child in schema["properties"].items():
            if name not in result and "default" in child:
                result[name] = json.loads(json.dumps(child["default"]))
            if isinstance(result.get(name), dict) and "properties" in child:
                result[name] = filled(child, result[name])
        return result

    written = {"cidrs": ["10.232.0.0/16"]}
    assert WgMeshSpec.model_validate(filled(spec, written)) == WgMeshSpec.model_validate(written)


def test_status_has_no_defaults() -> None:
    for schema in SCHEMAS:
        assert "default" not in schema["properties"]["status"]


def test_both_kinds_are_cluster_wide_with_status_and_short_names() -> None:
    names = {}
    for crd in definitions():
        assert crd["spec"]["scope"] == "Cluster"
        assert crd["spec"]["versions"][0]["subresources"] == {"status": {}}
        assert crd["spec"]["names"]["categories"] == ["mesh"]
        names[crd["metadata"]["name"]] = crd["spec"]["names"]["shortNames"]
    assert names == {"wgmeshes.wgmesh.dev": ["wgm"], "wgmeshnodes.wgmesh.dev": ["wgmn"]}


def test_columns_point_at_fields_that_exist() -> None:
    for kind, schema in zip(KINDS, SCHEMAS, strict=True):
        for column in kind.columns:
            if column.path.startswith(".metadata"):
                continue
            node = schema
            for step in column.path.split("[?")[0].strip(".").split("."):
                name = step.partition("[")[0]
                node = node["properties"][name]
                node = node["items"] if "[" in step else node
            assert node


def test_no_column_is_of_many_values() -> None:
    # the API server shows the first of them alone
    assert not [c.path for kind in KINDS for c in kind.columns if "[*]" in c.path]


@pytest.mark.heavy
def test_the_charts_files_are_fresh() -> None:
    checked = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "generate-crds"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("model", [WgMesh, WgMeshNode])
def test_what_a_later_version_adds_is_passed_over(model: Any) -> None:
    spec = {"cidrs": ["10.0.0.0/8"], "mesh": "blue", "node": "a", "invented": {"later": True}}
    assert "invented" not in model.model_validate({"spec": spec}).model_dump(by_alias=True)["spec"]
