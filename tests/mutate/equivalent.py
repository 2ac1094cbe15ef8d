"""Mutants without observable effect, listed by hand with the reason of each: equivalent.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.mutate.mutants import Mutant

FILE = Path(__file__).with_name("equivalent.toml")
Key = tuple[str, str, str, str]


def key(mutant: Mutant) -> Key:
    """What names a mutant while lines move: the module, the line's text, and the change."""
    return mutant.path, mutant.source, mutant.before, mutant.after


def read() -> dict[Key, str]:
    """The reason of each."""
    entries = tomllib.loads(FILE.read_text()).get("mutant", [])
    return {(one["path"], one["source"], one["before"], one["after"]): one["reason"] for one in entries}
