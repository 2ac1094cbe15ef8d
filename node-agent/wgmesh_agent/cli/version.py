"""`wgmesh version`."""

from __future__ import annotations

import json
import platform

import click

from wgmesh_agent.cli.commands import GoCommand
from wgmesh_agent.cli.output import OUTPUT
from wgmesh_api.version import VERSION


def _version(output: str) -> int:
    if output == "json":
        click.echo(json.dumps({"version": VERSION, "python": platform.python_version()}))
    else:
        click.echo(f"wgmesh {VERSION}")
    return 0


version = GoCommand("version", _version, params=[OUTPUT], help="Show the version.")
