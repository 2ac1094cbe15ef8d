"""`wgmesh bootstrap` and `wgmesh join`: from settings to a running agent."""

from __future__ import annotations

import random
from pathlib import Path

import click

from wgmesh_agent.cli.commands import GoCommand, gather, setting_options
from wgmesh_agent.cli.library_parts import leave_out
from wgmesh_agent.settings.model import Bundle
from wgmesh_agent.settings.setting import Command


@click.pass_context
def _bootstrap(ctx: click.Context) -> int:
    from wgmesh_agent.settings.build import bootstrap_settings

    settings = bootstrap_settings(gather(ctx, Command.BOOTSTRAP), random.SystemRandom())
    leave_out(tls=False)
    # only now: grpc, cryptography and pyroute2 take half a second, which an error message must not cost
    from wgmesh_agent.agent.launch import run_bootstrap

    return run_bootstrap(settings)


@click.pass_context
def _join(ctx: click.Context) -> int:
    from wgmesh_agent.settings.build import join_settings

    settings = join_settings(gather(ctx, Command.JOIN), _read_bundle)
    leave_out(tls=False)
    from wgmesh_agent.agent.launch import run_join

    return run_join(settings)


def _read_bundle(path: Path) -> Bundle:
    leave_out(tls=False)
    # only now: cryptography and grpc are needed only with a bundle
    from wgmesh_agent.mesh.join.bundle import read_bundle

    return read_bundle(path)


bootstrap = GoCommand(
    "bootstrap",
    _bootstrap,
    params=setting_options(Command.BOOTSTRAP),
    help="Create a mesh and admit members; with --bootstrap-addr, join an existing mesh as a bootstrap node. "
    "Runs until stopped.",
)
join = GoCommand(
    "join",
    _join,
    params=setting_options(Command.JOIN),
    help="Join a mesh through one of its bootstrap nodes; an external machine joins the mesh of a Kubernetes "
    "cluster with --bundle FILE and nothing else. Runs until stopped.",
)
