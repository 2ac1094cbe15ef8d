"""Unexpected values that a type allows, and objects that contain such values.

`FUZZ_EXAMPLES` is the number tried at each border: few in `make test`, 200,000 in `make fuzz`.
"""

from __future__ import annotations

import copy
import math
import os
import random
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))


def fuzzed_by(values: int) -> settings:
    """For a test that tries at least that many unexpected values in each example."""
    return settings(
        max_examples=math.ceil(EXAMPLES / values), deadline=None, suppress_health_check=list(HealthCheck)
    )


fuzzed = fuzzed_by(1)

TEXTS = (
    "",
    " ",
    "\x00",
    "\udcff",
    "\u202e",
    "é" * 100,
    "x" * 5000,
    "../../etc/passwd",
    "a\nb",
    "-5",
    "moon",
    "%",
    "[",
    "{",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "1969-12-31T00:00:00Z",
    "2030-01-01T00:00:00Z",
    "2030-13-01T00:00:00Z",
    "::1%eth0",
    "2001:db8::9%x]:1\nremove=true",
    "::ffff:10.232.0.5",
    "255.255.255.255",
    "0.0.0.0",
    "10.232.0.5",
    "10.232.0.5/16",
    "fd00::/0",
    "10.0.0.0/33",
    "fe80::1",
    "[::1]:99999",
    "1.2.3.4:0",
    "999999999h",
    "1e999s",
    "720h",
    "AAAA",
    "A" * 43 + "=",
    "true",
    "null",
    "١٢",
)
INTEGERS = (0, -1, 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**64, -(2**63), 10**400)
FLOATS = (1.5, 1e308, math.inf, -math.inf, math.nan)
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], {"": ""}, [None], ["x"] * 3)
odd = st.sampled_from((*TEXTS, *INTEGERS, *FLOATS, *OTHERS))


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value, the whole of it last."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*at, key))
    yield at


def spoiled(value: Any, seed: int, replacements: list[Any]) -> Any:
    """Copies with one unexpected value after another in its places, or a place removed."""
    rng = random.Random(seed)
    result = copy.deepcopy(value)
    for replacement in replacements:
        places = [place for place in paths(result) if place]
        if not places:
            return replacement
        place = rng.choice(places)
        inside = result
        for key in place[:-1]:
            inside = inside[key]
        if rng.random() < 0.2:
            del inside[place[-1]]
        else:
            inside[place[-1]] = copy.deepcopy(replacement)
    return result


def objects_like(*values: Any) -> st.SearchStrategy[Any]:
    """JSON values like one of `values`, with one to four unexpected places."""
    return odd_likes(*values).map(lambda found: found[1])


def odd_likes(*values: Any) -> st.SearchStrategy[tuple[int, Any]]:
    """A number, and a JSON value like that of `values`, with one to four unexpected places."""
    # one flat strategy: a new one for each example takes ten times as long as its examples
    replacements = st.lists(odd, min_size=1, max_size=4)
    return st.tuples(st.integers(0, len(values) - 1), st.integers(0, 2**32), replacements).map(
        lambda drawn: (drawn[0], spoiled(values[drawn[0]], drawn[1], drawn[2]))
    )
