"""One row of the settings table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Flag, auto
from typing import Generic, TypeVar

T = TypeVar("T")


class Command(Flag):
    """Commands that a setting belongs to; CLIENT is info, tags, rtt and leave."""

    BOOTSTRAP = auto()
    JOIN = auto()
    CLIENT = auto()
    DOCTOR = auto()


NODE = Command.BOOTSTRAP | Command.JOIN
ALL = NODE | Command.CLIENT | Command.DOCTOR


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting(Generic[T]):
    """A setting: its spellings, its parser, its default.

    `flags` have no dashes and the first is the main one; likewise for `env` and `yaml` (dotted paths), where later
    ones are older spellings that still work. `parse` takes non-empty text and raises ValueError. `default_text` is
    the default as documented. A list may be given as a repeated flag, with commas, or as a YAML sequence.
    """

    commands: Command
    flags: tuple[str, ...]
    env: tuple[str, ...] = ()
    yaml: tuple[str, ...] = ()
    parse: Callable[[str], T]
    default: T
    default_text: str = ""
    help: str
    metavar: str = ""
    is_switch: bool = False
    is_list: bool = False

    @property
    def flag(self) -> str:
        """The main spelling with its dash, for messages."""
        return f"-{self.flags[0]}"
