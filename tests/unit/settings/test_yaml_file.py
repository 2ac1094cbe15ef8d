"""The YAML file: what it gives, and complaints that name file, line and key."""

from __future__ import annotations

import contextlib
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.settings.errors import SettingsError
from wgmesh_agent.settings.table import SETTINGS
from wgmesh_agent.settings.yaml_file import MAX_BYTES, parse_yaml, read_yaml


def texts(document: str) -> dict[str, str]:
    values = parse_yaml(textwrap.dedent(document), "f.yaml", SETTINGS)
    return {key: value.text for key, value in values.items()}


def complaint(document: str) -> str:
    with pytest.raises(SettingsError) as caught:
        texts(document)
    return str(caught.value)


def test_sections_become_dotted_keys() -> None:
    assert texts(
        """
        mesh-name: blue
        bootstrap:
          grpc-tls:
            grpc-server-key: /k.pem
        """
    ) == {"mesh-name": "blue", "bootstrap.grpc-tls.grpc-server-key": "/k.pem"}


def test_scalars_keep_the_text_people_wrote() -> None:
    assert texts("mesh-name: 0123\nnode-name: yes\n") == {"mesh-name": "0123", "node-name": "yes"}


def test_a_list_may_be_a_sequence() -> None:
    assert texts("bootstrap:\n  mesh-cidr-range: [10.0.0.0/16, 'fd00::/64']\n") == {
        "bootstrap.mesh-cidr-range": "10.0.0.0/16,fd00::/64"
    }


@pytest.mark.parametrize(
    "document", ["", "# nothing\n", "---\n", "mesh-name:\nbootstrap:\n", "mesh-name: ~\n"]
)
def test_nothing_said_is_nothing_given(document: str) -> None:
    assert texts(document) == {}


def test_lines_are_counted_from_one() -> None:
    values = parse_yaml("# comment\n\ngossip:\n  port: 1\n", "f.yaml", SETTINGS)
    assert values["gossip.port"].line == 4


def test_an_unknown_key_names_file_line_and_key_and_the_nearest_known() -> None:
    said = complaint("mesh-name: blue\nbootstrap:\n  grpc-bind-prot: 5000\n")
    assert said.startswith("f.yaml:3: unknown key bootstrap.grpc-bind-prot")
    assert "did you mean bootstrap.grpc-bind-port?" in said


def test_a_key_in_the_wrong_section_is_told_where_it_belongs() -> None:
    assert "did you mean wireguard.listen-port?" in complaint("listen-port: 1\n")


def test_an_unknown_section_names_its_line() -> None:
    assert complaint("a: 1\n").startswith("f.yaml:1: unknown key a")


def test_a_key_given_twice_is_refused() -> None:
    assert complaint("mesh-name: a\nmesh-name: b\n") == "f.yaml:2: mesh-name is given twice"


def test_a_section_where_a_value_belongs_is_refused() -> None:
    assert complaint("mesh-name:\n  x: 1\n").startswith("f.yaml:2: mesh-name: expected a single value")


def test_a_list_where_one_value_belongs_is_refused() -> None:
    assert complaint("mesh-name: [a]\n").startswith("f.yaml:1: mesh-name: expected a single value")


def test_a_value_where_a_section_belongs_is_refused() -> None:
    assert complaint("\nbootstrap: yes\n").startswith("f.yaml:2: bootstrap: expected a section")


def test_a_list_item_that_is_no_value_is_refused() -> None:
    said = complaint("join:\n  bootstrap-endpoint:\n  - a\n  - {b: c}\n")
    assert said.startswith("f.yaml:4: join.bootstrap-endpoint: each item")


def test_a_file_that_is_no_mapping_is_refused() -> None:
    assert complaint("- a\n").startswith("f.yaml:1: expected a section")


def test_a_key_that_is_no_word_is_refused() -> None:
    assert complaint("[a]: b\n") == "f.yaml:1: a key must be a single word"


def test_what_is_no_yaml_names_the_line() -> None:
    assert complaint("mesh-name: blue\nbootstrap: [\n").startswith("f.yaml:3: this is not YAML: ")


def test_two_documents_in_one_file_are_refused() -> None:
    assert "this is not YAML" in complaint("mesh-name: a\n---\nmesh-name: b\n")


def test_an_alias_that_contains_itself_is_refused_not_followed_for_ever() -> None:
    assert "f.yaml:" in complaint("bootstrap: &b\n  grpc-tls: *b\n")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"-config: .*/nowhere\.yaml cannot be read: no such file"):
        read_yaml(tmp_path / "nowhere.yaml", SETTINGS)


@pytest.mark.heavy
@pytest.mark.parametrize(
    "text",
    [
        "[" * 3000,
        "{" * 3000,
        "a:\n" + "".join("  " * n + "- \n" for n in range(1, 2000)),
        "bootstrap: &b\n  bootstrap: *b",
    ],
)
def test_a_file_that_is_nested_without_end_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_yaml(path, SETTINGS)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_directory_or_a_large_file_in_place_of_the_settings_is_one_sentence(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * 10 * MAX_BYTES)
    for path, said in (
        (tmp_path, "is a directory"),
        (large, "larger than"),
        (Path("/dev/zero"), "larger than"),
    ):
        with pytest.raises(SettingsError, match=said):
            read_yaml(path, SETTINGS)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="not UTF-8"):
        read_yaml(path, SETTINGS)


@given(st.text())
def test_any_text_is_read_or_refused(document: str) -> None:
    with contextlib.suppress(SettingsError):
        parse_yaml(document, "f.yaml", SETTINGS)
