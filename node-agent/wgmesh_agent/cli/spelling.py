"""Flags with Go's spellings: one dash or two, `-flag value` or `-flag=value`, switches as `-flag=false`.

Rewrites the command line into the one spelling that click parses unambiguously: `--flag=value`. So `-dev` is never
parsed as `-d -e -v`, and a value may start with a dash.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """Kinds of arguments of a flag."""

    VALUE = auto()
    """A value, after `=` or as the next word."""
    SWITCH = auto()
    """Nothing, or `=true` or `=false`; passed on as text."""
    PLAIN_SWITCH = auto()
    """The same, passed on by being there or not."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """A flag: `main` is the spelling without dashes that click knows with two."""

    main: str
    kind: Kind


class FlagError(ValueError):
    """An unknown flag, or one without its value. The text is one sentence."""


_TRUE = frozenset({"1", "t", "true", "y", "yes", "on"})
_FALSE = frozenset({"0", "f", "false", "n", "no", "off"})


def canonical(args: Sequence[str], flags: Mapping[str, Spelling], *, stop_at_word: bool) -> list[str]:
    """`args` with each flag as `--main=value` (`--main` for plain switches).

    `flags` maps every spelling without dashes. With `stop_at_word`, everything after the first word that is not a flag
    is unchanged: it belongs to another command. Raises FlagError.
    """
    rewritten: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*rewritten, word, *rest]
        if not word.startswith("-") or word == "-":
            rewritten.append(word)
            if stop_at_word:
                return [*rewritten, *rest]
            continue
        rewritten.extend(_flag(word, rest, flags))
    return rewritten


def _flag(word: str, rest: list[str], flags: Mapping[str, Spelling]) -> Iterable[str]:
    name, equals, text = _without_dashes(word).partition("=")
    spelling = flags.get(name)
    if spelling is None:
        bundle = [flags.get(letter) for letter in name]
        switches = [one for one in bundle if one is not None and one.kind is not Kind.VALUE]
        if word.startswith("--") or equals or not switches or len(switches) != len(bundle):
            raise FlagError(_unknown(word.partition("=")[0], name, flags))
        return [_switch(one, "true", word) for one in switches]
    if spelling.kind is Kind.VALUE:
        if not equals:
            if not rest:
                raise FlagError(f"{word} needs a value.")
            text = rest.pop(0)
        return [f"--{spelling.main}={text}"]
    switched = _switch(spelling, text if equals else "true", word)
    return [switched] if switched else []


def _switch(spelling: Spelling, text: str, word: str) -> str:
    if spelling.kind is Kind.SWITCH:
        return f"--{spelling.main}={text}"
    if text.lower() not in _TRUE | _FALSE:
        raise FlagError(f"{word}: after the = there must be true or false.")
    return f"--{spelling.main}" if text.lower() in _TRUE else ""


def _without_dashes(word: str) -> str:
    return word[2:] if word.startswith("--") else word[1:]


def _unknown(typed: str, name: str, flags: Mapping[str, Spelling]) -> str:
    from difflib import get_close_matches  # only needed for errors; help must stay fast

    close = get_close_matches(name, list(flags), n=1, cutoff=0.7)
    return f"there is no flag {typed}" + (f", did you mean -{close[0]}?" if close else ".")
