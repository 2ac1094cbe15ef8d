"""Go's spellings of flags."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.cli.spelling import FlagError, Kind, Spelling, canonical

NAME = Spelling("name", Kind.VALUE)
FLAGS = {
    "name": NAME,
    "n": NAME,
    "dev": Spelling("dev", Kind.SWITCH),
    "d": Spelling("debug", Kind.SWITCH),
    "e": NAME,
    "v": Spelling("verbose", Kind.SWITCH),
    "watch": Spelling("watch", Kind.PLAIN_SWITCH),
    "set": Spelling("set", Kind.VALUE),
}


def words(*args: str) -> list[str]:
    return canonical(args, FLAGS, stop_at_word=False)


@pytest.mark.parametrize(
    "args",
    [("-name", "blue"), ("--name", "blue"), ("-name=blue",), ("--name=blue",), ("-n", "blue"), ("-n=blue",)],
)
def test_every_way_to_give_a_value_is_the_same(args: tuple[str, ...]) -> None:
    assert words(*args) == ["--name=blue"]


def test_a_long_flag_with_one_dash_is_not_a_bundle_of_short_ones() -> None:
    assert words("-dev") == ["--dev=true"]


def test_short_switches_may_be_bundled() -> None:
    assert words("-vd") == ["--verbose=true", "--debug=true"]


@pytest.mark.parametrize(("word", "expected"), [("-dev=false", "--dev=false"), ("--dev=1", "--dev=1")])
def test_a_switch_takes_its_value_after_the_equals_sign_only(word: str, expected: str) -> None:
    assert words(word, "true") == [expected, "true"]


def test_plain_switches_are_there_or_not() -> None:
    assert words("-watch") == ["--watch"]
    assert words("-watch=true") == ["--watch"]
    assert words("--watch=false") == []


@given(st.text())
def test_a_value_is_taken_as_it_is(value: str) -> None:
    assert words("-set", value, "x") == [f"--set={value}", "x"]
    assert words(f"--set={value}") == [f"--set={value}"]


def test_what_follows_two_dashes_is_left_alone() -> None:
    assert words("-v", "--", "-name", "x") == ["--verbose=true", "--", "-name", "x"]


def test_a_single_dash_is_a_word() -> None:
    assert words("-", "-v") == ["-", "--verbose=true"]


def test_a_group_leaves_its_commands_flags_alone() -> None:
    args = ["-v", "join", "-whatever", "-v"]
    assert canonical(args, FLAGS, stop_at_word=True) == ["--verbose=true", *args[1:]]


@pytest.mark.parametrize("word", ["-devv", "--x", "-nv", "-x=1", "--v-d", "-vx", "--vd", "-d-v"])
def test_an_unknown_flag_is_named_as_typed(word: str) -> None:
    with pytest.raises(FlagError, match=rf"there is no flag {word.partition('=')[0]}\b"):
        words(word)


def test_the_nearest_flag_is_suggested() -> None:
    with pytest.raises(FlagError, match=r"did you mean -name\?"):
        words("-nmae", "x")


def test_a_missing_value_is_told() -> None:
    with pytest.raises(FlagError, match="-name needs a value"):
        words("-name")


def test_a_plain_switch_with_another_value_is_refused() -> None:
    with pytest.raises(FlagError, match="true or false"):
        words("-watch=maybe")
