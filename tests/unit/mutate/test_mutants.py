"""What is changed in a module to see whether a test notices."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.mutate import equivalent, mutants

ROOT = Path(__file__).parents[3]


def changes(text: str) -> list[str]:
    return [f"{one.before} → {one.after}" for one in mutants.find("m.py", text)[1]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a < b", ["a < b → a <= b"]),
        ("a <= b != c", ["a <= b != c → a < b != c", "a <= b != c → a <= b == c"]),
        ("a is None", ["a is None → a is not None"]),
        ("a and b", ["a and b → a or b", "a → (left out)", "b → (left out)"]),
        ("not a", ["not a → a"]),
        ("a + -b", ["a + -b → a - -b", "-b → b"]),
        ("a |= b", ["a |= b → a &= b"]),
        ("TABLE = {'a': 1, b'b': True}", ["'a' → 'a~'", "b'b' → b'b~'", "1 → 2", "True → False"]),
        ("def f():\n    return a", ["return a → return None"]),
        ("while a:\n    break", ["a → not a", "break → continue"]),
        ("[a for a in b if a]", ["a → not a"]),
        ("a.b = c", ["a.b = c → pass"]),
        ("if a():\n    raise Refused('a', 1)", ["a() → not a()", "raise Refused('a', 1) → pass"]),
    ],
)
def test_one_thing_is_changed_at_a_time(text: str, expected: list[str]) -> None:
    assert changes(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        '"""What it is."""',
        "import a",
        "a: Literal['b']",
        "@dataclass(frozen=True)\nclass A: ...",
        "log.info('begun', count=1)",
        "a = f'{b} of 3'",
        "def f():\n    return None",
    ],
)
def test_what_no_test_should_notice_is_left_alone(text: str) -> None:
    assert changes(text) == []


def test_a_mutant_is_the_module_with_one_change() -> None:
    tree, (mutant,) = mutants.find("m.py", "a = 1\n")
    mutant.apply()
    names: dict[str, object] = {}
    exec(compile(tree, "m.py", "exec"), names)
    assert names["a"] == 2


def test_a_mutant_knows_the_lines_of_the_function_that_it_is_in() -> None:
    text = "LIMIT = 1\n\ndef f(b=2):\n    a()\n    return b\n"
    found = {one.before: one.function_lines for one in mutants.find("m.py", text)[1]}
    assert found == {"1": None, "2": None, "a()": range(4, 6), "return b": range(4, 6)}


def test_each_mutant_that_is_known_to_make_no_difference_is_still_there() -> None:
    known = equivalent.read()
    there = {
        equivalent.key(mutant)
        for path in {path for path, *_ in known}
        for mutant in mutants.find(path, (ROOT / path).read_text())[1]
    }
    assert [key for key in known if key not in there] == []
    assert all(known.values())
