"""Field tables of docs/resources.md, generated from the schemas of the CRDs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from wgmesh_api.resources.crd import KINDS, Json, Kind, object_schema


@dataclass(frozen=True, slots=True)
class Row:
    """One field: where it is in the object, and its schema."""

    path: str
    schema: Json
    required: bool


def begin(kind: Kind) -> str:
    """Returns the mark above the generated part of `kind`."""
    return f"<!-- {kind.model.__name__}: made from proto/wgmesh_api/resources by scripts/generate-crds -->"


def end(kind: Kind) -> str:
    return f"<!-- end of {kind.model.__name__} -->"


def renewed(text: str) -> str:
    """Returns `text` with the part between each kind's marks replaced. Raises ValueError if marks are missing."""
    for kind in KINDS:
        before, first, rest = text.partition(begin(kind))
        _, last, after = rest.partition(end(kind))
        if not first or not last:
            raise ValueError(f"the text has no part between {begin(kind)} and {end(kind)}")
        text = f"{before}{first}\n{reference(kind)}{last}{after}"
    return text


def reference(kind: Kind) -> str:
    """Returns Markdown tables of a kind's spec, status and columns."""
    schema = object_schema(kind.model)
    top = schema["properties"]
    lines = [
        "| field | type | default | constraints | meaning |",
        "|---|---|---|---|---|",
        *(_spec_row(row) for row in rows(top["spec"], "spec")),
    ]
    lines += [
        "",
        "Validation errors of the API server:",
        "",
        "| field | message |",
        "|---|---|",
        *(_row(where, message) for where, message in _refusals(top["spec"], schema)),
    ]
    lines += [
        "",
        "| field | type | meaning |",
        "|---|---|---|",
        *(_status_row(row) for row in rows(top["status"], "status")),
        "",
        f"`kubectl get {kind.singular}`, in short `kubectl get {kind.short_name}`:",
        "",
        "| column | from | meaning |",
        "|---|---|---|",
    ]
    for column in kind.columns:
        name = f"{column.name} (with `-o wide`)" if column.wide else column.name
        meaning = column.description or "Time since it was created."
        lines.append(f"| {name} | `{column.path.removeprefix('.')}` | {_escaped(meaning)} |")
    return "\n".join(lines) + "\n"


def rows(schema: Json, path: str) -> Iterator[Row]:
    """Yields every field below `schema`, an object before its fields; also fields of objects in lists."""
    required = schema.get("required", ())
    for name, child in schema.get("properties", {}).items():
        row = Row(f"{path}.{name}", child, name in required)
        yield row
        yield from rows(child, row.path)
        if "items" in child:
            yield from rows(child["items"], f"{row.path}[]")


def _spec_row(row: Row) -> str:
    cells = (
        f"`{row.path}`",
        _type(row.schema),
        _default(row.schema),
        "; ".join(_must(row)),
        row.schema["description"],
    )
    return _row(*cells)


def _status_row(row: Row) -> str:
    return _row(f"`{row.path}`", _type(row.schema), row.schema["description"])


def _row(*cells: str) -> str:
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _type(schema: Json) -> str:
    if "x-kubernetes-int-or-string" in schema:
        return "quantity"
    kind = str(schema["type"])
    if kind == "array":
        return f"list of {_plural(_type(schema['items']))}"
    if "additionalProperties" in schema:
        return f"map of {_plural(_type(schema['additionalProperties']))}"
    return "time" if schema.get("format") == "date-time" else kind


def _plural(kind: str) -> str:
    return "quantities" if kind == "quantity" else f"{kind}s"


def _default(schema: Json) -> str:
    value = schema.get("default")
    if value is None or value == {}:
        return ""
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def _must(row: Row) -> list[str]:
    found = ["given", *_bounds(row.schema)] if row.required else _bounds(row.schema)
    return [*found, *(f"each: {bound}" for bound in _bounds(row.schema.get("items", {})))]


def _bounds(schema: Json) -> list[str]:
    found = [_listed([f"`{value}`" for value in schema["enum"]])] if "enum" in schema else []
    found += _range(schema, "minimum", "maximum", "")
    found += _range(schema, "minItems", "maxItems", " of them")
    found += _range(schema, "minProperties", "maxProperties", " of them")
    if "enum" not in schema and "format" not in schema:
        found += _range(schema, "minLength", "maxLength", " characters")
    if "pattern" in schema:
        found.append(f"like `{schema['pattern']}`")
    return found


def _range(schema: Json, least: str, most: str, unit: str) -> list[str]:
    low, high = schema.get(least), schema.get(most)
    if low is not None and high is not None:
        return [f"{low} to {high}{unit}"]
    if high is not None:
        return [f"at most {high}{unit}"]
    return [f"at least {low}{unit}"] if low is not None else []


def _refusals(spec: Json, whole: Json) -> Iterator[tuple[str, str]]:
    """Yields where each rule applies, and its message."""
    yield from (("`metadata.name`", message) for message in _messages(whole))
    yield from (("`spec`", message) for message in _messages(spec))
    for row in rows(spec, "spec"):
        items = row.schema.get("items", {})
        for message in (*_messages(row.schema), *_messages(items)):
            yield f"`{row.path}`", message


def _messages(schema: Json) -> list[str]:
    return [str(rule["message"]) for rule in schema.get("x-kubernetes-validations", ())]


def _listed(values: list[str]) -> str:
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} or {values[-1]}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
