"""`wgmesh keys`: rotates keys of a running mesh."""

from __future__ import annotations

from pathlib import Path

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
    help="Rotate keys without interruption. gossip: a new key for the gossip of the whole mesh, installed on "
    "all members before any uses it; the old one is removed when all do, and stays in use if a member "
    "refuses. wireguard: a new key for this node's own tunnels.",
)


def _new_psk(file: str) -> int:
    from wgmesh_agent.cli.psk_file import renew

    path = Path(file)
    try:
        kept = renew(path)
    except OSError as error:
        raise CommandFailed(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:
        raise CommandFailed(str(error)) from error
    click.echo(f"{path} has a new secret{', and the one before it' if kept else ''}.")
    click.echo("Copy it to all members over a secure channel; each reloads it without a restart.")
    return 0


new_psk = GoCommand(
    "new-psk",
    _new_psk,
    params=[click.Argument(["file"], type=click.Path(dir_okay=False))],
    help="Create a secret for pre-shared keys, in FILE for -psk-file. If FILE has secrets, the newest of them "
    "is kept behind the new one, until all members have that.",
)
keys = LateGroup(
    "keys",
    {
        "rotate": Late(__name__, "rotate", "rotate keys without interruption"),
        "new-psk": Late(__name__, "new_psk", "create a secret for pre-shared keys"),
    },
    help="Keys of a running mesh.",
)
