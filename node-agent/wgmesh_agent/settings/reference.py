"""The settings table in docs/command-line.md; `python -m wgmesh_agent.settings.reference FILE` regenerates it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from wgmesh_agent.settings.setting import Command, Setting
from wgmesh_agent.settings.table import SETTINGS

BEGIN = "<!-- settings: made from the table in wgmesh_agent/settings by `python -m wgmesh_agent.settings.reference` -->"
END = "<!-- end of settings -->"

_COMMANDS = {
    Command.BOOTSTRAP: "bootstrap",
    Command.JOIN: "join",
    Command.CLIENT: "info, tags, rtt, leave",
    Command.DOCTOR: "doctor",
}


def settings_reference() -> str:
    """Returns a Markdown table with one row per setting, in the order of the table."""
    lines = [
        "| flag | of | environment | YAML | default | meaning |",
        "|---|---|---|---|---|---|",
        *(_row(setting) for setting in SETTINGS),
    ]
    return "\n".join(lines) + "\n"


def renewed(text: str) -> str:
    """Returns `text` with the part between BEGIN and END replaced. Raises ValueError if the marks are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the text has no part between {BEGIN} and {END}")
    return f"{before}{begin}\n{settings_reference()}{end}{after}"


def _row(setting: Setting[Any]) -> str:
    names = ", ".join(f"`-{name}`" for name in setting.flags)
    flag = names if setting.is_switch else f"{names} {_escaped(setting.metavar)}"
    cells = (
        flag,
        _commands(setting.commands),
        _code(setting.env),
        _code(setting.yaml),
        setting.default_text,
        setting.help,
    )
    return f"| {' | '.join(_escaped(cell) if index > 3 else cell for index, cell in enumerate(cells))} |"


def _commands(commands: Command) -> str:
    names = [name for command, name in _COMMANDS.items() if command & commands]
    return "all" if len(names) == len(_COMMANDS) else ", ".join(names)


def _code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(renewed(document.read_text()))
