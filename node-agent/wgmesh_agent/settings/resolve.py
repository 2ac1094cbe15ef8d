"""Precedence of a setting's sources: flag, then environment, then YAML file, then default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

from wgmesh_agent.settings.errors import SettingsError
from wgmesh_agent.settings.setting import Command, Setting
from wgmesh_agent.settings.table import CONFIG, SETTINGS, settings_of

T = TypeVar("T")


class Layer(IntEnum):
    """Sources, the higher the stronger."""

    DEFAULT = 0
    YAML = 1
    ENVIRONMENT = 2
    FLAG = 3


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written; `label` begins every error about it."""

    layer: Layer
    label: str


@dataclass(frozen=True, slots=True)
class _Given:
    value: object
    origin: Origin


class Resolved:
    """The value of each setting of one command, and its source."""

    def __init__(self, given: Mapping[str, _Given]) -> None:
        self._given = given

    def value(self, setting: Setting[T]) -> T:
        """Returns the given value, or the default."""
        given = self._given.get(_identity(setting))
        return setting.default if given is None else given.value  # type: ignore[return-value]

    def is_given(self, setting: Setting[Any]) -> bool:
        return _identity(setting) in self._given

    def origin(self, setting: Setting[Any]) -> Origin:
        """Returns where the value was written; for a default, the flag that would change it."""
        given = self._given.get(_identity(setting))
        return Origin(Layer.DEFAULT, setting.flag) if given is None else given.origin


def resolve(command: Command, flags: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> Resolved:
    """Resolves the settings of `command`.

    Args:
        flags: the texts given to each flag, by main spelling without dashes. An empty text means the default.
        environment: all variables; only those in the table are read, empty ones count as not set.

    Raises SettingsError, naming flag, variable, or file, line and key. The YAML file is checked completely,
    including keys of other commands.
    """
    given: dict[str, _Given] = {}
    # a path that cannot be parsed is final: there is no file to read
    _take_flag_or_variable(CONFIG, flags, environment, given)
    config_given = given.get(_identity(CONFIG))
    from_yaml: Mapping[str, _Given] = {}
    if config_given is not None and isinstance(config_given.value, Path):
        from_yaml = _from_yaml(config_given.value)
    for setting in settings_of(command):
        _take_flag_or_variable(setting, flags, environment, given)
        identity = _identity(setting)
        if identity in given:
            continue
        in_file = next((from_yaml[key] for key in setting.yaml if key in from_yaml), None)
        if in_file is not None and not _is_reset(setting, flags):
            given[identity] = in_file
    return Resolved(given)


def _identity(setting: Setting[Any]) -> str:
    # flags alone are not unique: the meaning of -bootstrap-addr depends on the command
    return f"{setting.commands.value} {setting.flags[0]}"


def _take_flag_or_variable(
    setting: Setting[Any],
    flags: Mapping[str, Sequence[str]],
    environment: Mapping[str, str],
    given: dict[str, _Given],
) -> None:
    texts = flags.get(setting.flags[0], ())
    if texts:
        text = ",".join(texts) if setting.is_list else texts[-1]
        if text:
            given[_identity(setting)] = _parsed(setting, text, Origin(Layer.FLAG, setting.flag))
        return
    for name in setting.env:
        text = environment.get(name, "").strip()
        if text:
            given[_identity(setting)] = _parsed(setting, text, Origin(Layer.ENVIRONMENT, name))
            return


def _is_reset(setting: Setting[Any], flags: Mapping[str, Sequence[str]]) -> bool:
    return bool(flags.get(setting.flags[0]))


def _from_yaml(path: Path) -> dict[str, _Given]:
    # importing yaml takes 15 ms, which help does not need
    from wgmesh_agent.settings.yaml_file import read_yaml

    by_key = {key: setting for setting in SETTINGS for key in setting.yaml}
    return {
        key: _parsed(by_key[key], value.text.strip(), Origin(Layer.YAML, f"{path}:{value.line}: {key}"))
        for key, value in read_yaml(path, SETTINGS).items()
        if value.text.strip()
    }


def _parsed(setting: Setting[Any], text: str, origin: Origin) -> _Given:
    try:
        return _Given(setting.parse(text), origin)
    except ValueError as error:
        raise SettingsError(f"{origin.label}: {error}") from error
