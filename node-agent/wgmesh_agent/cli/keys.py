"""`wgmesh keys`: keys made anew while the mesh goes on."""

from __future__ import annotations

import click

from wgmesh_agent.cli.agent_client import ROTATION_TIMEOUT_SECONDS, agent_at
from wgmesh_agent.cli.commands import GoCommand, Late, LateGroup, gather, setting_options
from wgmesh_agent.cli.failure import CommandFailed
from wgmesh_agent.settings.build import client_settings
from wgmesh_agent.settings.setting import Command


@click.pass_context
def _rotate(ctx: click.Context, which: str) -> int:
    from wgmesh_api.agent_pb2 import RotateKeysRequest

    settings = client_settings(gather(ctx, Command.CLIENT))
    with agent_at(settings.agent_socket) as agent:
        result = agent.RotateKeys(RotateKeysRequest(keys=which.upper()), timeout=ROTATION_TIMEOUT_SECONDS)
    if not result.ok:
        raise CommandFailed(f"not rotated: {result.message or 'the agent refused'}")
    click.echo(f"Rotated: {result.message}.")
    return 0


rotate = GoCommand(
    "rotate",
    _rotate,
    params=[
        click.Argument(["which"], type=click.Choice(["gossip", "wireguard"])),
        *setting_options(Command.CLIENT),
    ],
    help="Make new keys while all goes on. gossip: another key for the gossip of the whole mesh, installed on all "
    "members before any uses it; the old one is removed when all do, and stays in use if one refuses. wireguard: "
    "another key for this node's own tunnels.",
)
keys = LateGroup(
    "keys",
    {"rotate": Late(__name__, "rotate", "make new keys while all goes on")},
    help="Keys of a running mesh.",
)
