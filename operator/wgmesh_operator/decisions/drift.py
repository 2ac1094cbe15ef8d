"""Whether an object is as it was applied: everything wanted is there, and nothing wanted before is left over."""

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
    """Whether all that `wanted` says is so in `live`, which may say more: the API server fills in defaults."""
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
    # what is empty is left out by the API server
    return type(value)() if isinstance(value, dict | list) else None


_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|[kMGTPE]i?|Ki)?")
_SCALE = {"": Decimal(1), "m": Decimal("0.001"), "k": Decimal(1000), "Ki": Decimal(1024)} | {
    unit + i: Decimal(1024 if i else 1000) ** power
    for power, unit in enumerate("MGTPE", start=2)
    for i in ("", "i")
}


def _same_quantity(wanted: Any, live: Any) -> bool:
    # the API server writes quantities its own way: 0.5 is 500m
    one, other = _QUANTITY.fullmatch(str(wanted)), _QUANTITY.fullmatch(str(live))
    if one is None or other is None or isinstance(wanted, bool) or isinstance(live, bool):
        return False
    return Decimal(one[1]) * _SCALE[one[2] or ""] == Decimal(other[1]) * _SCALE[other[2] or ""]
