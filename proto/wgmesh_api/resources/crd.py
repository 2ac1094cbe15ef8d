"""CustomResourceDefinitions made from the models: what pydantic says as JSON schema, said structurally.

Differences bridged: references are written out, `X | None` becomes X (an absent field), nested objects default to
`{}` so that the defaults inside apply, titles go.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from wgmesh_api.resources.mesh import WgMesh
from wgmesh_api.resources.node import WgMeshNode
from wgmesh_api.roster import GROUP, MESHES, NODES, VERSION

Json = dict[str, Any]

_DROPPED = ("title", "$defs", "additionalProperties")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; shown with `-o wide` only if `wide`."""

    name: str
    path: str
    type: str = "string"
    description: str = ""
    wide: bool = False

    def manifest(self) -> Json:
        return {
            "name": self.name,
            "type": self.type,
            "jsonPath": self.path,
            **({"description": self.description} if self.description else {}),
            **({"priority": 1} if self.wide else {}),
        }


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of resource and how it is shown."""

    model: type[BaseModel]
    plural: str
    singular: str
    short_name: str
    columns: tuple[Column, ...]


_READY = ".status.conditions[?(@.type=='Ready')]"
_AGE = Column("AGE", ".metadata.creationTimestamp", "date")

KINDS: tuple[Kind, ...] = (
    Kind(
        WgMesh,
        plural=MESHES,
        singular="wgmesh",
        short_name="wgm",
        columns=(
            Column("NODES", ".status.nodes", description="Nodes ready, of those wanted."),
            Column("LINKS", ".status.links", description="Ordered pairs that hear each other, of all."),
            Column("READY", f"{_READY}.status", description="Whether every live node has joined."),
            Column("CIDR", ".spec.cidrs[0]", description="The range of mesh addresses."),
            Column(
                "FULLY MESHED",
                ".status.conditions[?(@.type=='FullyMeshed')].reason",
                description="Whether all members hear each other, in a word.",
                wide=True,
            ),
            # A column shows only the first that its path finds, so no list of bootstrap nodes.
            Column(
                "DOWN LINK",
                ".status.downLinks[0]",
                description="One of the links that are down.",
                wide=True,
            ),
            _AGE,
        ),
    ),
    Kind(
        WgMeshNode,
        plural=NODES,
        singular="wgmeshnode",
        short_name="wgmn",
        columns=(
            Column("MESH", ".spec.mesh", description="The mesh it is a member of."),
            Column("ADDRESS", ".spec.addresses[0]", description="Its address in the mesh."),
            Column("ENDPOINT", ".status.endpoint", description="Where WireGuard packets to it go."),
            Column("BACKEND", ".status.backend", description="Which WireGuard it uses."),
            Column("PEERS", ".status.peers", description="Peers heard, of all."),
            Column("READY", f"{_READY}.status", description="Whether it has joined."),
            Column("BOOTSTRAP", ".spec.bootstrap", "boolean", "Whether it admits others.", wide=True),
            Column("EXTERNAL", ".spec.external", "boolean", "Whether it is outside the cluster.", wide=True),
            Column("VERSION", ".status.agentVersion", description="The agent's version.", wide=True),
            _AGE,
        ),
    ),
)


def definition(kind: Kind) -> Json:
    """The CustomResourceDefinition of `kind`."""
    name = kind.model.__name__
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": {
                "kind": name,
                "listKind": f"{name}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": [kind.short_name],
                "categories": ["mesh"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": object_schema(kind.model)},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [column.manifest() for column in kind.columns],
                }
            ],
        },
    }


def definitions() -> list[Json]:
    return [definition(kind) for kind in KINDS]


def object_schema(model: type[BaseModel]) -> Json:
    """The structural schema of a whole object; `metadata` is left to the API server."""
    source = model.model_json_schema(by_alias=True, mode="validation")
    schema = _structural(source, source.get("$defs", {}))
    schema["properties"] = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        **schema["properties"],
    }
    return schema


def _structural(node: Mapping[str, Any], defs: Mapping[str, Any]) -> Json:
    if "$ref" in node:
        target = defs[node["$ref"].rsplit("/", 1)[1]]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    if "x-kubernetes-int-or-string" in node:
        kept = ("description", "x-kubernetes-int-or-string")
        return {key: node[key] for key in kept if key in node}
    if "anyOf" in node:
        options = [option for option in node["anyOf"] if option.get("type") != "null"]
        if len(options) != 1:
            raise ValueError(f"a structural schema has one type, not {node['anyOf']}")
        outer = {key: value for key, value in node.items() if key != "anyOf"}
        return _structural({**options[0], **outer}, defs)
    schema = {key: value for key, value in node.items() if key not in _DROPPED}
    if "default" in schema:
        schema["default"] = _without_nulls(schema["default"])
        if schema["default"] in (None, "", []):
            del schema["default"]
    if "description" in schema:
        schema["description"] = inspect.cleandoc(schema["description"])
    if "properties" in node:
        schema["properties"] = {name: _structural(value, defs) for name, value in node["properties"].items()}
        if "required" not in node and any("default" in p for p in schema["properties"].values()):
            schema.setdefault("default", {})
    if isinstance(node.get("additionalProperties"), Mapping):
        schema["additionalProperties"] = _structural(node["additionalProperties"], defs)
    if "items" in node:
        schema["items"] = _structural(node["items"], defs)
        # an item has no default of its own: it is there or it isn't
        schema["items"].pop("default", None)
    return schema


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
