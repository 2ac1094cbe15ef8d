"""`wgmesh demo`: a mesh on this machine, shown working and cleared away again."""

from __future__ import annotations

import os

import click

from wgmesh_agent.cli.commands import GoCommand
from wgmesh_agent.cli.failure import CommandFailed


def _demo(nodes: int, keep: bool, backend: str) -> int:
    if os.geteuid() != 0:
        raise CommandFailed("the demo makes network namespaces and needs root: run `sudo wgmesh demo`.")
    from wgmesh_agent.lab.demo import run_demo

    return run_demo(nodes, keep, backend)


demo = GoCommand(
    "demo",
    _demo,
    params=[
        click.Option(
            ["--nodes"],
            type=click.IntRange(2, 50),
            default=3,
            metavar="N",
            help="how many",
            show_default=True,
        ),
        click.Option(["--keep"], is_flag=True, help="leave the mesh up at the end"),
        click.Option(
            ["--backend"],
            type=click.Choice(["auto", "kernel", "userspace"]),
            default="auto",
            metavar="auto|kernel|userspace",
            help="WireGuard of the kernel, or wireguard-go",
            show_default=True,
        ),
    ],
    help="Run a mesh of network namespaces on this machine, show it working, and clear it away. Needs root.",
)
