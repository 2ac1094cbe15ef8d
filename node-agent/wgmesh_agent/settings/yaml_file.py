"""The YAML settings file, parsed so that every error can name its line.

The composed node tree is walked rather than constructed objects: nodes keep their position, and scalars keep their
original text (`mesh-name: 0123` stays `0123`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wgmesh_agent.runtime.bounded_file import FileFault, read_bounded
from wgmesh_agent.settings.errors import SettingsError
from wgmesh_agent.settings.setting import Setting

_NULL_TAG = "tag:yaml.org,2002:null"


MAX_BYTES = 1024 * 1024
"""Maximum size of a settings file; a full one is about 10 KiB."""


@dataclass(frozen=True, slots=True)
class YamlValue:
    """The text under one key, several items joined by commas. `line` counts from 1."""

    text: str
    line: int


def read_yaml(path: Path, settings: Sequence[Setting[Any]]) -> Mapping[str, YamlValue]:
    """Returns the values that `path` gives to keys of `settings`, by dotted key; keys without a value are left out.

    Raises SettingsError if the file cannot be read or is not YAML, and for an unknown key, a duplicate key, or a
    list or section where a single value is expected.
    """
    try:
        text = read_bounded(path, MAX_BYTES).decode()
    except FileFault as error:
        raise SettingsError(f"-config: {error}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"-config: {path} is not UTF-8 text") from error
    return parse_yaml(text, str(path), settings)


def parse_yaml(text: str, file_name: str, settings: Sequence[Setting[Any]]) -> Mapping[str, YamlValue]:
    """Like `read_yaml`, for text already read; `file_name` is for messages."""
    known = {key: setting for setting in settings for key in setting.yaml}
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise SettingsError(
            f"{file_name}{_place_of(error)}: this is not YAML: {_problem_of(error)}"
        ) from error
    except (RecursionError, ValueError, OverflowError) as error:
        raise SettingsError(f"{file_name}: this is not a settings file: it is nested too deeply") from error
    values: dict[str, YamlValue] = {}
    try:
        if root is not None and not _is_null(root):
            _walk(root, "", known, file_name, values)
    except RecursionError as error:
        raise SettingsError(f"{file_name}: this is not a settings file: a section contains itself") from error
    return values


def _walk(
    node: yaml.Node,
    prefix: str,
    known: Mapping[str, Setting[Any]],
    file_name: str,
    values: dict[str, YamlValue],
) -> None:
    if not isinstance(node, yaml.MappingNode):
        where = f"{prefix}: " if prefix else ""
        raise SettingsError(f"{file_name}:{_line(node)}: {where}expected a section of keys and values")
    seen: set[str] = set()
    for key_node, value_node in node.value:
        place = f"{file_name}:{_line(key_node)}"
        if not isinstance(key_node, yaml.ScalarNode):
            raise SettingsError(f"{place}: a key must be a single word")
        key = f"{prefix}.{key_node.value}" if prefix else str(key_node.value)
        if key in seen:
            raise SettingsError(f"{place}: {key} is given twice")
        seen.add(key)
        if key in known:
            _take(key, value_node, known[key], file_name, values)
        elif any(name.startswith(f"{key}.") for name in known):
            if not _is_null(value_node):
                _walk(value_node, key, known, file_name, values)
        else:
            raise SettingsError(f"{place}: unknown key {key}{_suggestion(key, known)}")


def _take(
    key: str, node: yaml.Node, setting: Setting[Any], file_name: str, values: dict[str, YamlValue]
) -> None:
    if _is_null(node):
        return
    line = _line(node)
    if isinstance(node, yaml.ScalarNode):
        values[key] = YamlValue(str(node.value), line)
        return
    if setting.is_list and isinstance(node, yaml.SequenceNode):
        for item in node.value:
            if not isinstance(item, yaml.ScalarNode) or _is_null(item):
                raise SettingsError(f"{file_name}:{_line(item)}: {key}: each item must be a single value")
        values[key] = YamlValue(",".join(item.value for item in node.value), line)
        return
    wanted = "a single value or a list of them" if setting.is_list else "a single value"
    raise SettingsError(f"{file_name}:{line}: {key}: expected {wanted}")


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL_TAG


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _suggestion(key: str, known: Mapping[str, Setting[Any]]) -> str:
    from difflib import get_close_matches  # only needed for errors; help must stay fast

    candidates = {*known, *(name.rsplit(".", depth)[0] for name in known for depth in (1, 2))}
    close = get_close_matches(key, sorted(candidates), n=1)
    if not close:
        leaf = key.rsplit(".", 1)[-1]
        close = [name for name in known if name.rsplit(".", 1)[-1] == leaf][:1]
    return f", did you mean {close[0]}?" if close else ""


def _place_of(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark is not None else ""


def _problem_of(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or getattr(error, "reason", None)
    return str(problem or error).splitlines()[0]
