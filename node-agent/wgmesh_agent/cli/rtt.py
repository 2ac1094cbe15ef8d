"""`wgmesh rtt`: round-trip times between all members, as measured by each."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

import click

from wgmesh_agent.cli.agent_client import SLOW_CALL_TIMEOUT_SECONDS, agent_at
from wgmesh_agent.cli.commands import GoCommand, gather, setting_options
from wgmesh_agent.cli.mesh_view import rtt_usec
from wgmesh_agent.cli.output import OUTPUT
from wgmesh_agent.cli.units import rtt as rtt_text
from wgmesh_agent.settings.build import client_settings
from wgmesh_agent.settings.setting import Command

Matrix = Mapping[str, Mapping[str, int | None]]


@click.pass_context
def _rtt(ctx: click.Context, output: str) -> int:
    from wgmesh_api.agent_pb2 import AgentEmpty

    settings = client_settings(gather(ctx, Command.CLIENT))
    with agent_at(settings.agent_socket) as agent:
        answers = list(agent.RTT(AgentEmpty(), timeout=SLOW_CALL_TIMEOUT_SECONDS))
    matrix = {
        answer.nodeName: {other.nodeName: rtt_usec(other.rttMsec, other.rttUsec) for other in answer.rtts}
        for answer in sorted(answers, key=lambda answer: answer.nodeName)
    }
    if output == "json":
        click.echo(json.dumps(_as_json(matrix), indent=2))
    else:
        _print(matrix)
    return 0


def _as_json(matrix: Matrix) -> dict[str, dict[str, float | None]]:
    return {
        name: {other: None if usec is None else usec / 1000 for other, usec in sorted(row.items())}
        for name, row in matrix.items()
    }


def _print(matrix: Matrix) -> None:
    from wgmesh_agent.cli.text_table import Column, print_table

    names = sorted({*matrix, *(other for row in matrix.values() for other in row)})
    columns = [Column("from / to"), *(Column(name, right=True) for name in names)]
    rows = [[name, *(rtt_text(matrix.get(name, {}).get(other)) for other in names)] for name in names]
    print_table(columns, rows, sys.stdout)


rtt = GoCommand(
    "rtt",
    _rtt,
    params=[OUTPUT, *setting_options(Command.CLIENT)],
    help="Show round-trip times between all members, each row as that member measures them.",
)
