"""`wgmesh leave`: removes a node from the mesh permanently."""

from __future__ import annotations

import click

from wgmesh_agent.cli.agent_client import SLOW_CALL_TIMEOUT_SECONDS, agent_at
from wgmesh_agent.cli.commands import GoCommand, gather, setting_options
from wgmesh_agent.cli.failure import CommandFailed
from wgmesh_agent.settings.build import client_settings
from wgmesh_agent.settings.setting import Command


@click.pass_context
def _leave(ctx: click.Context, node: str | None) -> int:
    from wgmesh_api.agent_pb2 import LeaveRequest

    settings = client_settings(gather(ctx, Command.CLIENT))
    with agent_at(settings.agent_socket) as agent:
        result = agent.Leave(LeaveRequest(nodeName=node or ""), timeout=SLOW_CALL_TIMEOUT_SECONDS)
    if not result.ok:
        who = node or "this node"
        raise CommandFailed(f"{who} was not removed from the mesh: {result.message or 'the agent refused'}")
    click.echo(f"{node} has been removed from the mesh." if node else "This node has left the mesh.")
    return 0


leave = GoCommand(
    "leave",
    _leave,
    params=[click.Argument(["node"], required=False), *setting_options(Command.CLIENT)],
    help="Remove this node from the mesh permanently, or NODE, a failed member that will not return.",
)
