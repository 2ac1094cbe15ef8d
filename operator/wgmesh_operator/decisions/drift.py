"""Drift of an object from what was applied: a desired field differs, or a formerly desired one is left over."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from wgmesh_operator.decisions import names
from wgmesh_operator.decisions.actions import Json


def with_digest(manifest: Json) -> Json:
    """`manifest` with a digest of it among its annotations."""
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:32]
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), names.RENDERED: digest}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def is_applied(wanted: Json, live: Mapping[str, Any] | None) -> bool:
    """Whether `live` needs no apply of `wanted`, which has its digest (`with_digest`)."""
    return live is not None and covers(wanted, live)


def covers(wanted: Any, live: Any) -> bool:
    """Whether all fields of `wanted` are equal in `live`, which may have more: the API server sets defaults."""
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(
            covers(value, live.get(key, _empty_like(value))) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(live, list)
            and len(wanted) == len(live)
            and all(covers(w, v) for w, v in zip(wanted, live, strict=True))
        )
    return bool(wanted == live) or _same_quantity(wanted, live)


def _empty_like(value: Any) -> Any:
    # the API server omits empty values
    return type(value)() if isinstance(value, dict | list) else None


_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|[kMGTPE]i?|Ki)?")
_SCALE = {"": Decimal(1), "m": Decimal("0.001"), "k": Decimal(1000), "Ki": Decimal(1024)} | {
    unit + i: Decimal(1024 if i else 1000) ** power
    for power, unit in enumerate("MGTPE", start=2)
    for i in ("", "i")
}


def _same_quantity(wanted: Any, live: Any) -> bool:
    # the API server normalises quantities: 0.5 is 500m
    one, other = _QUANTITY.fullmatch(str(wanted)), _QUANTITY.fullmatch(str(live))
    if one is None or other is None or isinstance(wanted, bool) or isinstance(live, bool):
        return False
    return Decimal(one[1]) * _SCALE[one[2] or ""] == Decimal(other[1]) * _SCALE[other[2] or ""]
