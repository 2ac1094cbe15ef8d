"""`wgmesh demo`: a demo mesh on this machine, removed at the end."""

from __future__ import annotations

import os

import click

from wgmesh_agent.cli.commands import GoCommand
from wgmesh_agent.cli.failure import CommandFailed


def _demo(nodes: int, keep: bool, backend: str) -> int:
    if os.geteuid() != 0:
        raise CommandFailed("the demo creates network namespaces and requires root: run `sudo wgmesh demo`.")
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
            help="number of nodes",
            show_default=True,
        ),
        click.Option(["--keep"], is_flag=True, help="keep the mesh running at the end"),
        click.Option(
            ["--backend"],
            type=click.Choice(["auto", "kernel", "userspace"]),
            default="auto",
            metavar="auto|kernel|userspace",
            help="WireGuard implementation: kernel module or wireguard-go",
            show_default=True,
        ),
    ],
    help="Run a demo mesh in network namespaces on this machine, then remove it. Requires root.",
)
