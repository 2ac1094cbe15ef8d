"""`wgmesh version`."""

from __future__ import annotations

import json
import platform

import click

from wgmesh_agent.cli.commands import GoCommand
from wgmesh_agent.cli.output import OUTPUT


def _version(output: str) -> int:
    from importlib.metadata import version as installed_version

    number = installed_version("wgmesh")
    if output == "json":
        click.echo(json.dumps({"version": number, "python": platform.python_version()}))
    else:
        click.echo(f"wgmesh {number}")
    return 0


version = GoCommand("version", _version, params=[OUTPUT], help="Show the version.")
