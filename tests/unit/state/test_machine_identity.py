"""The machine of a state: a copy on another machine is distinguished from a machine with a new card or system id."""

from __future__ import annotations

from pathlib import Path

import pytest

from wgmesh_agent.state.machine_identity import MACHINE_ID, PRODUCT, Machine, from_json, this_machine
from wgmesh_agent.state.store import MACHINE, StateStore

HERE = Machine("id", "board", frozenset({"card", "other card"}))


@pytest.mark.parametrize(
    "present",
    [
        HERE,
        Machine(),
        Machine("id", "board", frozenset({"card", "new card"})),
        Machine("id", "board", frozenset({"new card"})),
        Machine("id", "", frozenset()),
        Machine("new id", "board", frozenset({"card"})),
    ],
    ids=[
        "nothing changed",
        "nothing known",
        "a card more",
        "another card",
        "less known",
        "a new id at each boot",
    ],
)
def test_the_same_machine_stays_itself(present: Machine) -> None:
    assert not HERE.is_other(present)


@pytest.mark.parametrize(
    ("before", "present"),
    [
        (HERE, Machine("id", "clone", frozenset({"clone's card"}))),
        (HERE, Machine("clone", "board", frozenset({"clone's card"}))),
        (HERE, Machine("clone", "board")),
        (Machine("id"), Machine("clone")),
        (Machine("id", "", frozenset({"card"})), Machine("id", "", frozenset({"clone's card"}))),
    ],
    ids=["another board", "a prepared clone", "no cards known", "nothing but the id", "no board known"],
)
def test_a_copy_is_another_machine(before: Machine, present: Machine) -> None:
    assert before.is_other(present)


def test_what_is_not_known_now_is_remembered() -> None:
    assert HERE.with_news(Machine("", "", frozenset({"new"}))) == Machine("id", "board", frozenset({"new"}))
    assert from_json(HERE.to_json()) == HERE


def test_a_machine_tells_hashes_of_what_its_files_say(tmp_path: Path) -> None:
    for path, text in ((MACHINE_ID, "0123456789abcdef\n"), (PRODUCT, "4C4C4544-0042\n")):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(text)
    found = this_machine(tmp_path)
    assert found.machine_id
    assert found.product
    assert "0123456789abcdef" not in str(found)
    assert found == this_machine(tmp_path)
    (tmp_path / MACHINE_ID).write_text("uninitialized\n")
    (tmp_path / PRODUCT).write_text("00000000-0000-0000-0000-000000000000\n")
    assert this_machine(tmp_path) == Machine(hardware=found.hardware)


def test_a_folder_without_a_machine_becomes_this_one_s(tmp_path: Path) -> None:
    folder = StateStore(tmp_path, "blue")
    assert not folder.is_of_another(HERE)
    assert folder.is_of_another(Machine("clone", "clone"))
    (folder.path / MACHINE).write_text("damaged")
    assert not folder.is_of_another(Machine("clone", "clone"))


def test_what_is_set_aside_is_kept_and_out_of_the_way(tmp_path: Path) -> None:
    folder = StateStore(tmp_path, "blue")
    key = folder.private_key()
    folder.is_of_another(HERE)
    aside = folder.set_aside()
    assert not folder.has_private_key()
    assert (aside / "wireguard.key").read_text().strip() == key.to_base64()
    assert not folder.is_of_another(Machine("clone", "clone"))
    folder.private_key()
    assert folder.set_aside() != aside
    assert aside.exists()
