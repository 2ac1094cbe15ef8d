"""Help: quick, since it imports nothing heavy, and complete."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from wgmesh_agent.settings.setting import Command
from wgmesh_agent.settings.table import settings_of

HEAVY = (
    "grpc",
    "cryptography",
    "pyroute2",
    "rich",
    "structlog",
    "yaml",
    "asyncio",
    "msgpack",
    "google.protobuf",
)
PROGRAM = """
import sys
from wgmesh_agent.cli.main import run, wgmesh
code = run(wgmesh(), sys.argv[2:])
sys.stdout.flush()
print(*(name for name in sys.argv[1].split(",") if name in sys.modules), file=sys.stderr)
sys.exit(code)
"""
COMMANDS = [
    "",
    "bootstrap",
    "join",
    "info",
    "tags",
    "rtt",
    "doctor",
    "leave",
    "keys",
    "keys rotate",
    "keys new-psk",
    "ca",
    "ca init",
    "ca issue",
    "ca show",
    "demo",
    "version",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command: str) -> None:
    args = [sys.executable, "-c", PROGRAM, ",".join(HEAVY), *command.split(), "--help"]
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: ")
    assert done.stderr.strip() == ""


def test_the_guard_notices_heavy_imports() -> None:
    program = "import yaml, rich\n" + PROGRAM
    args = [sys.executable, "-c", program, ",".join(HEAVY), "--help"]
    done = subprocess.run(args, capture_output=True, text=True, check=True)
    assert done.stderr.split() == ["rich", "yaml"]


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("bootstrap", Command.BOOTSTRAP),
        ("join", Command.JOIN),
        ("info", Command.CLIENT),
        ("doctor", Command.DOCTOR),
    ],
)
def test_help_names_every_flag_of_the_table_and_its_variable(cli: Any, command: str, kind: Command) -> None:
    out = cli(command, "--help").out
    for setting in settings_of(kind):
        for flag in setting.flags:
            assert f"-{flag}" in out
        if setting.env:
            assert setting.env[0] in out


@pytest.mark.parametrize("spelling", ["-h", "-help", "--help"])
def test_help_is_asked_for_in_go_and_gnu_ways(cli: Any, spelling: str) -> None:
    assert cli("join", spelling).out.startswith("Usage: wgmesh join")
    assert cli(spelling).code == 0


def test_no_command_is_wrong_use_and_shows_help(cli: Any) -> None:
    outcome = cli()
    assert outcome.code == 2
    assert "Commands:" in outcome.err


def test_an_unknown_command_is_wrong_use(cli: Any) -> None:
    outcome = cli("jion")
    assert outcome.code == 2
    assert outcome.err.startswith('wgmesh: there is no command "jion"')


def test_an_unknown_flag_is_wrong_use_in_one_line(cli: Any) -> None:
    outcome = cli("join", "-bootstrap-adr", "x")
    assert outcome.code == 2
    assert "did you mean -bootstrap-addr?" in outcome.err
    assert len(outcome.err.splitlines()) == 1
