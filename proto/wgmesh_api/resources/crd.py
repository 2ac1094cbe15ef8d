"""CustomResourceDefinitions, generated from the pydantic models as structural schemas.

Differences to pydantic's JSON schema: references are inlined, `X | None` becomes X (an absent field), nested objects
default to `{}` so that the defaults inside apply, titles are removed.
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
    """A kind of resource and its columns."""

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
            Column("NODES", ".status.nodes", description="Ready nodes, of desired nodes."),
            Column(
                "LINKS", ".status.links", description="Links that are up, of all ordered pairs of members."
            ),
            Column("READY", f"{_READY}.status", description="Whether every live node has joined."),
            Column("CIDR", ".spec.cidrs[0]", description="The range of mesh addresses."),
            Column(
                "FULLY MESHED",
                ".status.conditions[?(@.type=='FullyMeshed')].reason",
                description="Reason of the condition FullyMeshed.",
                wide=True,
            ),
            # A column shows only the first match of its path, so there is none for the list of bootstrap nodes.
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
            Column("MESH", ".spec.mesh", description="Its mesh."),
            Column("ADDRESS", ".spec.addresses[0]", description="Its mesh address."),
            Column("ENDPOINT", ".status.endpoint", description="Its WireGuard endpoint."),
            Column("BACKEND", ".status.backend", description="Its WireGuard implementation."),
            Column("PEERS", ".status.peers", description="Peers with a link up, of all."),
            Column("READY", f"{_READY}.status", description="Whether it has joined."),
            Column("BOOTSTRAP", ".spec.bootstrap", "boolean", "Whether it is a bootstrap node.", wide=True),
            Column("EXTERNAL", ".spec.external", "boolean", "Whether it is an external member.", wide=True),
            Column("VERSION", ".status.agentVersion", description="Version of the agent.", wide=True),
            _AGE,
        ),
    ),
)


def definition(kind: Kind) -> Json:
    """Returns the CustomResourceDefinition of `kind`."""
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
    """Returns the structural schema of a complete object; `metadata` is left to the API server."""
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
        # an item has no default: it is either present or absent
        schema["items"].pop("default", None)
    return schema


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
