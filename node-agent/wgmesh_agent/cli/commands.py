"""click's commands and groups with this project's flags: Go spellings, settings from the table, groups loaded
lazily.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

from wgmesh_agent.cli.spelling import FlagError, Kind, Spelling, canonical
from wgmesh_agent.settings import table
from wgmesh_agent.settings.resolve import Resolved, resolve
from wgmesh_agent.settings.setting import Command, Setting

_FLAGS = "wgmesh.flags"
_HELP_WIDTH = 110
_COMMON = (table.CONFIG, table.VERBOSE, table.DEBUG)


class SettingOption(click.Option):
    """A row of the settings table as a flag. It keeps the text as typed: the table parses it."""

    def __init__(self, setting: Setting[Any]) -> None:
        super().__init__(
            [f"--{setting.flags[0]}"],
            type=str,
            multiple=True,
            help=setting.help,
            expose_value=False,
            callback=_remember,
        )
        self.setting = setting

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        setting = self.setting
        spellings = sorted(setting.flags, key=len)
        names = ", ".join(f"-{name}" if len(name) == 1 else f"--{name}" for name in spellings)
        left = names if setting.is_switch else f"{names} {setting.metavar}"
        notes = []
        if setting.default_text:
            notes.append(f"default: {setting.default_text}")
        if setting.env:
            notes.append(f"env: {setting.env[0]}")
        return left, f"{setting.help} [{'; '.join(notes)}]" if notes else setting.help


def _remember(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> None:
    # meta is shared by a group and its command: -v may stand before or after the command's name
    if value and isinstance(param, SettingOption):
        ctx.meta.setdefault(_FLAGS, {})[param.setting.flags[0]] = value


def gather(ctx: click.Context, command: Command) -> Resolved:
    """The settings of the running command. Raises SettingsError."""
    flags: Mapping[str, Sequence[str]] = ctx.meta.get(_FLAGS, {})
    return resolve(command, flags, os.environ)


def setting_options(command: Command) -> list[click.Parameter]:
    """A flag for each of `command`'s own settings; the common ones come with every command."""
    return [SettingOption(setting) for setting in table.settings_of(command) if setting not in _COMMON]


def _common_options() -> list[click.Parameter]:
    return [SettingOption(setting) for setting in _COMMON]


def _spellings(params: Sequence[click.Parameter]) -> dict[str, Spelling]:
    known = {"h": Spelling("help", Kind.PLAIN_SWITCH), "help": Spelling("help", Kind.PLAIN_SWITCH)}
    for param in params:
        if isinstance(param, SettingOption):
            kind = Kind.SWITCH if param.setting.is_switch else Kind.VALUE
            names: Sequence[str] = param.setting.flags
            main = param.setting.flags[0]
        elif isinstance(param, click.Option):
            kind = Kind.PLAIN_SWITCH if param.is_flag else Kind.VALUE
            names = [name.lstrip("-") for name in param.opts]
            main = max(names, key=len)
        else:
            continue
        known.update({name: Spelling(main, kind) for name in names})
    return known


def _canonical(
    command: click.Command, ctx: click.Context, args: list[str], *, stop_at_word: bool
) -> list[str]:
    try:
        return canonical(args, _spellings(command.params), stop_at_word=stop_at_word)
    except FlagError as error:
        raise click.UsageError(str(error), ctx) from error


class GoCommand(click.Command):
    """A command with Go spellings and the flags that all commands have."""

    def __init__(
        self, name: str, callback: Callable[..., int], *, params: Sequence[click.Parameter] = (), help: str
    ) -> None:
        super().__init__(
            name,
            callback=callback,
            params=[*params, *_common_options()],
            help=help,
            context_settings={"max_content_width": _HELP_WIDTH},
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _canonical(self, ctx, args, stop_at_word=False))


@dataclass(frozen=True, slots=True)
class Late:
    """A command that is imported when used: `attribute` of `module`, and a line for the group's help."""

    module: str
    attribute: str
    summary: str


class LateGroup(click.Group):
    """A group that knows its commands by name and imports one only to run it or to show its help."""

    def __init__(
        self, name: str, commands: Mapping[str, Late], *, help: str, epilog: str | None = None
    ) -> None:
        super().__init__(
            name,
            params=_common_options(),
            help=help,
            epilog=epilog,
            context_settings={"max_content_width": _HELP_WIDTH},
        )
        self._late = commands

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _canonical(self, ctx, args, stop_at_word=True))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._late)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        late = self._late.get(cmd_name)
        if late is None:
            return None
        command = getattr(import_module(late.module), late.attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{late.module}.{late.attribute} is not a command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self._late:
            ctx.fail(f'there is no command "{args[0]}"; commands are {", ".join(self._late)}.')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, late.summary) for name, late in self._late.items()])
